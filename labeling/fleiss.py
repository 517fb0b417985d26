"""Fleiss' kappa of 1971, over all categories and for each: only where every item has the same number of ratings.

Elsewhere `labeling.gwet` has it in Gwet's form. Nothing here scales rows up to an equal number of ratings.

Source: Fleiss 1971, doi:10.1037/h0031619; z by the standard errors of Fleiss, Nee and Landis 1979,
doi:10.1037/0033-2909.86.5.974, under the hypothesis that raters agree by chance alone.
"""

from typing import NamedTuple

import numpy as np


class FleissKappa(NamedTuple):
    """One kappa."""

    value: float | None
    """None where all ratings, or none, are of the category."""
    se_by_chance: float | None
    """Standard error if the raters agreed by chance alone."""
    z: float | None


class Fleiss(NamedTuple):
    """Fleiss' table."""

    overall: FleissKappa
    by_category: tuple[FleissKappa, ...]
    """In the codebook's order."""
    n_items: int
    n_raters_per_item: int


def fleiss(counts: np.ndarray) -> Fleiss | None:
    """Fleiss' kappas of counts [n_items, q]; none unless all items have the same number of ratings, two or more."""
    m = counts.sum(axis=1)
    if not len(m) or m[0] < 2 or (m != m[0]).any():
        return None
    n, m = len(counts), float(m[0])
    p = counts.sum(axis=0) / (n * m)
    q = 1 - p
    apart = (counts * (m - counts)).sum(axis=0)
    room = n * m * (m - 1)
    each = tuple(
        kappa(1 - apart[k] / (room * p[k] * q[k]), np.sqrt(2 / room)) if 0 < p[k] < 1 else FleissKappa(None, None, None)
        for k in range(len(p))
    )
    total = float((p * q).sum())
    if total <= 0:
        return Fleiss(FleissKappa(None, None, None), each, n, int(m))
    se = np.sqrt(2) / (total * np.sqrt(room)) * np.sqrt(total**2 - (p * q * (q - p)).sum())
    return Fleiss(kappa(1 - apart.sum() / (room * total), se), each, n, int(m))


def kappa(value: float, se: float) -> FleissKappa:
    """With its z."""
    return FleissKappa(float(value), float(se), float(value / se) if se > 0 else None)
