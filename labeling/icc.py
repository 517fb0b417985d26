"""Intraclass correlation for absolute agreement, ICC(A,1) and ICC(A,k), of a complete table on an interval scale.

Two-way analysis of variance, items and raters both drawn at random: (A,1) is the reliability of one rater's value, (A,k)
of the mean of all k. Differences between raters' means count as disagreement.

Source: McGraw and Wong 1996, doi:10.1037/1082-989X.1.1.30, tables 4 and 7 (case 2A); Shrout and Fleiss 1979.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import f as fisher

from labeling.estimate import Estimate, Support, counted, doubts, undefined

METHOD = "F distribution (McGraw and Wong 1996)"


class ICC(NamedTuple):
    """Both of them."""

    one_rater: Estimate
    """ICC(A,1)."""
    mean_of_raters: Estimate
    """ICC(A,k)."""


class MeanSquares(NamedTuple):
    """Of the analysis of variance."""

    items: float
    raters: float
    error: float


def mean_squares(ratings: np.ndarray) -> MeanSquares:
    """Of a complete table [n_items, n_raters]."""
    n, k = ratings.shape
    x = ratings - ratings.mean()
    items, raters = x.mean(axis=1), x.mean(axis=0)
    residual = x - items[:, None] - raters[None, :]
    return MeanSquares(
        float(k * (items**2).sum() / (n - 1)),
        float(n * (raters**2).sum() / (k - 1)),
        float((residual**2).sum() / ((n - 1) * (k - 1))),
    )


def icc(ratings: np.ndarray, confidence: float = 0.95) -> ICC:
    """ICC(A,1) and ICC(A,k).

    Args:
        ratings: [n_items, n_raters] values; undefined if one is missing.
        confidence: Of the intervals.
    """
    n, k = ratings.shape
    support = Support(n, k, int((~np.isnan(ratings)).sum()))
    missing = int(np.isnan(ratings).sum())
    reason = ""
    if missing:
        reason = (
            f"{counted(missing, 'rating')} missing; the analysis of variance needs every rater's value of every item."
        )
    elif n < 2 or k < 2:
        reason = "It needs two items and two raters."
    elif np.ptp(ratings) == 0:
        reason = "All ratings are the same: there is no variance to compare."
    if reason:
        return ICC(undefined(support, reason), undefined(support, reason))
    found = mean_squares(ratings)
    one = (found.items - found.error) / (found.items + (k - 1) * found.error + k * (found.raters - found.error) / n)
    low, high = limits(found, n, k, one, (1 - confidence) / 2)
    warning = doubts(support)

    def stepped_up(value: float) -> float:
        return k * value / (1 + (k - 1) * value)

    def estimate(value: float, low: float, high: float) -> Estimate:
        return Estimate(value, low, high, *support[:3], METHOD, is_reliable=not warning, warning=warning)

    return ICC(estimate(one, low, high), estimate(stepped_up(one), stepped_up(low), stepped_up(high)))


def limits(found: MeanSquares, n: int, k: int, one: float, tail: float) -> tuple[float, float]:
    """Interval of ICC(A,1), with Satterthwaite's degrees of freedom."""
    if found.error == 0 and found.raters == 0:
        return 1.0, 1.0
    a = k * one / (n * (1 - one))
    b = 1 + k * one * (n - 1) / (n * (1 - one))
    freedom = (a * found.raters + b * found.error) ** 2 / (
        (a * found.raters) ** 2 / (k - 1) + (b * found.error) ** 2 / ((n - 1) * (k - 1))
    )
    below, above = fisher.ppf(1 - tail, n - 1, freedom), fisher.ppf(1 - tail, freedom, n - 1)
    other = k * found.raters + (k * n - k - n) * found.error
    low = n * (found.items - below * found.error) / (below * other + n * found.items)
    high = n * (above * found.items - found.error) / (other + n * above * found.items)
    return float(low), float(high)
