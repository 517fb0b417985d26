"""What only a model can say of tokens: which labelled features fire on them, and what spaCy calls them.

Imports torch, and spaCy where it is installed: for worker processes alone.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from analysis.attribution import case as cases
from analysis.attribution.target import activations
from hooks.config import ModelConfig
from hooks.hook_points import expand
from hooks.model import LanguageModel
from sae.saelens_format import load as load_sae

MOST_PER_TOKEN = 8


def annotate(load: Callable[[ModelConfig], LanguageModel], folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Features and linguistic kinds of a text's tokens."""
    found: dict[str, Any] = {"linguistic": linguistic(order["text"])}
    if order["wanted"]:
        lm = load(ModelConfig.model_validate(order["model"]))
        found["features"] = firing(lm, folder, order["text"], order["wanted"])
    return found


def firing(lm: LanguageModel, folder: Path, text: str, wanted: list[list[Any]]) -> list[dict[str, Any]]:
    """The labelled features that are active, the strongest of each token: token, hook point, SAE, feature, activation."""
    case = cases.read(text, lm)
    found = []
    for hook_point, sae_id, features in wanted:
        (point,) = expand((hook_point,), lm.n_layers, tuple(lm.family.places))
        acts = activations(case, lm, load_sae(folder / "saes" / hook_point / sae_id), point)[:, features]
        for token, row in enumerate(acts):
            strongest = row.argsort(descending=True)[:MOST_PER_TOKEN].tolist()
            found += [
                {
                    "token": token,
                    "hook_point": hook_point,
                    "sae_id": sae_id,
                    "feature": features[k],
                    "activation": float(row[k]),
                }
                for k in strongest
                if row[k] > 0
            ]
    return found


def linguistic(text: str) -> dict[str, Any]:
    """Parts of speech, syntactic roles and entities, by the first English pipeline that is installed, a scientific one first."""
    try:
        import spacy  # pyright: ignore[reportMissingImports]
    except ImportError:
        return {"state": "absent", "reason": "spaCy is not installed; the extra `linguistics` brings it.", "spans": []}
    names = [name for name in spacy.util.get_installed_models() if name.startswith("en_")]
    names.sort(key=lambda name: (not name.startswith("en_core_sci"), name))
    if not names:
        reason = (
            "spaCy has no English pipeline here, expected one such as en_core_web_sm or en_core_sci_sm. Install one."
        )
        return {"state": "absent", "reason": reason, "spans": []}
    return {"state": "ready", "pipeline": names[0], "spans": spans_of(pipeline(names[0])(text))}


@cache
def pipeline(name: str) -> Any:
    """A pipeline of spaCy's, loaded once."""
    import spacy  # pyright: ignore[reportMissingImports]

    return spacy.load(name)


def spans_of(doc: Any) -> list[dict[str, Any]]:
    """What a pipeline says of passages, as start, end, category, name."""
    found = []
    for token in doc:
        end = token.idx + len(token)
        for category, name in (("part_of_speech", token.pos_), ("role", token.dep_)):
            if name:
                found.append({"start": token.idx, "end": end, "category": category, "name": name})
    for entity in doc.ents:
        found.append({"start": entity.start_char, "end": entity.end_char, "category": "entity", "name": entity.label_})
    return found
