"""AUROC by hand and beside scikit-learn; choosing and estimating on different documents."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from analysis.auroc import auroc
from analysis.concept_recovery import recovery, rows_of
from analysis.config import ConceptsConfig
from analysis.units import BACKGROUND, Unit

CFG = ConceptsConfig(auroc=0.95, min_mentions=5)


def test_auroc_equals_the_share_of_pairs_worked_by_hand():
    scores = np.array([[0.9], [0.4], [0.4], [0.1]])
    positive = np.array([[True, True, False, False]])
    # pairs: .9>.4, .9>.1, .4=.4 (half), .4>.1 → 3.5 of 4
    assert auroc(scores, positive)[0, 0] == pytest.approx(3.5 / 4)


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=50, deadline=None)
def test_auroc_equals_scikit_learn(seed: int, levels: int):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels + 1, (30, 4)).astype(float)
    positive = np.zeros((1, 30), bool)
    positive[0, rng.choice(30, 7, replace=False)] = True
    expected = [roc_auc_score(positive[0], scores[:, column]) for column in range(4)]
    assert auroc(scores, positive)[0] == pytest.approx(expected)


def test_a_concept_without_negatives_has_no_auroc():
    assert np.isnan(auroc(np.ones((3, 1)), np.ones((1, 3), bool))).all()


def units(labels: list[str]) -> tuple[Unit, ...]:
    return tuple(Unit(0, n, n + 1, label, n + 1) for n, label in enumerate(labels))


def test_a_feature_that_fires_on_a_concept_alone_recovers_it():
    labels = ["fever", "fever", "cough", "cough", BACKGROUND, BACKGROUND] * 10
    scores = np.zeros((60, 3), np.float32)
    scores[[label == "fever" for label in labels], 1] = 1.0
    found = recovery(scores, units(labels), CFG)
    assert found["concepts"]["fever"] == {"feature": 1, "auroc": 1.0, "auroc_in_choice": 1.0, "n_mentions": 10}
    assert found["concepts"]["cough"]["auroc"] < 0.95
    assert (found["n_concepts"], found["n_recovered"]) == (2, 1)


def test_noise_recovers_nothing_although_some_feature_always_fits_it_in_the_half_it_was_chosen_on():
    rng = np.random.default_rng(0)
    labels = ["fever"] * 12 + ["cough"] * 12
    scores = rng.random((24, 5000)).astype(np.float32)
    found = recovery(scores, units(labels), CFG)
    assert found["concepts"]["fever"]["auroc_in_choice"] >= 0.95
    assert found["n_recovered"] == 0


def test_concepts_with_too_few_mentions_are_named_not_counted():
    found = recovery(np.zeros((24, 2), np.float32), units(["fever"] * 20 + ["cough"] * 4), CFG)
    assert found["too_few_mentions"] == ["cough"]
    assert found["n_concepts"] == 1


def test_a_span_covers_every_token_it_touches():
    start, end = np.array([-1, 0, 6, 11]), np.array([-1, 5, 10, 15])
    assert rows_of({"start": 8, "end": 12}, start, end) == (2, 4)
    assert rows_of({"start": 5, "end": 6}, start, end) is None
