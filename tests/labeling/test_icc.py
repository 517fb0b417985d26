"""Intraclass correlations against the example everybody uses, and where there is none."""

import numpy as np
import pytest

from labeling.icc import icc, mean_squares

SHROUT_FLEISS = np.asarray([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def test_the_example_of_shrout_and_fleiss():
    """1979, Psychol Bull 86:420: ICC(2,1) .29 and ICC(2,4) .62; intervals as R's psych prints them."""
    squares = mean_squares(SHROUT_FLEISS)
    assert squares == pytest.approx((11.24, 32.49, 1.02), abs=0.005)
    found = icc(SHROUT_FLEISS)
    assert found.one_rater.value == pytest.approx(0.29, abs=0.005)
    assert (found.one_rater.low, found.one_rater.high) == pytest.approx((0.019, 0.761), abs=0.001)
    assert found.mean_of_raters.value == pytest.approx(0.62, abs=0.005)
    assert (found.mean_of_raters.low, found.mean_of_raters.high) == pytest.approx((0.071, 0.927), abs=0.001)
    assert found.one_rater.is_reliable is False


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(300):
        x = rng.normal(size=(40, 1)) + rng.normal(size=(1, 5)) * 0.3 + rng.normal(size=(40, 5)) * 0.8
        one = icc(x).one_rater
        assert one.low is not None
        assert one.high is not None
        hits += one.low <= 1 / (1 + 0.09 + 0.64) <= one.high
    assert 0.91 <= hits / 300 <= 0.99


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ([[1, np.nan], [2, 3]], "1 rating missing"),
        ([[2, 2], [2, 2]], "no variance to compare"),
        ([[1, 2]], "two items and two raters"),
    ],
)
def test_what_has_no_correlation_says_why(table: list[list[float]], reason: str):
    found = icc(np.asarray(table, float))
    assert found.one_rater.value is None
    assert reason in found.mean_of_raters.reason


def test_the_same_values_of_all_raters_correlate_fully():
    found = icc(np.repeat(np.arange(40.0), 3).reshape(40, 3))
    assert (found.one_rater.value, found.mean_of_raters.value) == (1.0, 1.0)
