"""How many features two seeds agree on: cases worked by hand."""

import pytest
import torch

from analysis import seed_stability
from analysis.seed_stability import MOST_MATCHED, SeedStability, compare, mean

AXES = torch.eye(4)


def test_a_permuted_copy_is_the_same():
    rows = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    copy = 3 * rows[torch.randperm(30, generator=torch.Generator().manual_seed(1))]
    assert compare(rows, copy) == pytest.approx((1.0, 1.0, 1.0))


def test_orthogonal_features_share_nothing():
    assert compare(AXES[:2], AXES[2:]) == (0.0, 0.0, 0.0)


def test_an_opposite_direction_is_another_feature():
    assert compare(AXES[:1], -AXES[:1]) == (-1.0, -1.0, 0.0)


def test_two_features_cannot_be_matched_to_the_same_one():
    # both rows of the first are nearest to e0, which only one of them gets: cosines 1 and, of the pair left over, 0
    first, second = torch.stack([AXES[0], AXES[0]]), AXES[:2]
    found = compare(first, second)
    assert found.mean_max_cosine == pytest.approx((1 + 1 + 1 + 0) / 4)
    assert found.mean_matched_cosine == pytest.approx(1 / 2)
    assert found.shared_fraction == pytest.approx(1 / 2)


def test_the_threshold_is_that_of_the_paper():
    at = torch.tensor([[0.71, (1 - 0.71**2) ** 0.5]])
    below = torch.tensor([[0.69, (1 - 0.69**2) ** 0.5]])
    axis = torch.tensor([[1.0, 0.0]])
    assert (compare(at, axis).shared_fraction, compare(below, axis).shared_fraction) == (1.0, 0.0)


def test_more_features_on_one_side_lower_the_share():
    assert compare(AXES[:3], AXES[:1]).shared_fraction == pytest.approx(2 / 4)


def test_too_many_to_match_still_have_a_largest_cosine(monkeypatch: pytest.MonkeyPatch):
    assert MOST_MATCHED >= 2048
    monkeypatch.setattr(seed_stability, "MOST_MATCHED", 3)
    assert compare(AXES, AXES) == (1.0, None, None)


def test_the_mean_over_pairs_says_nothing_of_what_one_lacks():
    found = mean([SeedStability(1.0, 0.5, 0.25), SeedStability(0.5, 0.25, 0.75)])
    assert found == (0.75, 0.375, 0.5)
    assert mean([found, SeedStability(1.0, None, None)]) == (0.875, None, None)
