"""Do raters of one house agree more among themselves than with another's?

1. Each group's own alpha: the table with its raters alone.
2. Within and between: observed disagreement of pairs of raters of the same group, and of different groups, each over the
   disagreement that chance would bring to the whole table. An item weighs as much as it has ratings, in both.
3. Their difference, from the same resamples: above 0 where houses have habits of their own.

A group is whatever the caller says: an institution, a specialty, seniority. Ratings of different codebook versions are
different fields and do not belong in one table.

Source: Krippendorff 2019, ch. 12, with pairs told apart as in analyses of variance within and between groups.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from labeling.agreement import nothing_to_say, support_of
from labeling.alpha import alpha, midrank_distances, pairable, quotient, refuse_too_large, squared_distances
from labeling.bootstrap import BootstrapConfig, Statistic, difference, estimates
from labeling.estimate import Estimate
from labeling.scale import Level, Scale, checked, counts_of, levels_of
from sae.errors import UserError


class GroupAgreement(NamedTuple):
    """Raters of several groups on one field."""

    groups: dict[str, Estimate]
    """Alpha of each group's raters alone."""
    overall: Estimate
    within: Estimate
    """Alpha of pairs of the same group."""
    between: Estimate
    """Alpha of pairs of different groups."""
    difference: Estimate
    """Within minus between."""


def group_agreement(
    ratings: np.ndarray, groups: Sequence[str], scale: Scale, cfg: BootstrapConfig | None = None
) -> GroupAgreement:
    """Alpha within and between groups of raters.

    Args:
        ratings: [n_items, n_raters] ranks or values, NaN where missing.
        groups: [n_raters] whose each rater is.
        scale: The field's.
        cfg: Of the intervals.
    """
    cfg = cfg or BootstrapConfig()
    table = checked(ratings, scale)
    names = list(dict.fromkeys(groups))
    if len(groups) != table.shape[1] or len(names) < 2:
        raise UserError(
            f"{len(groups)} raters of {len(names)} groups were named for {table.shape[1]} columns, expected each rater's "
            "group and two groups at least. Name them."
        )
    table = table[~np.isnan(table).all(axis=1)]
    levels = levels_of(table, scale)
    member = [np.asarray([group == name for group in groups]) for name in names]
    counts = np.stack([counts_of(table[:, is_in], levels) for is_in in member], axis=1)
    total = counts.sum(axis=1)
    reason = nothing_to_say(total, scale).pairable
    within, between = divided(counts, levels, scale.level)
    statistics = {
        "overall": alpha(total, levels, scale.level)._replace(reason=reason),
        "within": within,
        "between": between,
        "difference": difference(within, between),
    }
    support = support_of(total, table.shape[1], scale.level)
    found = estimates(statistics, support, cfg)
    own = {}
    for place, (name, is_in) in enumerate(zip(names, member, strict=True)):
        some = counts[:, place]
        one = alpha(some, levels, scale.level)._replace(reason=nothing_to_say(some, scale).pairable)
        own[name] = estimates({name: one}, support_of(some, int(is_in.sum()), scale.level), cfg)[name]
    return GroupAgreement(own, *(found[name] for name in ("overall", "within", "between", "difference")))


def divided(counts: np.ndarray, levels: np.ndarray, level: Level) -> tuple[Statistic, Statistic]:
    """Alpha of pairs within groups, and of pairs between them.

    Args:
        counts: [n_items, n_groups, n_levels].
        levels: Ranks or values.
        level: Whose distance is taken.
    """
    total = counts.sum(axis=1)
    pairs_all = pair_counts(total)
    pairs_within = sum((pair_counts(counts[:, g]) for g in range(counts.shape[1])), np.zeros_like(pairs_all))
    m, each = total.sum(axis=1), counts.sum(axis=2)
    n_within = (each * (each - 1)).sum(axis=1)
    n_between = m * (m - 1) - n_within
    chance = pairable(total)[0]
    return (
        pairs_alpha(pairs_within, n_within, m, chance, levels, level),
        pairs_alpha(pairs_all - pairs_within, n_between, m, chance, levels, level),
    )


def pair_counts(counts: np.ndarray) -> np.ndarray:
    """[n_items, n_pairs] unordered pairs of ratings of two different levels."""
    low, high = np.triu_indices(counts.shape[1], 1)
    refuse_too_large(len(counts), len(low))
    return counts[:, low] * counts[:, high]


def pairs_alpha(
    pairs: np.ndarray, n_pairs: np.ndarray, m: np.ndarray, chance: np.ndarray, levels: np.ndarray, level: Level
) -> Statistic:
    """Alpha of some pairs of each item.

    Args:
        pairs: [n_items, n_pairs_of_levels] unordered pairs that disagree.
        n_pairs: [n_items] ordered pairs of that kind, agreeing or not.
        m: [n_items] ratings.
        chance: [n_items, n_levels] counts that chance draws from.
        levels: Ranks or values.
        level: Whose distance is taken.
    """
    some = n_pairs > 0
    share = np.where(some, m / np.where(some, n_pairs, 1), 0)
    contributions = np.column_stack([pairs * share[:, None], some * m, chance])
    low, high = np.triu_indices(len(levels), 1)
    fixed = None if level == "ordinal" else squared_distances(levels, level)[low, high]
    n_columns = pairs.shape[1]

    def of_sums(sums: np.ndarray) -> np.ndarray:
        n = sums[..., n_columns + 1 :]
        distances = midrank_distances(n) if fixed is None else fixed
        weight = sums[..., n_columns]
        disagreement = 2 * (sums[..., :n_columns] * distances).sum(axis=-1)
        all_ratings = n.sum(axis=-1)
        observed = np.where(weight > 0, disagreement / np.where(weight > 0, weight, 1), np.nan) * all_ratings
        return quotient(observed, 2 * (n[..., low] * n[..., high] * distances).sum(axis=-1), all_ratings)

    reason = "" if some.any() else "No item has two ratings of this kind."
    return Statistic(contributions, of_sums, reason=reason)
