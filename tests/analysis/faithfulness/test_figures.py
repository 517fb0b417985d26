"""Faithfulness figures, worked by hand on answers that are known functions of what is left of a text."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.faithfulness import additivity, agreement, concentration, deletion, soft
from analysis.faithfulness.intervals import mean, ratio

WEIGHTS = np.asarray([0.0, 0.4, 0.3, 0.2, 0.1])
FREE = np.asarray([False, True, True, True, True])
RNG = np.random.default_rng(0)


def linear(gone: np.ndarray) -> np.ndarray:
    """What is left of the weights."""
    return 1 - gone @ WEIGHTS


def test_curves_of_a_sum_of_four_weights_are_worked_by_hand():
    ranked = deletion.order(WEIGHTS, FREE, RNG)
    assert ranked.tolist() == [1, 2, 3, 4]
    found = deletion.curves(ranked, 5, linear)
    assert found.n_gone.tolist() == [0, 1, 2, 3, 4]
    assert found.morf == pytest.approx([1, 0.6, 0.3, 0.1, 0])
    assert found.lerf == pytest.approx([1, 0.9, 0.7, 0.4, 0])
    figures = deletion.figures(found)
    # k: 1, 1, 1, 1 and 2 tokens
    assert figures.comprehensiveness == pytest.approx((4 * 0.4 + 0.7) / 5)
    assert figures.sufficiency == pytest.approx((4 * 0.6 + 0.3) / 5)
    assert figures.deletion_area == pytest.approx((0.5 + 0.6 + 0.3 + 0.1) / 4)
    assert figures.insertion_area == pytest.approx((0.5 + 0.9 + 0.7 + 0.4) / 4)
    assert figures.abpc == pytest.approx(0.25)


def test_the_reversed_order_has_the_opposite_area_and_equal_scores_none_on_average():
    reverse = deletion.figures(deletion.curves(deletion.order(-WEIGHTS, FREE, RNG), 5, linear))
    assert reverse.abpc == pytest.approx(-0.25)
    drawn = [deletion.curves(deletion.order(np.ones(5), FREE, RNG), 5, linear) for _ in range(400)]
    assert np.mean([deletion.figures(one).abpc for one in drawn]) == pytest.approx(0, abs=0.03)


@given(st.integers(1, 300))
def test_every_number_of_tokens_that_an_aopc_asks_for_is_on_the_curve(n: int):
    ks = set(deletion.numbers(n).tolist())
    assert {0, n} <= ks
    for share in deletion.FRACTIONS:
        k = max(1, round(share * n))
        assert {k, n - k} <= ks
    assert len(ks) <= 2 * len(deletion.FRACTIONS) + len(deletion.GRID)


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=40), st.sampled_from([0.2, 0.5, 0.8]))
def test_every_method_keeps_the_same_share_in_the_order_of_its_scores(values: list[float], share: float):
    scores = np.asarray(values)
    keep = soft.keep_probabilities(scores, share)
    assert keep.mean() == pytest.approx(share, abs=1e-6)
    assert keep.min() >= 0
    assert keep.max() <= 1 + 1e-9
    order = np.argsort(scores, kind="stable")
    assert (np.diff(keep[order]) >= -1e-6).all()


def test_scaling_or_shifting_scores_changes_no_soft_figure():
    def probability(keep: np.ndarray) -> np.ndarray:
        return keep @ WEIGHTS

    found = soft.figures(WEIGHTS, FREE, probability)
    assert soft.figures(7 * WEIGHTS + 3, FREE, probability) == pytest.approx(found)
    worse = soft.figures(-WEIGHTS, FREE, probability)
    assert found.soft_nc > worse.soft_nc
    assert found.soft_ns > worse.soft_ns


def test_sums_that_tell_all_have_no_infidelity_at_any_scale():
    gone = additivity.subsets(FREE, 20, RNG)
    assert not gone[:, 0].any()
    assert gone.any(1).all()
    found = additivity.figures(10 * WEIGHTS, gone, gone @ WEIGHTS)
    assert found.infidelity == pytest.approx(0, abs=1e-12)
    assert found.sensitivity_n == pytest.approx(1)


def test_sums_of_the_wrong_sign_tell_nothing():
    gone = additivity.subsets(FREE, 20, RNG)
    found = additivity.figures(-WEIGHTS, gone, gone @ WEIGHTS)
    assert found.infidelity == pytest.approx(1)
    assert found.sensitivity_n == pytest.approx(-1)


def test_concentration_of_one_and_of_all_alike():
    alone = concentration.figures(np.asarray([0.0, 0.0, -5.0, 0.0]))
    assert alone == pytest.approx((0.75, 0.0, 1.0))
    alike = concentration.figures(np.asarray([1.0, -1.0, 1.0, 1.0]))
    assert alike == pytest.approx((0.0, 1.0, 0.25))
    assert all(math.isnan(one) for one in concentration.figures(np.zeros(4)))


def test_agreement_is_that_of_orders():
    a = np.asarray([4.0, 3.0, 2.0, 1.0])
    assert agreement.tau(a, a**3) == pytest.approx(1)
    assert agreement.tau(a, np.asarray([4.0, 3.0, 1.0, 2.0])) == pytest.approx(4 / 6)
    assert math.isnan(agreement.tau(a, np.ones(4)))
    assert agreement.jaccard(a, np.asarray([4.0, 1.0, 2.0, 3.0]), 2) == pytest.approx(1 / 3)


def test_an_interval_covers_the_mean_and_counts_cases_without_the_figure_out():
    found = mean(np.asarray([1.0, 2.0, 3.0, np.nan]))
    assert (found.value, found.n) == (2.0, 3)
    assert 1 <= found.low <= 2 <= found.high <= 3
    assert mean(np.asarray([np.nan])).record() == {"value": None, "low": None, "high": None, "n": 0}


def test_a_ratio_draws_both_sides_together():
    a = np.asarray([1.0, 2.0, 3.0])
    assert ratio(a, 2 * a)[:3] == pytest.approx((0.5, 0.5, 0.5))
