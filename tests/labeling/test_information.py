"""Expected information against slow loops, and the search that does not look at everything."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.information import contraction, expected_information, most_informative
from labeling.pool import Candidate, Pool


def slow(posterior: np.ndarray, confusion: np.ndarray) -> float:
    """Entropy of the class minus its expected entropy after the answer, answer by answer."""

    def bits(p: np.ndarray) -> float:
        return -sum(float(x) * math.log2(x) for x in p if x > 0)

    after = 0.0
    for answer in range(confusion.shape[1]):
        joint = [float(posterior[k] * confusion[k, answer]) for k in range(len(posterior))]
        chance = sum(joint)
        if chance > 0:
            after += chance * bits(np.asarray(joint) / chance)
    return bits(posterior) - after


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**32))
def test_information_is_the_fall_of_entropy_that_loops_find(k: int, seed: int):
    rng = np.random.default_rng(seed)
    posterior, confusion = rng.dirichlet(np.full(k, 0.4), 5), rng.dirichlet(np.full(k, 0.5), k)
    found = expected_information(posterior, confusion)
    assert found == pytest.approx([slow(one, confusion) for one in posterior], abs=1e-9)
    entropies = [slow(one, np.eye(k)) for one in posterior]
    assert (found <= np.asarray(entropies) * contraction(confusion) + 1e-9).all()


def test_a_random_rater_tells_nothing_and_a_perfect_one_everything():
    posterior = np.asarray([[0.5, 0.5], [0.9, 0.1]])
    assert expected_information(posterior, np.full((2, 2), 0.5)) == pytest.approx([0, 0], abs=1e-12)
    assert expected_information(posterior, np.eye(2)) == pytest.approx([1, 0.468996], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32), st.booleans())
def test_the_search_finds_what_looking_at_everything_finds(n: int, seed: int, with_factor: bool):
    rng = np.random.default_rng(seed)
    posterior = rng.dirichlet(np.full(3, 0.4), n)
    posterior[rng.random(n) < 0.4] = 1 / 3
    pool = Pool.of([Candidate(str(i), "adaptive", "f", tuple(row)) for i, row in enumerate(posterior)])
    confusion, order = rng.dirichlet(np.full(3, 0.5), 3), rng.permutation(n)
    places = np.flatnonzero(rng.random(n) < 0.8)
    if not len(places):
        places = np.arange(n)
    factor = np.where(rng.random(len(places)) < 0.3, 1.1, 1.0) if with_factor else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labeling.information.FIRST_CHUNK", 3)
        patch.setattr("labeling.information.GROWTH", 1)
        found = most_informative(pool, places, confusion, order, factor)
    value = np.round(expected_information(posterior[places], confusion) * (1 if factor is None else factor), 12)
    expected = places[np.lexsort((order[places], -value))[0]]
    assert (found.place, found.information) == (expected, pytest.approx(value.max(), abs=1e-12))


def test_settled_items_are_not_looked_at():
    posterior = np.tile([0.999, 0.001], (5000, 1))
    posterior[17] = 0.5
    pool = Pool.of([Candidate(str(i), "adaptive", "f", tuple(row)) for i, row in enumerate(posterior)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labeling.information.FIRST_CHUNK", 1)
        found = most_informative(pool, np.arange(5000), np.asarray([[0.9, 0.1], [0.1, 0.9]]), np.arange(5000))
    assert (found.place, found.n_looked_at) == (17, 1)
