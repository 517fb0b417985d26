"""Intervals beside scipy's, exact ones, and those that do not exist."""

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from benchmarks.harness.rated import simulated
from labeling.alpha import alpha
from labeling.bootstrap import (
    EXACT,
    N_GROUPS,
    BootstrapConfig,
    Statistic,
    acceleration,
    difference,
    estimates,
    grouped,
    mean_of,
    ratio_of,
    resampled_sums,
)
from labeling.estimate import Support
from labeling.gwet import coefficient
from labeling.scale import counts_of

LARGE = Support(1000, 2, 2000)


def one_estimate(statistic: Statistic, cfg: BootstrapConfig | None = None, support: Support = LARGE):
    return estimates({"x": statistic}, support, cfg or BootstrapConfig())["x"]


def test_resamples_have_as_many_items_as_the_sample():
    sums = resampled_sums(np.column_stack([np.ones(30), np.arange(30.0)]), BootstrapConfig(n_bootstraps=50))
    assert sums.shape == (50, 2)
    assert set(sums[:, 0]) == {30.0}
    assert len(set(sums[:, 1])) > 20


def test_a_mean_has_the_interval_of_scipys_bca():
    x = np.random.default_rng(0).exponential(size=400)
    found = one_estimate(ratio_of(x, np.ones(400)), BootstrapConfig(n_bootstraps=20_000))
    expected = bootstrap((x,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(1))
    assert found.method == "BCa"
    interval = expected.confidence_interval
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.006)


def test_acceleration_is_the_skewness_of_leaving_one_out():
    x = np.asarray([1.0, 1.0, 1.0, 10.0])
    left_out = (x.sum() - x) / 3
    below = left_out.mean() - left_out
    assert acceleration(left_out) == pytest.approx((below**3).sum() / (6 * (below**2).sum() ** 1.5))
    assert acceleration(np.full(4, np.nan)) == 0.0
    assert acceleration(np.ones(4)) == 0.0


def test_of_many_items_groups_are_left_out_and_the_acceleration_is_the_same():
    x = np.random.default_rng(5).exponential(size=4001)
    one = ratio_of(x, np.ones(4001))
    sums = one.contributions.sum(axis=0)
    groups = grouped(one.contributions)
    assert groups.shape == (N_GROUPS, 2)
    assert groups.sum(axis=0) == pytest.approx(sums)
    each = acceleration(one.of_sums(sums - one.contributions))
    assert acceleration(one.of_sums(sums - groups)) == pytest.approx(each, abs=0.003)
    assert each == pytest.approx(2 / 6 / np.sqrt(4001), rel=0.15)  # the skewness of an exponential is 2


def test_sums_that_skip_zeros_are_the_same():
    x = np.zeros((300, 50))
    x[np.arange(300), np.arange(300) % 50] = 1.5
    cfg = BootstrapConfig(n_bootstraps=20)
    whole = resampled_sums(np.column_stack([x, np.ones((300, 50))]), cfg)[:, :50]
    assert np.array_equal(resampled_sums(x, cfg), whole)


@pytest.mark.parametrize("answer", [0.0, 1.0])
def test_a_share_of_none_or_all_has_the_exact_interval(answer: float):
    found = one_estimate(ratio_of(np.full(40, answer), np.ones(40)))
    expected = binomtest(int(40 * answer), 40).proportion_ci(method="exact")
    assert found.method == EXACT
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_a_figure_that_never_varies_has_no_interval_and_says_so():
    found = one_estimate(ratio_of(np.full(40, 0.5), np.ones(40)))
    assert (found.value, found.low, found.high, found.is_reliable) == (0.5, None, None, False)
    assert "same in every resample" in found.reason


def test_figures_share_their_resamples():
    ratings = simulated(np.random.default_rng(1), 80, 3, (0.5, 0.5), 0.6, 0.2)
    counts, levels = counts_of(ratings, np.arange(2.0)), np.arange(2.0)
    one, other = alpha(counts, levels, "nominal"), coefficient("ac", counts, np.eye(2))
    alone, both = one_estimate(other), estimates({"a": one, "x": other}, LARGE, BootstrapConfig())["x"]
    assert alone == both
    assert one_estimate(difference(other, other)).value == 0.0


def test_a_difference_is_the_difference():
    rng = np.random.default_rng(2)
    x, y = rng.random(100), rng.random(100)
    found = one_estimate(difference(ratio_of(x, np.ones(100)), ratio_of(y, np.ones(100))))
    paired = one_estimate(ratio_of(x - y, np.ones(100)))
    assert found[:3] == pytest.approx(paired[:3])


def test_a_mean_of_figures_leaves_out_those_that_do_not_exist():
    nothing = ratio_of(np.zeros(10), np.zeros(10))
    x = ratio_of(np.arange(10.0), np.ones(10))
    y = ratio_of(np.arange(10.0) * 3, np.ones(10))
    assert mean_of([x, nothing, y]).value == pytest.approx(9.0)
    assert np.isnan(mean_of([nothing]).value)


def test_ninety_five_of_a_hundred_intervals_hold_the_truth():
    """A short look at what benchmarks/agreement.py measures on 12 scenarios: 300 runs, so that ± .04 is chance."""
    levels, cfg = np.arange(2.0), BootstrapConfig(n_bootstraps=500)
    hits = {"alpha": 0, "ac1": 0}
    for run in range(300):
        ratings = simulated(np.random.default_rng((3, run)), 50, 3, (0.5, 0.5), 0.7, 0.0)
        counts = counts_of(ratings, levels)
        found = estimates(
            {"alpha": alpha(counts, levels, "nominal"), "ac1": coefficient("ac", counts, np.eye(2))}, LARGE, cfg
        )
        for name, one in found.items():
            assert one.low is not None
            assert one.high is not None
            hits[name] += one.low <= 0.49 <= one.high  # 0.7², of both, since the classes are even
    for name, n in hits.items():
        assert 0.91 <= n / 300 <= 0.99, name
