"""AUROC and AUPRC with an interval over patients.

Patients are drawn with replacement, each with all her units: a draw is a weight for every unit, and both areas are computed
from cumulated weights along the sorted scores, for all draws at once.

Source: cluster bootstrap, Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x; AUPRC is average precision, as in
scikit-learn: the sum over thresholds of precision × gain in recall, without interpolation.
"""

from typing import NamedTuple

import numpy as np

ALPHA = 0.05


class Areas(NamedTuple):
    """How well one score tells positives."""

    auroc: float
    auroc_interval: tuple[float, float] | None
    """Over patients; none where no draw has both kinds."""
    auprc: float
    auprc_interval: tuple[float, float] | None
    spread: float
    """Standard deviation of the AUROC over draws; nan where there is none."""


def patient_weights(patient: np.ndarray, n: int, seed: int) -> np.ndarray:
    """[n, n_units], how often each unit's patient was drawn."""
    rng = np.random.default_rng((seed, 3))
    names, place = np.unique(patient, return_inverse=True)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
    return drawn[:, place].astype(np.float64)


def areas(scores: np.ndarray, is_positive: np.ndarray, weights: np.ndarray) -> Areas:
    """Both areas with their intervals.

    Args:
        scores: [n_units].
        is_positive: [n_units] bool.
        weights: [n_draws, n_units] from `patient_weights`.
    """
    whole = weighted(scores, is_positive, np.ones((1, len(scores))))
    drawn = weighted(scores, is_positive, weights)
    intervals = [percentiles(drawn[:, column]) for column in (0, 1)]
    finite = drawn[np.isfinite(drawn[:, 0]), 0]
    spread = float(finite.std(ddof=1)) if len(finite) > 1 else float("nan")
    return Areas(float(whole[0, 0]), intervals[0], float(whole[0, 1]), intervals[1], spread)


def weighted(scores: np.ndarray, is_positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[n_draws, 2], AUROC and average precision; nan where a draw lacks one kind of unit."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    taken = weights[:, order]
    sign = is_positive[order]
    positive = np.add.reduceat(taken * sign, first, axis=1)
    negative = np.add.reduceat(taken * ~sign, first, axis=1)
    n_pos, n_neg = positive.sum(axis=1), negative.sum(axis=1)
    below = n_neg[:, None] - np.cumsum(negative, axis=1)
    found = np.cumsum(positive, axis=1)
    called = found + np.cumsum(negative, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = (positive * (below + negative / 2)).sum(axis=1) / (n_pos * n_neg)
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


def mean_over_patients(values: np.ndarray, patient: np.ndarray, n: int, seed: int) -> tuple[float, tuple[float, float]]:
    """A mean over units with its interval over patients."""
    weights = patient_weights(patient, n, seed)
    drawn = (weights @ values) / weights.sum(axis=1)
    low, high = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2])
    return float(values.mean()), (float(low), float(high))
