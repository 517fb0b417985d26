"""The lanes' geometry: what is drawn, and what is drawn at first."""

from pathlib import Path

import pytest

from clinlens.desk.pages.flowchart import BOX, MOST_NODES, anchor_of, chart, shares_of
from tests.clinlens.desk.pages.premises import write_trace


def test_each_kind_of_evidence_is_a_line_of_its_own(tmp_path: Path):
    drawn = chart(write_trace(tmp_path))
    assert [(edge.kind, edge.is_above, edge.is_strong) for edge in drawn.edges[:6]] == [
        ("cosine", True, True), ("coactivation", True, True), ("causal", True, True),
        ("cosine", False, False), ("coactivation", True, False), ("causal", False, False),
    ]  # fmt: skip
    assert len(drawn.edges) == 8, "an effect that was not measured is no line"
    assert len({(edge.dash, edge.colour) for edge in drawn.edges[:3]}) == 3


def test_a_kind_within_its_null_is_not_strong_even_where_two_others_are(tmp_path: Path):
    record = write_trace(tmp_path)
    record["edges"][0]["cosine"]["value"] = 0.1
    strong = [edge.kind for edge in chart(record).edges[:3] if edge.is_strong]
    assert strong == ["coactivation", "causal"]


def test_what_was_born_and_what_the_autoencoder_leaves_over_is_drawn(tmp_path: Path):
    drawn = chart(write_trace(tmp_path))
    assert [node.fate for node in drawn.nodes] == ["", "", "", "born"]
    assert [(lane.error_mass, lane.fates) for lane in drawn.lanes] == [(0.25, ""), (0.25, "1 born")]


def test_a_lane_draws_the_best_features_and_counts_the_rest(tmp_path: Path):
    record = write_trace(tmp_path)
    one = record["nodes"][0]
    record["nodes"] = [one | {"id": f"blocks.0.hook_resid_post/{n}", "auroc": n / 100} for n in range(MOST_NODES + 3)]
    drawn = chart(record)
    assert drawn.lanes[0].n_more == 3
    assert drawn.nodes[0].id.endswith(f"/{MOST_NODES + 2}")


def test_shares_fill_the_bar_and_beyond_six_labels_the_rest_is_one():
    shares = shares_of({f"label {n}": 1.0 + n for n in range(9)})
    assert len(shares) == 6
    assert shares[-1].name == "other"
    assert sum(share.width for share in shares) == pytest.approx(BOX - 12)
    assert sum(share.share for share in shares) == pytest.approx(1)
    assert shares_of({}) == []


def test_labels_are_left_out_for_whoever_may_not_see_them(tmp_path: Path):
    record = write_trace(tmp_path)
    assert any(node.shares for node in chart(record).nodes)
    blind = chart(record, with_labels=False).nodes
    assert not any(node.shares or node.is_ambiguous for node in blind)


def test_a_name_in_an_address_has_no_signs():
    assert anchor_of("blocks.1.hook_resid_post/7") == "node-blocks-1-hook-resid-post-7"
