"""The same rater twice: does a physician agree with themselves?

The two sittings are compared as two raters are: plain agreement, AC1, kappa (weighted by squares on an ordinal scale). Too
few items, or too few days between, are said beside the figures. Where several raters' repeats are pooled, whole items are
resampled: raters who see the same item are not independent.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from labeling.agreement import nothing_to_say, support_of
from labeling.bootstrap import BootstrapConfig, estimates, together
from labeling.cohen import cohen
from labeling.estimate import Estimate
from labeling.gwet import coefficient
from labeling.scale import Scale, checked, counts_of, weights_of
from sae.errors import UserError

MIN_ITEMS = 20
MIN_SHARE = 0.1
"""Or so large a share of the rater's items."""
MIN_DAYS = 14
"""Wash-out: earlier, the rater may remember. Source: labelling specification, after Streiner and Norman."""


class Retest(NamedTuple):
    """One rater, two sittings."""

    percent_agreement: Estimate
    ac1: Estimate
    kappa: Estimate
    ac2: Estimate | None
    """Weighted by squares; none on a nominal scale."""
    weighted_kappa: Estimate | None
    is_enough: bool
    """Items enough, and days enough between."""
    notes: tuple[str, ...]
    """What is missing."""


def retest(
    first: np.ndarray,
    second: np.ndarray,
    scale: Scale,
    cfg: BootstrapConfig | None = None,
    days: Sequence[float] | None = None,
    n_rated: int | None = None,
    items: Sequence[str] | None = None,
) -> Retest:
    """Agreement of a rater, or of several pooled, with themselves.

    Args:
        first: [n_items] ranks or values of the first sitting, NaN where there is none.
        second: Likewise of the second: the same items and the same codebook.
        scale: The codebook's.
        cfg: Of the intervals.
        days: [n_items] between the two; unknown if not given.
        n_rated: Items the rater judged in all, for the share that was judged twice.
        items: [n_items] which item each pair of sittings is of, where several raters may have had the same; they are
            resampled together.
    """
    if scale.levels is None or not scale.is_whole:
        raise UserError(
            "The scale has no levels, expected the codebook's. Name its categories, or take `labeling.icc`."
        )
    cfg = cfg or BootstrapConfig()
    table = checked(np.column_stack([first, second]), scale)
    both = ~np.isnan(table).any(axis=1)
    table = table[both]
    levels = np.asarray(scale.levels)
    counts = counts_of(table, levels)
    reason = nothing_to_say(counts, scale)
    squares = weights_of(levels, "quadratic")
    plain = np.eye(len(levels))
    statistics = {
        "percent": coefficient("percent", counts, plain)._replace(reason=reason.pairs),
        "ac1": coefficient("ac", counts, plain)._replace(reason=reason.all),
        "kappa": cohen(table[:, 0], table[:, 1], levels, plain),
    }
    if scale.level != "nominal":
        statistics["ac2"] = coefficient("ac", counts, squares)._replace(reason=reason.all)
        statistics["weighted"] = cohen(table[:, 0], table[:, 1], levels, squares)
    group = np.arange(len(table)) if items is None else np.unique(np.asarray(items)[both], return_inverse=True)[1]
    by_item = np.zeros((int(group.max(initial=-1)) + 1, counts.shape[1]))
    np.add.at(by_item, group, counts)
    drawn = {name: together(one, group) for name, one in statistics.items()}
    found = estimates(drawn, support_of(by_item, 2, scale.level), cfg)
    said = tuple(lacks(len(table), None if days is None else np.asarray(days, np.float64)[both], n_rated))
    return Retest(
        found["percent"], found["ac1"], found["kappa"], found.get("ac2"), found.get("weighted"), not said, said
    )


def lacks(n_items: int, days: np.ndarray | None, n_rated: int | None) -> list[str]:
    """What is missing for a sound figure."""
    found = []
    if n_items < MIN_ITEMS and not (n_rated and n_items >= MIN_SHARE * n_rated):
        found.append(
            f"{n_items} items were judged twice, fewer than {MIN_ITEMS} and than {MIN_SHARE:.0%} of the rater's."
        )
    if days is not None and len(days) and days.min() < MIN_DAYS:
        early = int((days < MIN_DAYS).sum())
        found.append(
            f"{early} items were judged again within {MIN_DAYS} days, so that the rater may have remembered them."
        )
    return found
