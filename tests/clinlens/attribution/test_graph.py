"""The bridge as a drawing: each figure under the tier it comes from."""

from typing import Any

from clinlens.attribution.graph import drawing


def graph(**more: Any) -> dict[str, Any]:
    """A graph of one token, one feature and an answer."""
    return {
        "hook_point": "blocks.1.hook_resid_post", "tokens": ["<s>", "fever", "acute"],
        "nodes": [
            {"id": "t1", "kind": "token", "position": 1, "text": "fever"},
            {"id": "f5@1", "kind": "feature", "feature": 5, "position": 1, "activation": 2.0, "effect": 0.5, "is_exact": False,
             "estimate": 0.7},
            {"id": "answer", "kind": "answer", "text": "acute", "score": 3.0},
        ],
        "edges": [
            {"from": "t1", "to": "f5@1", "exact": 1.5, "estimate": 1.2},
            {"from": "f5@1", "to": "answer", "effect": 0.5, "tier": "halfway"},
        ],
        "paths": [{"through": ["t1", "f5@1", "answer"], "effect": 0.4}], "n_active": 4, "n_ablated": 1,
        "balance": {"features": 0.7, "error": 0.2, "bias": 0.1, "special": 0.0, "total": 1.0, "gap_before": 0.0, "gap": 0.0},
        "explained_variance": 0.9,
        "tiers": {"effects": "halfway", "ranks": "relp", "tokens": "gim", "replacement": "mean"},
    } | more  # fmt: skip


def test_effects_estimates_and_the_balance_each_have_the_tier_they_come_from():
    found = drawing(graph(), "A graph")
    assert [(row.effect, row.tier, row.estimate) for row in found.rows] == [("+0.5", "halfway", "+0.7")]
    assert found.ranked_by == "relp"
    assert "contributions (relp): features +0.7, error +0.2" in found.notes[1]


def test_an_explained_variance_that_is_not_defined_is_said_to_be_so():
    assert drawing(graph(), "A graph").notes[0] == "the SAE explains 90.0% of the variance on this text"
    assert "not defined for one token" in drawing(graph(explained_variance=None), "A graph").notes[0]
