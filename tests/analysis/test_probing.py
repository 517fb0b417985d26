"""Probes worked by hand, beside scikit-learn, and on concepts whose number of features is known."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from analysis.config import ConceptsConfig
from analysis.probing import (
    dense_probe,
    drawn,
    halves,
    interval,
    logistic,
    most_different,
    n_needed,
    sparse_probes,
    standardised,
)
from analysis.units import BACKGROUND, Unit

CFG = ConceptsConfig(min_mentions=5, probe_features=(1, 2, 5), probe_seeds=5, probe_margin=0.02)
LABELS = ("fever", "cough", BACKGROUND, BACKGROUND)


def units(n: int) -> list[Unit]:
    """One unit per label and bundle, over and over."""
    return [Unit(0, i, i + 1, LABELS[i % 4], i // 4) for i in range(n)]


def is_fever(found: list[Unit]) -> np.ndarray:
    return np.asarray([unit.label == "fever" for unit in found])


def test_the_features_chosen_are_those_whose_means_differ_most():
    scores = np.asarray([[5.0, 1.0, 0.0], [5.0, 3.0, 0.0], [5.0, 0.0, 4.0], [5.0, 0.0, 8.0]], np.float32)
    # first two against the rest: |0|, |2 − 0|, |0 − 6|; the first alone: |0|, |1 − 1|, |0 − 4|
    chosen = most_different(scores, np.asarray([[True, True, False, False], [True, False, False, False]]), 2)
    assert chosen.tolist() == [[2, 1], [2, 0]]


def test_a_logistic_regression_on_one_coin_is_worked_by_hand(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("analysis.probing.L2", 0.0)
    x = np.ones((10, 1))
    positive = np.asarray([[True] * 8 + [False] * 2])
    assert logistic(x, positive)[0, 0] == pytest.approx(math.log(8 / 2), abs=1e-4)


@pytest.mark.parametrize("d", [1, 3, 20, 70])
def test_logistic_regressions_equal_those_of_scikit_learn(d: int):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(300, d)) * 30 + 500  # a large mean
    positive = np.stack([x[:, 0] + rng.normal(size=300) * 20 > 500, rng.random(300) < 0.1])
    fitted = np.ones(300, bool)
    ours = logistic(standardised(x, fitted), positive)
    for row, is_positive in zip(ours, positive, strict=True):
        theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(StandardScaler().fit_transform(x), is_positive)
        assert row[0] == pytest.approx(theirs.intercept_[0], abs=2e-3)
        assert row[1:] == pytest.approx(theirs.coef_[0], abs=2e-3)


def test_columns_are_standardised_by_the_fitted_rows_alone():
    x = np.asarray([[1.0, 7.0], [3.0, 7.0], [100.0, 8.0]])
    found = standardised(x, np.asarray([True, True, False]))
    assert found.tolist() == [[1, -1, 0], [1, 1, 0], [1, 98, 0]]


def test_documents_of_one_bundle_are_never_split_apart():
    some = units(200)
    bundle = np.asarray([unit.bundle for unit in some])
    found = list(halves(some, CFG, 0))
    assert len(found) == 5
    for split in found:
        assert not set(bundle[split.fitted]) & set(bundle[~split.fitted])
        assert split.fitted.sum() == 100
        assert split.names == ["cough", "fever"]
    assert len({split.fitted.tobytes() for split in found}) == 5, "every seed halves in its own way"


def test_probes_are_fitted_on_so_many_units_of_each_kind_at_most(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("analysis.probing.FITTED_UNITS", 20)
    some = units(400)
    fitted = np.arange(400) < 200
    rows = drawn(fitted, is_fever(some), 0)
    assert fitted[rows].all()
    assert len(set(rows)) == 40
    assert is_fever(some)[rows].sum() == 20
    assert sorted(drawn(fitted & (np.arange(400) < 40), is_fever(some), 0)[:10]) == list(range(0, 40, 4)), "all of few"


def test_the_interval_over_seeds_is_students():
    values = [0.7, 0.8, 0.75, 0.85, 0.9]
    low, high = student.interval(0.95, 4, np.mean(values), np.std(values, ddof=1) / math.sqrt(5))
    assert interval(values) == pytest.approx({"auroc": 0.8, "low": low, "high": high}, abs=1e-6)


def test_features_needed_is_the_first_number_within_the_margin():
    assert n_needed({1: 0.7, 2: 0.9, 5: 0.97}, 0.98, CFG) == 5
    assert n_needed({1: 0.97, 2: 0.9}, 0.98, CFG) == 1
    assert n_needed({1: 0.7}, 0.98, CFG) is None


def probed(scores: np.ndarray, acts: np.ndarray, some: list[Unit]) -> dict[str, Any]:
    return sparse_probes(scores, some, CFG, 0, dense_probe(acts, some, CFG, 0))


def test_a_concept_in_one_feature_needs_one_and_a_concept_split_over_two_needs_two():
    some, rng = units(400), np.random.default_rng(0)
    fever, cough = is_fever(some), np.asarray([unit.label == "cough" for unit in some])
    half = rng.random(400) < 0.5
    scores = rng.random((400, 30)).astype(np.float32) * 0.1
    scores[fever, 4] += 1  # fever in one feature
    scores[cough & half, 7] += 1  # cough in two, each for half of its mentions
    scores[cough & ~half, 9] += 1
    acts = np.stack([fever, cough], axis=1) + rng.normal(size=(400, 2)) * 0.01
    found = probed(scores, acts.astype(np.float32), some)["concepts"]
    assert found["fever"]["n_features_needed"] == 1
    assert found["fever"]["features"]["1"]["auroc"] == pytest.approx(1.0)
    assert found["cough"]["n_features_needed"] == 2
    assert 0.6 < found["cough"]["features"]["1"]["auroc"] < 0.9
    assert found["cough"]["model"]["auroc"] == pytest.approx(1.0)


def test_noise_is_probed_at_a_half_although_features_are_chosen():
    some, rng = units(800), np.random.default_rng(1)
    found = probed(rng.random((800, 500)).astype(np.float32), rng.random((800, 4)).astype(np.float32), some)
    for k in ("1", "2", "5"):
        assert found["features"][k]["auroc"] == pytest.approx(0.5, abs=0.06)
    assert found["n_concepts"] == 2


def test_figures_stay_the_same_where_features_are_scaled_together_or_have_a_large_mean():
    some, rng = units(400), np.random.default_rng(2)
    scores = rng.random((400, 20)) + is_fever(some)[:, None] * rng.random(20) * 0.5
    acts = rng.random((400, 5))
    before = probed(scores, acts, some)
    assert probed(scores * 64, acts, some) == before
    moved = probed(scores + 1000, acts + 1000, some)
    for k, value in before["features"].items():
        assert moved["features"][k]["auroc"] == pytest.approx(value["auroc"], abs=1e-4)
    assert moved["model"]["auroc"] == pytest.approx(before["model"]["auroc"], abs=1e-4)


def test_concepts_with_too_few_mentions_in_some_half_are_left_out():
    some = units(16)
    assert probed(np.zeros((16, 3)), np.zeros((16, 2)), some) == {
        "n_concepts": 0, "features": {}, "model": None, "concepts": {},
    }  # fmt: skip


def test_the_choice_is_that_of_a_difference_of_means_in_scikit_learn():
    some, rng = units(200), np.random.default_rng(3)
    scores = rng.random((200, 40)) + is_fever(some)[:, None] * rng.random(40)

    def difference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.abs(x[y == 1].mean(axis=0) - x[y == 0].mean(axis=0))

    theirs = SelectKBest(difference, k=5).fit(scores, is_fever(some)).get_support(indices=True)
    assert sorted(most_different(scores, is_fever(some)[None], 5)[0]) == list(theirs)
