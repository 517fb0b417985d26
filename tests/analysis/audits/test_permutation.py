"""Many tests at one level: by hand, as invariants, and beside the plain way to compute them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.audits.permutation import bootstrap_weights, combined, corrected, interval, shuffles


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=20), st.integers(0, 99))
def test_every_order_is_a_permutation_that_leaves_rows_in_their_stratum(strata: list[str], seed: int):
    for order in shuffles(strata, 3, seed):
        assert sorted(order.tolist()) == list(range(len(strata)))
        assert [strata[i] for i in order] == strata


def test_all_orders_of_a_stratum_are_equally_likely():
    counts: dict[tuple[int, ...], int] = {}
    for order in shuffles([0, 0, 0], 6000, 0):
        counts[tuple(order.tolist())] = counts.get(tuple(order.tolist()), 0) + 1
    assert len(counts) == 6
    assert min(counts.values()) > 850  # 1000 expected, its deviation 29


def test_corrected_p_values_by_hand():
    largest = np.array([1.0, 2.0, 3.0])
    found = corrected(np.array([2.5, -3.5, 0.5, np.nan]), largest)
    assert found.tolist() == [2 / 4, 1 / 4, 4 / 4, 4 / 4]  # the seen order counts as one of four


def test_the_combined_p_value_by_hand():
    parts = np.array([[9.0, 1.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    p, alone = combined(parts)
    assert alone.tolist() == [1 / 4, 1.0]
    assert p == 2 / 4  # the last row has a part as extreme, and the same mean rank is not smaller than the seen one's


def test_the_combined_test_keeps_its_level_when_its_parts_depend_on_one_another():
    rng = np.random.default_rng(0)
    p = []
    for _ in range(2000):
        base = rng.normal(size=(100, 1))
        p.append(
            combined(np.concatenate([base, base + 0.3 * rng.normal(size=(100, 1)), rng.normal(size=(100, 2))], 1))[0]
        )
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.015)  # three deviations


def test_a_bootstrap_draws_patients_and_not_texts():
    weights = bootstrap_weights(["p", "q", "p", "r"], 200, 0)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 3] == 3).all()


def test_an_interval_leaves_out_what_could_not_be_computed():
    low, high = interval(np.array([np.nan, 0.0, 1.0, 2.0, 3.0, 4.0]))
    assert (low, high) == pytest.approx((0.1, 3.9))
    assert all(np.isnan(interval(np.array([np.nan]))))
