"""When a rater says "80 % sure", how often are they right?

A reliability curve: judgements in bins of stated confidence, and in each how many were right against gold or a consensus. The
expected calibration error is the mean distance of the two, weighted by bin; overconfidence is the mean difference, with
its sign; Brier's score is the mean squared error. A consensus that holds the rater's own vote flatters them: leave it out.

Source: Murphy and Winkler 1977; Guo et al. 2017, arXiv:1706.04599, for the calibration error.
"""

from typing import NamedTuple

import numpy as np

from labeling.bootstrap import BootstrapConfig, Statistic, estimates, ratio_of
from labeling.estimate import Estimate, Support
from labeling.gold import proportion
from sae.errors import UserError


class Bin(NamedTuple):
    """Judgements of about the same confidence."""

    low: float
    high: float
    confidence: float
    """Mean stated."""
    accuracy: Estimate
    """Share that was right, with Wilson's interval."""


class Calibration(NamedTuple):
    """Stated confidence beside the truth."""

    bins: tuple[Bin, ...]
    """Those that hold judgements."""
    calibration_error: Estimate
    """Biased upwards in small samples: beside it stands the number of judgements."""
    overconfidence: Estimate
    """Mean confidence minus accuracy; above 0 for too sure."""
    brier: Estimate


def calibration(
    stated: np.ndarray, is_right: np.ndarray, n_bins: int = 10, cfg: BootstrapConfig | None = None
) -> Calibration:
    """The reliability curve.

    Args:
        stated: [n] confidence between 0 and 1; levels of a scale are mapped to shares by the codebook.
        is_right: [n] bool, against gold or a consensus of the others.
        n_bins: Of equal width.
        cfg: Of the intervals; each judgement is of another item.
    """
    p, y = np.asarray(stated, np.float64), np.asarray(is_right, np.float64)
    if p.shape != y.shape or not len(p) or not ((p >= 0) & (p <= 1)).all():
        raise UserError(
            f"{p.size} confidences for {y.size} judgements were given, expected as many, each between 0 and 1. "
            "Map the scale's levels to shares."
        )
    cfg = cfg or BootstrapConfig()
    place = np.minimum((p * n_bins + 1e-9).astype(int), n_bins - 1)
    bins = []
    for number in np.unique(place):
        inside = place == number
        n, right = int(inside.sum()), int(y[inside].sum())
        bins.append(
            Bin(
                number / n_bins,
                (number + 1) / n_bins,
                float(p[inside].mean()),
                proportion(right, n, confidence=cfg.confidence),
            )
        )
    one_hot = (place[:, None] == np.arange(n_bins)) * (p - y)[:, None]
    support = Support(len(p), 1, len(p))
    ones = np.ones(len(p))

    def error(sums: np.ndarray) -> np.ndarray:
        return np.abs(sums[..., 1:]).sum(axis=-1) / sums[..., 0]

    found = estimates(
        {
            "error": Statistic(np.column_stack([ones, one_hot]), error),
            "over": ratio_of(p - y, ones)._replace(exact=None),
            "brier": ratio_of((p - y) ** 2, ones),
        },
        support,
        cfg,
    )
    return Calibration(tuple(bins), found["error"], found["over"], found["brier"])
