"""What can be chosen: models, methods with their settings, and how a text becomes tokens."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import DEFAULT, METHODS
from clinlens.desk.jobs.request import MAX_CHARACTERS, is_unicode
from clinlens.desk.models import ServedModel
from clinlens.desk.routes.visitor import Analyst, TheOffice
from labeling.web.errors import Refusal
from sae.errors import UserError

api = APIRouter(prefix="/api", tags=["desk"])
ROUTERS = (api,)


class Words(BaseModel):
    """A text for a model."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())
    model: str = Field(max_length=500)
    text: str = Field(max_length=MAX_CHARACTERS)


@api.get("/models")
def models(_: Analyst, office: TheOffice) -> dict[str, Any]:
    """The models that are served, the run's first."""
    return {"models": [facts_of(model) for model in office.models.values()]}


def facts_of(model: ServedModel) -> dict[str, Any]:
    """What is told of a model; a model whose files are gone says so."""
    try:
        return model.facts() | {"problem": None}
    except UserError as error:
        return {"name": model.name, "is_run": model.is_run, "problem": str(error)}


@api.get("/methods")
def methods(_: Analyst, office: TheOffice) -> dict[str, Any]:
    """The methods: what they are, what not to believe of them, their settings, and which models they work on."""
    return {
        "default": DEFAULT,
        "methods": [
            {
                "name": name, "description": (cls.__doc__ or "").strip(), "caveat": CAVEATS[name],
                "settings": {key: value for key, value in cls.model_json_schema()["properties"].items() if key != "method"},
                "models": {model.name: supports(model, name) for model in office.models.values()},
            }
            for name, cls in METHODS.items()
        ],
    }  # fmt: skip


def supports(model: ServedModel, method: str) -> dict[str, Any]:
    """Whether a method works on a model, and if not, why; what only the model itself can tell is told when it is tried."""
    try:
        kind = model.kind
    except UserError as error:
        return {"is_supported": False, "reason": str(error)}
    if kind == "vision":
        return {"is_supported": False, "reason": "The model reads images; attribution is of texts."}
    if kind == "encoder" and method == "through_answer":
        return {
            "is_supported": False,
            "reason": "The method follows an answer of several tokens; an encoder gives none.",
        }
    if model.cfg.quantization != "none" and method == "heta":
        return {
            "is_supported": False,
            "reason": "The method needs second derivatives, which quantised weights have not.",
        }
    return {"is_supported": True, "reason": None}


@api.post("/tokens")
def tokens(_: Analyst, office: TheOffice, words: Words) -> dict[str, Any]:
    """A text as a model would read it."""
    model = office.models.get(words.model)
    if model is None or not is_unicode(words.text):
        raise Refusal(
            422,
            "invalid",
            f"No such model, or a text that is no Unicode; models are {', '.join(office.models)}. Choose one.",
        )
    found = model.tokenise(words.text)
    return {
        "tokens": found.tokens, "offsets": found.offsets, "is_special": found.is_special,
        "n_tokens": len(found.tokens), "n_context_tokens": model.n_context_tokens,
    }  # fmt: skip
