"""A made-up stack whose truth is known: the layer, the features, the matches, the groups."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from analysis.concept_trace import Evidence, completed, trace
from analysis.probing import most_different as most_different_dense
from analysis.tracing.cohort import Cohort, halved
from analysis.tracing.config import TraceConfig
from analysis.tracing.detectors import most_different
from analysis.tracing.layers import Layer

N, N_FEATURES, D = 600, 40, 16
FROM, PLANTED = 1, [None, 5, 9, 9]
CFG = TraceConfig(n_permutations=100, n_bootstraps=200, n_nodes=3)


def stack(seed: int = 0) -> tuple[list[Layer], Cohort, dict[str, np.ndarray]]:
    """Four layers; from layer 1 on a feature fires on the concept, and its direction stays; at layer 3 another direction takes over."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(N // 3), 3)
    is_positive = rng.random(N) < 0.15
    group = np.where(patient % 2 == 0, "a", "b")
    direction = rng.normal(size=D)
    strength = is_positive * (rng.random(N) < 0.9) * (1 + rng.exponential(size=N))
    layers = []
    for number, feature in enumerate(PLANTED):
        x = np.where(rng.random((N, N_FEATURES)) < 0.1, rng.exponential(size=(N, N_FEATURES)), 0)
        decoder = rng.normal(size=(N_FEATURES, D))
        if feature is not None:
            x[:, feature] = strength * (1 + 0.05 * rng.random(N)) * ((group == "a") if number == 3 else 1)
            decoder[feature] = direction if number < 3 else -direction
        dense = x @ decoder + 0.1 * rng.normal(size=(N, D))
        error = {"positive": 0.1, "negative": 0.1}
        layers.append(
            Layer(f"blocks.{number}.hook_resid_post", number, sparse.csc_array(x), dense, decoder, error, "topk", "h")
        )
    return layers, halved(is_positive, patient, seed), {"group": group}


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    layers, cohort, attributes = stack()
    other = layers[1].decoder[::-1] + 0.0
    tokens = sparse.csc_array(cohort.is_positive[:, None] * np.asarray([[1.0, 0, 0]]))
    labels = {"blocks.1.hook_resid_post/5": {"leading": "concept"}}
    evidence = Evidence(tokens, attributes, None, labels, {"blocks.1.hook_resid_post": ("topk-1", other)})
    return trace(layers, cohort, CFG, evidence)


def best(record: dict[str, Any], layer: int) -> dict[str, Any]:
    return record["layers"][layer]["detectors"][0]


def test_names_the_layer_and_the_features_that_were_planted(measured: dict[str, Any]):
    assert measured["emerges_at"] == FROM
    assert not measured["layers"][0]["is_above_null"]
    assert [best(measured, layer)["features"] for layer in (1, 2, 3)] == [[5], [9], [9]]
    assert best(measured, 1)["auroc"] > 0.9
    assert best(measured, 1)["firing_coverage"] == pytest.approx(0.9, abs=0.08)


def test_every_layer_has_every_detector_with_intervals_around_it(measured: dict[str, Any]):
    for layer in measured["layers"]:
        kinds = [one["kind"] for one in layer["detectors"]]
        assert kinds == [
            "best_feature", "probe_1", "probe_5", "probe_20", "dense_probe", "difference_in_means", "bag_of_words",
        ]  # fmt: skip
        for one in layer["detectors"]:
            assert one["auroc_interval"][0] <= one["auroc"] <= one["auroc_interval"][1]
        assert layer["null"] == {"max_auroc_95": measured["null"]["max_auroc_95"]}
        assert layer["detectors"][-1]["auroc"] == 1.0  # the words give it away


def test_matches_what_goes_on_and_shows_what_is_born_and_what_vanishes(measured: dict[str, Any]):
    edges = {(edge["source"], edge["target"]): edge for edge in measured["edges"]}
    kept = edges["blocks.1.hook_resid_post/5", "blocks.2.hook_resid_post/9"]
    turned = edges["blocks.2.hook_resid_post/9", "blocks.3.hook_resid_post/9"]
    assert kept["cosine"]["value"] == pytest.approx(1) and kept["n_kinds_above_null"] == 2
    assert kept["causal"] is None  # no model was given
    assert turned["cosine"]["value"] == pytest.approx(-1) and turned["n_kinds_above_null"] == 1
    layers = measured["layers"]
    assert "blocks.1.hook_resid_post/5" in layers[1]["born"]
    assert "blocks.2.hook_resid_post/9" in layers[2]["vanished"]
    assert "blocks.3.hook_resid_post/9" in layers[3]["unmatched"]
    assert layers[3]["vanished"] == []


def test_flags_the_feature_that_serves_one_group_only(measured: dict[str, Any]):
    flagged = {node["id"]: node["flagged_for"] for node in measured["nodes"]}
    assert flagged["blocks.3.hook_resid_post/9"] == ["group"]
    assert flagged["blocks.1.hook_resid_post/5"] == flagged["blocks.2.hook_resid_post/9"] == []
    (node,) = (node for node in measured["nodes"] if node["id"] == "blocks.3.hook_resid_post/9")
    assert {one["value"]: one["firing"] > 0.5 for one in node["protected"]} == {"a": True, "b": False}


def test_another_seed_that_has_the_same_directions_is_stable(measured: dict[str, Any]):
    assert measured["stability"]["share"] == 1.0
    assert measured["stability"]["n_nodes"] == sum(node["layer"] == 1 for node in measured["nodes"])


def test_labels_stand_on_their_nodes(measured: dict[str, Any]):
    labels = {node["id"]: node["label"] for node in measured["nodes"]}
    assert labels["blocks.1.hook_resid_post/5"] == {"leading": "concept"}
    assert labels["blocks.2.hook_resid_post/9"] is None


def test_the_whole_record_is_json_and_says_so_in_a_sentence(measured: dict[str, Any]):
    _, cohort, _ = stack()
    origin = {"concept": {"name": "gout"}, "cohort": {"unit": "mention"}, "notes": []}
    record = completed(measured, origin, cohort)
    json.dumps(record, allow_nan=False)
    assert "A single feature tells it from layer 1 on" in record["sentence"]
    assert f"{best(measured, FROM)['auroc']:.2f}" in record["sentence"]
    assert "not a clinical validation" in record["caveat"]
    assert record["cohort"]["n_positive"] == cohort.is_positive.sum()


def test_a_concept_that_nothing_knows_is_named_nowhere():
    layers, cohort, _ = stack()
    rng = np.random.default_rng(5)
    nothing = halved(rng.random(N) < 0.15, cohort.patient, 0)
    record = completed(
        trace(layers, nothing, CFG), {"concept": {"name": "nothing"}, "cohort": {"unit": "mention"}}, nothing
    )
    assert record["emerges_at"] is None
    assert record["nodes"] == [] and record["edges"] == []
    assert "No single feature of any of 4 layers exceeds what chance gives" in record["sentence"]


def test_features_that_define_the_concept_are_no_evidence_for_it():
    layers, cohort, _ = stack()
    silenced = [Layer(**{**vars(layer), "defining": frozenset({5})}) if layer.layer == 1 else layer for layer in layers]
    record = trace(silenced, cohort, CFG)
    assert record["emerges_at"] == 2
    assert "blocks.1.hook_resid_post/5" not in [node["id"] for node in record["nodes"]]
    assert 5 not in record["layers"][1]["detectors"][3]["features"]


def test_the_same_seed_gives_the_same_record():
    layers, cohort, attributes = stack()
    one, two = (json.dumps(trace(layers[:2], cohort, CFG, Evidence(attributes=attributes))) for _ in range(2))
    assert one == two


def test_sparse_and_dense_choice_of_features_agree():
    layers, cohort, _ = stack()
    x = layers[2].scores
    dense = most_different_dense(x.toarray(), cohort.is_positive[None], 8)[0]
    np.testing.assert_array_equal(most_different(x, cohort.is_positive, 8), dense)
