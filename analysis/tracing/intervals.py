"""AUROC and AUPRC with an interval over patients.

Patients are drawn with replacement, each with all her units: a draw is a weight for every unit, and both areas are computed
from cumulated weights along the sorted scores, for all draws at once.

Source: cluster bootstrap, Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x; AUPRC is average precision, as in
scikit-learn: the sum over thresholds of precision × gain in recall, without interpolation.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

ALPHA = 0.05
MOST_BINS = 1000


class Areas(NamedTuple):
    """How well one score tells positives."""

    auroc: float
    auroc_interval: tuple[float, float] | None
    """Over patients; none where no draw has both kinds."""
    auprc: float
    auprc_interval: tuple[float, float] | None
    spread: float
    """Standard deviation of the AUROC over draws; nan where there is none."""


class Draws(NamedTuple):
    """Patients drawn with replacement."""

    counts: np.ndarray
    """[n_draws, n_patients], how often each was drawn."""
    place: np.ndarray
    """[n_units], which patient a unit is of."""

    def of(self, rows: np.ndarray) -> "Draws":
        """The same draws, seen by some units."""
        return Draws(self.counts, self.place[rows])

    @property
    def weights(self) -> np.ndarray:
        """[n_draws, n_units], how often each unit counts."""
        return self.counts[:, self.place]


def drawn_patients(patient: np.ndarray, n: int, seed: int) -> Draws:
    """Draws of as many patients as there are."""
    rng = np.random.default_rng((seed, 3))
    names, place = np.unique(patient, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
    return Draws(counts.astype(np.float64), place)


def areas(scores: np.ndarray, is_positive: np.ndarray, draws: Draws) -> Areas:
    """Both areas with their intervals.

    Scores of more than a thousand values are put into as many bins of like size for the intervals, which moves an end by less than
    a thousandth; the areas themselves are exact.

    Args:
        scores: [n_units].
        is_positive: [n_units] bool.
        draws: Of the units' patients.
    """
    alone = Draws(np.ones((1, 1)), np.zeros(len(scores), int))
    whole = weighted(scores, is_positive, alone)
    drawn = weighted(binned(scores), is_positive, draws)
    intervals = [percentiles(drawn[:, column]) for column in (0, 1)]
    finite = drawn[np.isfinite(drawn[:, 0]), 0]
    spread = float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")
    return Areas(float(whole[0, 0]), intervals[0], float(whole[0, 1]), intervals[1], spread)


def binned(scores: np.ndarray) -> np.ndarray:
    """Scores, or the numbers of their bins where they are many."""
    values, where = np.unique(scores, return_inverse=True)
    return scores if len(values) <= MOST_BINS else where * MOST_BINS // len(values)


def weighted(scores: np.ndarray, is_positive: np.ndarray, draws: Draws) -> np.ndarray:
    """[n_draws, 2], AUROC and average precision; nan where a draw lacks one kind of unit."""
    values, group = np.unique(-scores, return_inverse=True)  # highest first
    shape = draws.counts.shape[1], len(values)
    positive, negative = (
        (
            sparse.coo_array((np.ones(rows.sum()), (draws.place[rows], group[rows])), shape=shape).T.tocsr()
            @ draws.counts.T
        ).T
        for rows in (is_positive, ~is_positive)
    )
    n_pos, n_neg = positive.sum(axis=1), negative.sum(axis=1)
    ahead = np.cumsum(negative, axis=1)
    found = np.cumsum(positive, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = (positive * (n_neg[:, None] - ahead + negative / 2)).sum(axis=1) / (n_pos * n_neg)
        called = found + ahead
        precision = np.where(called > 0, found / called, 0)
        auprc = (positive * precision).sum(axis=1) / n_pos
    return np.stack([auroc, np.where(n_neg > 0, auprc, np.nan)], axis=1)


def percentiles(values: np.ndarray) -> tuple[float, float] | None:
    """The middle 95 % of draws."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.quantile(finite, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)
