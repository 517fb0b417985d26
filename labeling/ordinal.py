"""What a distribution over ordered answers says: its median and how far it spreads, in ranks of the codebook."""

from typing import NamedTuple

import numpy as np

TAIL = 0.05
EDGE = 1e-9
"""Sums of shares reach a quantile although rounding leaves them this far below it."""


class OrdinalSummary(NamedTuple):
    """One line per item."""

    median: np.ndarray
    """[n_items] the lowest rank that at least half of the probability reaches."""
    low: np.ndarray
    """[n_items] rank below which lies at most 5 % of it."""
    high: np.ndarray
    """[n_items] rank above which lies at most 5 % of it."""
    mean: np.ndarray
    """[n_items] expected rank: of use only where steps are declared to be equal."""


def summary(distribution: np.ndarray) -> OrdinalSummary:
    """Medians and 90 % ranges of distributions [n_items, n_classes]."""
    cumulative = distribution.cumsum(axis=1)
    return OrdinalSummary(
        quantile(cumulative, 0.5), quantile(cumulative, TAIL), quantile(cumulative, 1 - TAIL),
        distribution @ np.arange(distribution.shape[1]),
    )  # fmt: skip


def quantile(cumulative: np.ndarray, share: float) -> np.ndarray:
    """[n_items] the lowest rank at which the cumulative shares reach a share."""
    return (cumulative < share - EDGE).sum(axis=1)
