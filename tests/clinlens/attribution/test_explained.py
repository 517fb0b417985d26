"""What was explained, in words: every measure, contrast, total, class, feature and place."""

from types import SimpleNamespace
from typing import Any

import pytest

from analysis.attribution.target_request import TargetRequest
from clinlens.attribution.explained import explained

TOKENS = ("<s>", "no", " fever", " but", " cough")
NAMES = {7: " chronic", 8: " pain"}
LM: Any = SimpleNamespace(
    tokenizer=SimpleNamespace(decode=lambda ids: NAMES[ids[0]]),
    model=SimpleNamespace(config=SimpleNamespace(id2label={7: "well"})),
)
ASKED = TargetRequest(target=" acute")
POINT = "blocks.1.hook_resid_post"


def of(target: dict[str, Any], request: TargetRequest = ASKED, bridge: dict[str, Any] | None = None) -> str:
    result = {"origin": {"target": target}} | ({} if bridge is None else {"bridge": bridge})
    return explained(result, TOKENS, request, LM)


def answer(
    *labels: str, contrast: list[int] | None = None, measure: str = "log_odds", kind: str = "Token", total: bool = False
):
    """A target as a record has it."""
    return {
        "kind": f"{kind}Target", "labels": list(labels), "contrast_ids": contrast, "measure": measure, "is_total": total,
    }  # fmt: skip


def features(*places: tuple[int, int]) -> dict[str, Any]:
    """Features at places, as a record has them."""
    labels = [f"{POINT}/{feature}@{place}" for feature, place in places]
    return {
        "kind": "FeatureTarget",
        "labels": labels,
        "positions": [place for _, place in places],
        "is_total": len(places) > 1,
    }


def bridge(*places: tuple[int, int], has_answer: bool = True) -> dict[str, Any]:
    """A bridge from features at places."""
    graphs = [
        {"hook_point": POINT, "nodes": [{"kind": "token"}, {"kind": "feature", "feature": one, "position": place}]}
        for one, place in places
    ]
    return {"features": graphs, "answer": {} if has_answer else None}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (answer(" acute"), "log-odds of “acute”"),
        (answer(" acute", measure="log_prob"), "log-probability of “acute”"),
        (answer(" acute", measure="logit"), "logit of “acute”"),
        (answer(" acute", contrast=[7]), "logit of “acute” − logit of “chronic”"),
        (answer(" acute", " pain"), "log-odds of each of the 2 tokens of “acute pain”, added up"),
        (
            answer(" acute", " pain", measure="log_prob", total=True),
            "sum of the log-probabilities of the 2 tokens of “acute pain”",
        ),
        (
            answer(" acute", " pain", contrast=[7, 8], total=True),
            "sum of the logits of the 2 tokens of “acute pain” − sum of the logits of the 2 tokens of “chronic pain”",
        ),
        (answer("ill", kind="Class"), "log-odds of class “ill”"),
        (answer("ill", kind="Class", contrast=[7]), "logit of class “ill” − logit of class “well”"),
        (features((5, 2)), f"pre-activation of {POINT}/5 at token 2 (“fever”)"),
    ],
)
def test_the_score_is_said_in_the_words_of_the_field(target: dict[str, Any], words: str):
    assert of(target) == words


def test_several_features_are_said_to_be_one_sum_at_one_place_or_each_at_its_own():
    one = TargetRequest(features=(f"{POINT}/5", f"{POINT}/6"))
    assert of(features((5, 2), (6, 2)), one) == (
        f"sum of the pre-activations of {POINT}/5 and {POINT}/6, all at token 2 (“fever”), where the sum is strongest"
    )
    assert of(answer(" acute"), one, bridge((5, 2), (6, 4))) == (
        f"pre-activations of {POINT}/5 at token 2 (“fever”) and {POINT}/6 at token 4 (“cough”), each where it is strongest by "
        "itself, added up; answer: log-odds of “acute”, the model's own next token"
    )
    placed = one.model_copy(update={"position": 2})
    assert of(features((5, 2), (6, 2)), placed).endswith("all at token 2 (“fever”)")
    assert of(features((5, 2), (6, 2)), placed, bridge((5, 2), (6, 2), has_answer=False)).endswith(
        "2 (“fever”), added up"
    )


def test_a_bridge_without_features_explains_the_answer():
    assert of(answer(" acute", contrast=[7]), ASKED, bridge()) == "logit of “acute” − logit of “chronic”"
