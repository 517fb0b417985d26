"""Figures of scores: concentration, agreement, stability, mass on kinds, ranking of edits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import roc_auc_score

from analysis.views.agreement import agreement
from analysis.views.alignment import Unit
from analysis.views.category_mass import category_mass
from analysis.views.concentration import concentration
from analysis.views.sensitivity import Effect, ranked
from analysis.views.stability import stability

SCORES = arrays.arrays(float, st.integers(2, 20), elements=st.floats(-100, 100).map(lambda x: round(x, 3)))


def test_concentration_by_hand() -> None:
    one = concentration(np.array([0.0, 0.0, 0.0, -4.0]))
    assert (one.gini, one.entropy, one.n_effective, one.top_1) == (0.75, 0.0, 1.0, 1.0)
    even = concentration(np.array([2.0, -2.0, 2.0, 2.0]))
    assert (even.gini, even.top_1, even.top_5) == (0.0, 0.25, 1.0)
    assert even.entropy == pytest.approx(1)
    assert even.n_effective == pytest.approx(4)
    assert concentration(np.zeros(3)).gini is None
    assert concentration(np.zeros(0)).n_tokens == 0


@given(SCORES)
def test_gini_is_half_the_relative_mean_difference(scores: np.ndarray) -> None:
    found, sizes = concentration(scores), np.abs(scores)
    if found.gini is not None:
        brute = np.abs(sizes[:, None] - sizes[None]).mean() / (2 * sizes.mean())
        assert found.gini == pytest.approx(brute, abs=1e-9)
        assert found.entropy is not None
        assert -1e-9 <= found.entropy <= 1 + 1e-9
        assert concentration(-3 * scores).gini == pytest.approx(found.gini, abs=1e-9)


def test_agreement_by_hand() -> None:
    left = np.array([1.0, 2.0, 3.0, 4.0])
    assert agreement(left, left, 2)[:3] == pytest.approx((1.0, 1.0, 1.0))
    assert agreement(left, -left, 2)[:2] == pytest.approx((-1.0, -1.0))
    swapped = agreement(left, np.array([2.0, 1.0, 3.0, 4.0]), 3)
    assert swapped.kendall == pytest.approx(4 / 6)  # one of six pairs the other way round
    assert swapped.top_k_jaccard == pytest.approx(0.5)  # {1, 2, 3} and {0, 2, 3}
    assert agreement(left, np.ones(4)).kendall is None
    with pytest.raises(ValueError, match="as many"):
        agreement(left, left[:2])


@given(SCORES, st.integers(0, 2**32 - 1))
def test_kendall_counts_pairs(left: np.ndarray, seed: int) -> None:
    right = np.random.default_rng(seed).permutation(left)
    found = agreement(left, right).kendall
    if found is None:
        return
    a, b = (np.sign(x[:, None] - x[None])[np.triu_indices(len(x), 1)] for x in (left, right))
    assert found == pytest.approx((a * b).sum() / np.sqrt((a != 0).sum() * (b != 0).sum()), abs=1e-9)


def test_stability_looks_at_what_both_have() -> None:
    units = [Unit((0,), (0,), False), Unit((1,), (1, 2), True), Unit((2,), (3,), False), Unit((), (4,), True)]
    same = stability(np.array([1.0, 9.0, 3.0]), np.array([1.0, 5.0, 5.0, 3.0, 7.0]), units)
    assert same == (pytest.approx(1.0), pytest.approx(0.0), 2)
    other = stability(np.array([1.0, 9.0, 0.0]), np.array([0.0, 5.0, 5.0, 3.0, 7.0]), units)
    assert other.moved == pytest.approx(1.0)
    assert stability(np.zeros(3), np.ones(5), units).spearman is None


def test_mass_by_hand_and_auroc_against_scikit_learn() -> None:
    scores, flags = np.array([4.0, -2.0, 1.0, 1.0]), np.array([True, True, False, False])
    found = category_mass(scores, flags)
    assert found[:4] == (2, 0.5, 0.75, 1.5)
    assert found.auroc == roc_auc_score(flags, np.abs(scores)) == 1.0
    rng = np.random.default_rng(0)
    scores, flags = rng.integers(-3, 4, 50).astype(float), rng.random(50) < 0.3
    assert category_mass(scores, flags).auroc == pytest.approx(roc_auc_score(flags, np.abs(scores)))
    assert category_mass(np.zeros(2), np.array([True, False])).share_of_mass is None
    assert category_mass(np.ones(2), np.array([False, False])).enrichment is None


def test_another_answer_ranks_before_a_changed_score_before_moved_mass() -> None:
    effects = [
        Effect({"n": 0}, 0.0, False, 0.9), Effect({"n": 1}, -2.0, False, 0.1), Effect({"n": 2}, None, True, None),
        Effect({"n": 3}, 1.0, False, 0.5),
    ]  # fmt: skip
    assert [effect.edit["n"] for effect in ranked(effects)] == [2, 1, 3, 0]
