"""Means with intervals over cases, by the bootstrap: cases are drawn anew, not tokens, since tokens of a case go together."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

DRAWS = 2000


class Mean(NamedTuple):
    """A mean over cases."""

    value: float
    low: float
    """Of the 95 % interval."""
    high: float
    n: int
    """Cases that have the figure."""

    def record(self) -> dict[str, float | int | None]:
        """As JSON, which has no nan."""
        return {key: None if value != value else value for key, value in self._asdict().items()}  # noqa: PLR0124 - nan


def mean(values: Float[np.ndarray, "cases"], seed: int = 0) -> Mean:
    """Mean and 95 % percentile interval; cases without the figure (nan) are left out and counted so.

    Source: Efron & Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3.
    """
    kept = np.asarray(values, float)
    kept = kept[~np.isnan(kept)]
    if len(kept) == 0:
        return Mean(float("nan"), float("nan"), float("nan"), 0)
    draws = np.random.default_rng(seed).integers(0, len(kept), (DRAWS, len(kept)))
    low, high = np.quantile(kept[draws].mean(1), [0.025, 0.975])
    return Mean(float(kept.mean()), float(low), float(high), len(kept))


def ratio(a: Float[np.ndarray, "cases"], b: Float[np.ndarray, "cases"], seed: int = 0) -> Mean:
    """Ratio of two means over the same cases, both drawn together."""
    both = np.stack([a, b])[:, ~(np.isnan(a) | np.isnan(b))]
    n = both.shape[1]
    if n == 0 or both[1].mean() == 0:
        return Mean(float("nan"), float("nan"), float("nan"), n)
    draws = np.random.default_rng(seed).integers(0, n, (DRAWS, n))
    means = both[:, draws].mean(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.nanquantile(means[0] / means[1], [0.025, 0.975])
    return Mean(float(both[0].mean() / both[1].mean()), float(low), float(high), n)
