""" "Cannot judge" is an answer of its own. How much does it matter whether it counts as one?

Three tables: do raters agree on what can be judged at all; agreement with "cannot judge" as one more category, which has no
place in an order, so that the level is nominal; and agreement with it as missing, which is what the headline uses.
"""

from typing import NamedTuple

import numpy as np

from labeling.agreement import Agreement, agreement
from labeling.bootstrap import BootstrapConfig
from labeling.scale import Scale, categories
from sae.errors import UserError

NAME = "cannot judge"


class CannotJudge(NamedTuple):
    """The same ratings three times."""

    share: float
    """Of all answers, how many are "cannot judge"."""
    outcome: Agreement
    """Judged or not, as two categories."""
    as_category: Agreement
    """Nominal, with one category more."""
    as_missing: Agreement
    """On the field's own level."""


def cannot_judge(
    ratings: np.ndarray, is_cannot: np.ndarray, scale: Scale, cfg: BootstrapConfig | None = None
) -> CannotJudge:
    """Agreement with "cannot judge" as a category and as missing.

    Args:
        ratings: [n_items, n_raters] ranks, NaN where missing and where the rater could not judge.
        is_cannot: [n_items, n_raters] bool.
        scale: The codebook's, without "cannot judge".
        cfg: Of the intervals.
    """
    if scale.levels is None:
        raise UserError("The scale has no levels, expected the codebook's. Name its categories.")
    given = ~np.isnan(ratings)
    if (given & is_cannot).any():
        raise UserError(
            f"{int((given & is_cannot).sum())} answers are both a rating and '{NAME}', expected one of them. "
            "Leave the rating empty."
        )
    ranks = np.where(given, np.searchsorted(scale.levels, np.where(given, ratings, scale.levels[0])), np.nan)
    names = [scale.name(k) for k in range(len(scale.levels))]
    with_it = np.where(is_cannot, len(names), ranks)
    outcome = np.where(is_cannot, 1.0, np.where(given, 0.0, np.nan))
    n = int((given | is_cannot).sum())
    return CannotJudge(
        float(is_cannot.sum() / n) if n else 0.0,
        agreement(outcome, categories(["judged", NAME]), cfg),
        agreement(with_it, categories([*names, NAME]), cfg),
        agreement(ratings, scale, cfg),
    )
