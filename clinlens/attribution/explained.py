"""What a result's scores are about, in the words of the field: `logit of “acute” − logit of “chronic”`."""

from collections.abc import Callable, Sequence
from typing import Any

from analysis.attribution.case import shown
from analysis.attribution.request import names_answer
from analysis.attribution.target_request import TargetRequest
from hooks.model import LanguageModel

MEASURES = {
    "log_odds": ("log-odds", "log-odds"),
    "log_prob": ("log-probability", "log-probabilities"),
    "logit": ("logit", "logits"),
}
"""A measure's name, of one and of many."""
Spell = Callable[[int], str]
"""From a token's or class' number to its name."""


def explained(result: dict[str, Any], tokens: Sequence[str], request: TargetRequest, lm: LanguageModel) -> str:
    """The score that a result explains.

    Args:
        result: One method's part of a record.
        tokens: The text's.
        request: What was asked.
        lm: The model, with its classes where one is explained.
    """
    target = result["origin"]["target"]
    model: Any = lm.model

    def spell(number: int) -> str:
        return str(model.config.id2label[number]) if target["kind"] == "ClassTarget" else shown(lm.tokenizer, number)

    bridge = result.get("bridge")
    if bridge is None or not bridge["features"]:
        return of_concept(target, tokens, request) if target["kind"] == "FeatureTarget" else of_answer(target, spell)
    features = of_each(bridge["features"], tokens, request)
    if bridge["answer"] is None:
        return features
    own = "" if names_answer(request) else ", the model's own next token"
    return f"{features}; answer: {of_answer(target, spell)}{own}"


def of_answer(target: dict[str, Any], spell: Spell) -> str:
    """The score of tokens or of a class."""
    contrast, n = target["contrast_ids"], len(target["labels"])
    one, many = MEASURES["logit" if contrast is not None else target["measure"]]
    texts = ["".join(target["labels"])]
    if contrast is not None:
        texts.append("".join(map(spell, contrast)))
    if n == 1:
        kind = "class " if target["kind"] == "ClassTarget" else ""
        return " − ".join(f"{one} of {kind}“{text.strip()}”" for text in texts)
    if target["is_total"]:
        return " − ".join(f"sum of the {many} of the {n} tokens of “{text.strip()}”" for text in texts)
    return " − ".join(f"{one} of each of the {n} tokens of “{text.strip()}”" for text in texts) + ", added up"


def of_concept(target: dict[str, Any], tokens: Sequence[str], request: TargetRequest) -> str:
    """The score of one feature, or of several as one concept at one place."""
    names = [label.rpartition("@")[0] for label in target["labels"]]
    where = at(target["positions"][0], tokens)
    if len(names) == 1:
        return f"pre-activation of {names[0]} at {where}"
    why = ", where the sum is strongest" if request.position is None else ""
    return f"sum of the pre-activations of {' and '.join(names)}, all at {where}{why}"


def of_each(graphs: Sequence[dict[str, Any]], tokens: Sequence[str], request: TargetRequest) -> str:
    """The scores of features that are explained one by one, each at its place."""
    found = []
    for graph in graphs:
        (node,) = [one for one in graph["nodes"] if one["kind"] == "feature"]
        found.append(f"{graph['hook_point']}/{node['feature']} at {at(node['position'], tokens)}")
    if len(found) == 1:
        return f"pre-activation of {found[0]}"
    why = ", each where it is strongest by itself" if request.position is None else ""
    return f"pre-activations of {' and '.join(found)}{why}, added up"


def at(position: int, tokens: Sequence[str]) -> str:
    """A place in the text."""
    return f"token {position} (“{tokens[position].strip()}”)"
