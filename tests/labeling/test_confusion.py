"""Expectation and maximisation: never downhill, equal to slow loops, and what left-out posteriors are for."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.confusion import Prior, climb, expected_counts, fit, left_out_posterior, shares
from labeling.one_coin import OneCoinPrior, even_errors, matrices, near_errors, one_coin
from labeling.ratings import Ratings
from labeling.votes import vote_share
from tests.labeling.panels import even, simulated

ACCURACIES = (0.9, 0.8, 0.75, 0.65, 0.55)


@st.composite
def ratings(draw: st.DrawFn) -> Ratings:
    """Small panels with holes and repeated judgements."""
    n_items, n_raters, k = draw(st.integers(1, 8)), draw(st.integers(1, 4)), draw(st.integers(2, 4))
    n = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    columns = (rng.integers(0, bound, n) for bound in (n_items, n_raters, k))
    return Ratings(*columns, n_items, n_raters, k)


def prior_of(found: Ratings, strength: float) -> Prior:
    k = found.n_classes
    matrix = strength * (np.full((k, k), 0.3 / (k - 1)) * (1 - np.eye(k)) + 0.7 * np.eye(k))
    return Prior(np.repeat(matrix[None], found.n_raters, axis=0), np.full(k, strength / k))


def slow_posterior(found: Ratings, classes: np.ndarray, confusion: np.ndarray) -> tuple[np.ndarray, float]:
    """The E-step in loops and plain probabilities."""
    table, total = np.zeros((found.n_items, found.n_classes)), 0.0
    for i in range(found.n_items):
        for k in range(found.n_classes):
            p = classes[k]
            for item, rater, label in zip(found.item, found.rater, found.label, strict=True):
                if item == i:
                    p *= confusion[rater, k, label]
            table[i, k] = p
        total += math.log(table[i].sum())
        table[i] /= table[i].sum()
    return table, total


def slow_counts(found: Ratings, posterior: np.ndarray) -> np.ndarray:
    """The M-step's counts in loops."""
    counts = np.zeros((found.n_raters, found.n_classes, found.n_classes))
    for item, rater, label in zip(found.item, found.rater, found.label, strict=True):
        for k in range(found.n_classes):
            counts[rater, k, label] += posterior[item, k]
    return counts


@settings(max_examples=60, deadline=None)
@given(ratings(), st.floats(0.01, 30))
def test_the_objective_never_falls_and_posteriors_are_those_of_slow_loops(found: Ratings, strength: float):
    prior = prior_of(found, strength)
    one = fit(found, prior, [vote_share(found)], max_steps=60)
    assert all(b >= a - 1e-9 * max(1, abs(a)) for a, b in zip(one.objectives, one.objectives[1:], strict=False))
    slow, likelihood = slow_posterior(found, one.classes, one.confusion)
    assert one.posterior == pytest.approx(slow, abs=1e-9)
    assert one.log_likelihood == pytest.approx(likelihood, abs=1e-8)
    counts = slow_counts(found, slow)
    assert expected_counts(found.answers, slow, found) == pytest.approx(counts, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(ratings(), st.floats(0.1, 30))
def test_the_one_coin_objective_never_falls(found: Ratings, strength: float):
    k = found.n_classes
    prior = OneCoinPrior(np.full(found.n_raters, 0.7), strength, np.full(k, 1.0), near_errors(k))
    one = one_coin(found, prior, [vote_share(found)], max_steps=60).fit
    assert all(b >= a - 1e-9 * max(1, abs(a)) for a, b in zip(one.objectives, one.objectives[1:], strict=False))


@settings(max_examples=40, deadline=None)
@given(ratings())
def test_an_item_is_taken_off_the_counts_before_its_raters_judge_it(found: Ratings):
    prior = prior_of(found, 5)
    one = fit(found, prior, [vote_share(found)], max_steps=30)
    expected = np.zeros_like(one.posterior)
    for i in range(found.n_items):
        others = found.only(found.item != i)
        counts = slow_counts(others, one.posterior) + prior.confusion
        classes = one.posterior.sum(axis=0) - one.posterior[i] + prior.classes
        mine = found.only(found.item == i)
        expected[i] = slow_posterior(mine, classes, shares(counts))[0][i]
    assert left_out_posterior(found, one, prior) == pytest.approx(expected, abs=1e-9)


def test_one_item_and_one_rater_are_worked_by_hand():
    found = Ratings(np.asarray([0]), np.asarray([0]), np.asarray([1]), 1, 1, 2)
    prior = Prior(np.asarray([[[3.0, 1.0], [1.0, 3.0]]]), np.asarray([1.0, 1.0]))
    one = climb(found.answers, found, prior, np.asarray([[0.0, 1.0]]), max_steps=1)
    # classes (1, 2) / 3; row 0: (3, 1) / 4, row 1: (1, 4) / 5; joint 1/3 · 1/4 and 2/3 · 4/5
    assert one.posterior[0] == pytest.approx(np.asarray([1 / 12, 8 / 15]) / (1 / 12 + 8 / 15))
    assert one.log_likelihood == pytest.approx(math.log(1 / 12 + 8 / 15))
    # log prior: 3 log 3/4 + log 1/4 + log 1/5 + 3 log 4/5 + log 1/3 + log 2/3
    hand = 3 * math.log(0.75) + math.log(0.25) + math.log(0.2) + 3 * math.log(0.8) + math.log(1 / 3) + math.log(2 / 3)
    assert one.objective == pytest.approx(one.log_likelihood + hand)


def test_the_best_start_is_kept():
    panel = simulated(even(ACCURACIES, 4), 40, 3, 0)
    prior = prior_of(panel.ratings, 1)
    starts = [vote_share(panel.ratings), np.roll(vote_share(panel.ratings), 1, axis=1)]
    alone = [fit(panel.ratings, prior, [start]).objective for start in starts]
    assert alone[0] != pytest.approx(alone[1], abs=1e-3)
    assert fit(panel.ratings, prior, starts).objective == max(alone)


def test_a_sparse_table_gives_what_a_dense_one_does(monkeypatch: pytest.MonkeyPatch):
    found = simulated(even(ACCURACIES, 4), 60, 3, 1).ratings
    prior = prior_of(found, 4)
    dense = fit(found, prior, [vote_share(found)])
    monkeypatch.setattr("labeling.ratings.DENSE_CELLS", 0)
    same = found.only(np.ones(len(found), bool))
    assert not isinstance(same.answers, np.ndarray)
    assert fit(same, prior, [vote_share(same)]).posterior == pytest.approx(dense.posterior, abs=1e-9)


def test_accuracies_of_a_large_panel_are_found():
    panel = simulated(even(ACCURACIES, 4), 3000, 3, 2)
    prior = OneCoinPrior(np.full(5, 0.7), 4, np.ones(4), even_errors(4))
    assert one_coin(panel.ratings, prior, [vote_share(panel.ratings)]).accuracy == pytest.approx(ACCURACIES, abs=0.03)


def test_errors_of_ordered_answers_halve_with_every_rank():
    assert near_errors(4)[0] == pytest.approx(np.asarray([0, 4, 2, 1]) / 7)
    assert matrices(np.asarray([0.8]), near_errors(3))[0][1] == pytest.approx([0.1, 0.8, 0.1])
