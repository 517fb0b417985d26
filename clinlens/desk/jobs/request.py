"""What a job is asked to do, checked before anything is queued.

Source: formula 3 and A.1 of paper 003 (the POST /api/jobs body), formula 8 (turns of a conversation).
"""

from typing import Any, Literal
from uuid import UUID

from pydantic import Field, ValidationError, field_validator

from analysis.attribution.config import METHODS
from analysis.attribution.target_request import TargetRequest
from clinlens.attribution.cases import SpanRow
from sae.config import Settings
from sae.errors import UserError

MAX_CHARACTERS = 200_000
"""Of one text: some eighty pages; the longest that a window slides over in minutes."""


class Turn(Settings, frozen=True):
    """One side's words in a conversation."""

    role: Literal["system", "user", "assistant"] = Field(description="Who says it.")
    text: str = Field(max_length=MAX_CHARACTERS, description="What is said.")


class JobInput(TargetRequest, frozen=True):
    """A text or a conversation, and what of its answer is explained."""

    text: str | None = Field(
        default=None, max_length=MAX_CHARACTERS, description="The text, up to where the answer begins."
    )
    turns: tuple[Turn, ...] = Field(default=(), max_length=200, description="A conversation, in place of a text.")
    spans: tuple[SpanRow, ...] = Field(default=(), description="Marked findings: units of `unit: spans`.")
    fixed: tuple[SpanRow, ...] = Field(default=(), description="Passages that are neither changed nor attributed.")

    @property
    def target_request(self) -> TargetRequest:
        """What is explained."""
        return TargetRequest(**{name: getattr(self, name) for name in TargetRequest.model_fields})

    @property
    def words(self) -> str:
        """All that is written in it, for searching."""
        return self.text if self.text is not None else "\n".join(turn.text for turn in self.turns)


class JobOptions(Settings, frozen=True):
    """What holds for every model and method of a job."""

    seed: int = Field(default=0, ge=0, description="Of everything random.")
    priority: int = Field(default=5, ge=0, le=9, description="Higher comes first.")
    settings: dict[str, dict[str, Any]] = Field(
        default={}, description="Method → setting → value, where it is not the default."
    )
    follow_up_of: str | None = Field(
        default=None, description="Job whose conversation goes on: its turns and each model's own answer come first."
    )
    window: int | None = Field(
        default=None, ge=8, description="Tokens of a window, for texts longer than the model reads."
    )
    tail: int = Field(default=32, ge=1, description="Last tokens of the text, which stand in every window.")
    sae_id: str | None = Field(default=None, description="Autoencoder of features; the recommended one if unset.")


class JobRequest(Settings, frozen=True):
    """A job as it is sent."""

    models: tuple[str, ...] = Field(min_length=1, max_length=64, description="Names of models.")
    methods: tuple[str, ...] = Field(min_length=1, max_length=64, description="Names of methods.")
    input: JobInput = Field(description="The one input.")
    options: JobOptions = Field(default=JobOptions(), description="What holds for all.")
    title: str = Field(default="", max_length=200, description="What to call it.")
    client_uuid: UUID | None = Field(
        default=None, description="The sender's own number: sent twice, it is the same job."
    )

    @field_validator("models", "methods")
    @classmethod
    def each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """A name twice is a name once."""
        return tuple(dict.fromkeys(names))


def refuse_unfit(request: JobRequest, models: frozenset[str]) -> None:
    """Stops a job that could not be carried out.

    Raises:
        UserError: It names no model, method, setting or target that there is, or no text, or text that is none.
    """
    for name in request.models:
        if name not in models:
            raise UserError(
                f"A model was named that is not served, expected one of {', '.join(sorted(models))}. Choose one."
            )
    given = request.input
    if (given.text is None) == (not given.turns):
        raise UserError(
            f"{'Both text and turns' if given.turns else 'Neither text nor turns'} were given, expected one of them. Give one."
        )
    if not given.words.strip():
        raise UserError("The text has no word, expected some. Write one.")
    if not is_unicode(request.model_dump(mode="json")):
        raise UserError("The text holds half of a surrogate pair, expected Unicode. Copy it again.")
    check_methods(request)
    if request.options.follow_up_of is None or any(
        getattr(given, name) for name in ("target", "continuation", "generate", "class_name", "features")
    ):
        refuse_unclear(given)


def is_unicode(value: Any) -> bool:
    """Whether every text in a value can be written as UTF-8."""
    if isinstance(value, dict):
        return all(is_unicode(key) and is_unicode(one) for key, one in value.items())
    if isinstance(value, list):
        return all(is_unicode(one) for one in value)
    return not isinstance(value, str) or not any("\ud800" <= sign <= "\udfff" for sign in value)


def refuse_unclear(given: TargetRequest) -> None:
    """Stops an input that does not say what is explained.

    Raises:
        UserError: It names nothing, or several things.
    """
    kinds = ("target", "continuation", "generate", "class_name", "features")
    named = [name for name in kinds if getattr(given, name) not in (None, ())]
    if len(named) != 1:
        raise UserError(
            f"The input names {' and '.join(named) or 'nothing'} to explain, expected one of {', '.join(kinds)}. Give one."
        )


def check_methods(request: JobRequest) -> dict[str, dict[str, Any]]:
    """Every method's whole settings.

    Raises:
        UserError: A method or setting that there is not, or a value that does not fit.
    """
    unknown = [name for name in (*request.methods, *request.options.settings) if name not in METHODS]
    if unknown:
        raise UserError(f"A method was named that there is not, expected one of {', '.join(METHODS)}. Choose one.")
    found = {}
    for name in request.methods:
        try:
            found[name] = METHODS[name](**request.options.settings.get(name, {})).model_dump(mode="json")
        except (ValidationError, TypeError) as error:
            place = error.errors()[0]["loc"] if isinstance(error, ValidationError) else ()
            known = [str(part) for part in place if part in METHODS[name].model_fields]
            where = f" at {'.'.join(known)}" if known else ""
            raise UserError(
                f"The settings of {name} do not fit{where}, expected those of GET /api/methods. Correct them."
            ) from None
    return found
