"""Krippendorff's alpha: one minus observed disagreement over what chance would bring.

1. Only items with two or more ratings count: a single one disagrees with nobody.
2. Every pair of ratings of an item with m of them weighs 1/(m − 1), so that an item weighs as much as it has ratings.
3. Observed disagreement is the mean squared distance over these pairs; expected, over all pairs of such ratings
   whatever item they come from.
4. The distance is the level's: 0 or 1 (nominal); the number of ratings between two ranks (ordinal), which is the
   difference of their mid-ranks; the difference (interval); the difference over the sum (ratio); or any matrix.

Alpha is a function of sums over items, which is all that the bootstrap needs: resampling n items is drawing n rows and
adding them up. For the ordinal metric, whose distances move with the sample, the pairs themselves are summed.

Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"; Krippendorff 2019, Content Analysis, 4th ed., ch. 12.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from labeling.bootstrap import Statistic, unseen
from labeling.scale import Level
from sae.errors import UserError

MAX_CELLS = 200_000_000
"""Items × columns that may be held at once: 1.6 GB."""
MANY_LEVELS = 64


def alpha(counts: np.ndarray, levels: np.ndarray, level: Level) -> Statistic:
    """Alpha of one table.

    Args:
        counts: [n_items, n_levels] how many raters gave each level.
        levels: [n_levels] ranks or values, ascending.
        level: Whose distance is taken.
    """
    if level == "interval":
        return interval_alpha(counts, levels)
    if level == "ordinal":
        return ordinal_alpha(counts)
    return matrix_alpha(counts, squared_distances(levels, level))


def squared_distances(levels: np.ndarray, level: Level) -> np.ndarray:
    """[n_levels, n_levels] squared distances that do not move with the sample."""
    difference = levels[:, None] - levels[None, :]
    if level == "nominal":
        return (difference != 0).astype(np.float64)
    if level == "interval":
        return difference**2
    total = levels[:, None] + levels[None, :]
    return (difference / np.where(total == 0, 1, total)) ** 2  # two zeros do not differ


def pairable(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of items with two or more ratings, zeros elsewhere; and each item's 1/(m − 1), or zero."""
    m = counts.sum(axis=1)
    return np.where(m[:, None] >= 2, counts, 0), np.where(m >= 2, 1 / np.maximum(m - 1, 1), 0)


def matrix_alpha(counts: np.ndarray, distances: np.ndarray) -> Statistic:
    """Alpha with fixed squared distances [n_levels, n_levels]."""
    refuse_too_large(len(counts), counts.shape[1])
    counts, share = pairable(counts)
    within = within_items(counts, distances) * share
    contributions = np.column_stack([within, counts])

    def of_sums(sums: np.ndarray) -> np.ndarray:
        observed, n = sums[..., 0], sums[..., 1:]
        return quotient(observed, np.einsum("...c,...c->...", n @ distances, n), n.sum(axis=-1))

    n = counts.sum(axis=0)
    farthest = distances[np.ix_(n > 0, n > 0)].max(initial=0)
    return Statistic(contributions, of_sums, agreeing(share, contributions[:, 0], n.sum(), farthest, n @ distances @ n))


def within_items(counts: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """[n_items] Σ over pairs of levels of their counts times [n_levels, n_levels]; few of many levels occur in an item."""
    rows = csr_array(counts) @ matrix if len(matrix) > MANY_LEVELS else counts @ matrix
    return np.einsum("uc,uc->u", rows, counts)


def interval_alpha(counts: np.ndarray, levels: np.ndarray) -> Statistic:
    """Alpha of squared differences, by moments: any number of different values costs the same."""
    counts, share = pairable(counts)
    total = counts.sum()
    x = levels - (counts.sum(axis=0) @ levels / total if total else 0)  # centred, for the digits
    m, first, second = counts.sum(axis=1), counts @ x, counts @ x**2
    contributions = np.column_stack([2 * (m * second - first**2) * share, m, first, second])

    def of_sums(sums: np.ndarray) -> np.ndarray:
        observed, n, first, second = np.moveaxis(sums, -1, 0)
        expected = 2 * (n * second - first**2)
        return quotient(observed, np.where(expected > 1e-12 * n * second, expected, 0), n)

    used = x[counts.sum(axis=0) > 0]
    farthest = np.ptp(used) ** 2 if len(used) else 0
    expected = 2 * (m.sum() * second.sum() - first.sum() ** 2)
    return Statistic(contributions, of_sums, agreeing(share, contributions[:, 0], m.sum(), farthest, expected))


def ordinal_alpha(counts: np.ndarray) -> Statistic:
    """Alpha of differences of mid-ranks, which are the sample's own."""
    pairs = pairs_within(counts)
    contributions = np.column_stack([pairs, pairable(counts)[0]])

    def of_sums(sums: np.ndarray) -> np.ndarray:
        n = sums[..., pairs.shape[1] :]
        squared = midrank_distances(n)
        low, high = np.triu_indices(n.shape[-1], 1)
        observed = 2 * (sums[..., : pairs.shape[1]] * squared).sum(axis=-1)
        expected = 2 * (n[..., low] * n[..., high] * squared).sum(axis=-1)
        return quotient(observed, expected, n.sum(axis=-1))

    counts, share = pairable(counts)
    n = counts.sum(axis=0)
    low, high = np.triu_indices(len(n), 1)
    squared, both = midrank_distances(n), n[low] * n[high]
    farthest = squared[both > 0].max(initial=0)
    return Statistic(
        contributions, of_sums, agreeing(share, pairs.sum(axis=1), n.sum(), farthest, 2 * (both * squared).sum())
    )


def agreeing(
    share: np.ndarray, observed: np.ndarray, n: float, farthest: float, expected: float
) -> Callable[[float], tuple[float, float]] | None:
    """The exact interval of an alpha of 1; none for any other."""
    if observed.any() or expected <= 0:
        return None
    n_items = int((share > 0).sum())
    return lambda tail: (float(quotient(unseen(n_items, tail) * farthest * n, expected, n)), 1.0)


def pairs_within(counts: np.ndarray) -> np.ndarray:
    """[n_items, n_pairs] weighted pairs of ratings of two different levels, in the order of `np.triu_indices`."""
    counts, share = pairable(counts)
    low, high = np.triu_indices(counts.shape[1], 1)
    refuse_too_large(len(counts), len(low))
    return counts[:, low] * counts[:, high] * share[:, None]


def midrank_distances(n: np.ndarray) -> np.ndarray:
    """[..., n_pairs] squared differences of mid-ranks of levels that occur [..., n_levels] times."""
    midranks = np.cumsum(n, axis=-1) - n / 2
    low, high = np.triu_indices(n.shape[-1], 1)
    return (midranks[..., high] - midranks[..., low]) ** 2


def quotient(observed: ArrayLike, expected: ArrayLike, n: ArrayLike) -> np.ndarray:
    """1 − (n − 1) · observed / expected, both sums over ordered pairs; NaN where chance can bring no disagreement."""
    observed, expected, n = np.asarray(observed), np.asarray(expected), np.asarray(n)
    some = expected > 0
    return np.where(some, 1 - (n - 1) * observed / np.where(some, expected, 1), np.nan)


def refuse_too_large(n_items: int, n_columns: int) -> None:
    """Ends with an error what would not fit into memory."""
    if n_items * n_columns > MAX_CELLS:
        raise UserError(
            f"{n_items:,} items with {n_columns:,} different answers or pairs of them do not fit into memory, expected "
            f"at most {MAX_CELLS:,} cells. Declare the field `interval`, or round its values."
        )
