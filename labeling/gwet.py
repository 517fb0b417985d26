"""Agreement corrected for chance as Gwet writes it, for tables with missing ratings.

All of them are (p_a − p_e) / (1 − p_e). p_a, the weighted agreement of two raters drawn from an item, is the mean over
items with two or more ratings. What they call chance differs:

- `ac` (AC1; AC2 with weights): mean variance of the categories' prevalences;
- `pi` (Scott; Fleiss in Gwet's form): two raters who draw from the same prevalences;
- `conger`: each rater draws from prevalences of its own;
- `brennan_prediger`: all categories equally likely.

Prevalences are means over items with one or more ratings, so that no item weighs more for having more raters. Scaling
rows up to the largest number of raters instead, as some tools do, gives pure chance a kappa of .26 at 60 % missing.

Where all ratings are of one category there was nothing to disagree on: no coefficient exists, whatever its formula
says. AC1 and Brennan–Prediger would be 1.

Source: Gwet 2021, Handbook of Inter-Rater Reliability, 5th ed., ch. 2, 3 and 5; Gwet 2008, doi:10.1348/000711006X126600;
Brennan and Prediger 1981; Conger 1980. Standard errors as in the R package irrCAC.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from labeling.alpha import within_items
from labeling.bootstrap import Statistic, ratio_of, unseen

Coefficient = Literal["ac", "pi", "conger", "brennan_prediger", "percent"]


class Items(NamedTuple):
    """What every coefficient needs of each item."""

    agreement: np.ndarray
    """[n_items] weighted agreement of two raters drawn from the item; 0 if it has fewer."""
    is_pairable: np.ndarray
    """[n_items] 1 if it has two ratings or more."""
    shares: np.ndarray
    """[n_items, q] share of its ratings in each category; 0 if it has none."""
    is_rated: np.ndarray
    """[n_items] 1 if it has a rating."""


def items_of(counts: np.ndarray, weights: np.ndarray) -> Items:
    """The same from counts [n_items, q] and weights [q, q]."""
    r = counts.sum(axis=1)
    pairs = within_items(counts, weights.T) - r
    agreement = np.where(r >= 2, pairs / np.maximum(r * (r - 1), 1), 0)
    return Items(agreement, (r >= 2) * 1.0, counts / np.maximum(r, 1)[:, None], (r >= 1) * 1.0)


def percent(counts: np.ndarray, weights: np.ndarray) -> Statistic:
    """Mean (weighted) agreement of pairs of raters, not corrected for chance."""
    items = items_of(counts, weights)
    found = ratio_of(items.agreement, items.is_pairable)
    return found._replace(exact=agreeing(items, weights, 0.0) or found.exact)


def coefficient(kind: Coefficient, counts: np.ndarray, weights: np.ndarray) -> Statistic:
    """A coefficient that needs no rater's identity; for Conger's see `conger`.

    Args:
        kind: Which.
        counts: [n_items, q] how many raters gave each category; q is the codebook's.
        weights: [q, q] of `labeling.scale.weights_of`.
    """
    if kind == "percent":
        return percent(counts, weights)
    items = items_of(counts, weights)
    contributions = np.column_stack([items.agreement, items.is_pairable, items.is_rated, items.shares])

    def of_sums(sums: np.ndarray) -> np.ndarray:
        shares = ratio(sums[..., 3:], sums[..., 2:3])
        return corrected(ratio(sums[..., 0], sums[..., 1]), chance(kind, shares, weights))

    expected = chance(kind, ratio(items.shares.sum(axis=0), items.is_rated.sum()), weights)
    return Statistic(contributions, of_sums, agreeing(items, weights, float(expected)))


def agreeing(items: Items, weights: np.ndarray, expected: float) -> Callable[[float], tuple[float, float]] | None:
    """The exact interval where all items agree, of a coefficient that expects so much by chance; none elsewhere."""
    n = int(items.is_pairable.sum())
    if not n or (items.agreement < items.is_pairable - 1e-12).any():
        return None
    farthest = float(1 - weights.min())
    return lambda tail: (float(corrected(1 - unseen(n, tail) * farthest, expected)), 1.0)


def chance(kind: Coefficient, shares: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[...] expected agreement of prevalences [..., q]."""
    q = len(weights)
    if q < 2:
        return np.full(shares.shape[:-1], np.nan)
    if kind == "ac":
        return weights.sum() / (q * (q - 1)) * (shares * (1 - shares)).sum(axis=-1)
    if kind == "pi":
        return np.einsum("...k,...k->...", shares @ weights, shares)
    return np.full(shares.shape[:-1], weights.sum() / q**2)


def conger(ratings: np.ndarray, levels: np.ndarray, weights: np.ndarray) -> Statistic:
    """Conger's kappa: chance by each rater's own prevalences.

    Args:
        ratings: [n_items, n_raters], NaN where missing.
        levels: [q] the codebook's.
        weights: [q, q].
    """
    one_hot = ratings[:, :, None] == levels
    items = items_of(one_hot.sum(axis=1).astype(np.float64), weights)
    n_raters, q = ratings.shape[1], len(levels)
    contributions = np.column_stack([items.agreement, items.is_pairable, one_hot.reshape(len(ratings), -1)])

    def of_sums(sums: np.ndarray) -> np.ndarray:
        n = sums[..., 2:].reshape(*sums.shape[:-1], n_raters, q)
        return corrected(ratio(sums[..., 0], sums[..., 1]), conger_chance(n, weights))

    expected = float(conger_chance(one_hot.sum(axis=0).astype(np.float64), weights))
    return Statistic(contributions, of_sums, agreeing(items, weights, expected))


def conger_chance(n: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[...] mean chance agreement of all pairs of raters who gave each category [..., n_raters, q] times."""
    totals = n.sum(axis=-1, keepdims=True)
    own = n / np.where(totals > 0, totals, 1)
    n_raters = (totals[..., 0] > 0).sum(axis=-1)
    together = own.sum(axis=-2)
    all_pairs = np.einsum("...k,...k->...", together @ weights, together)
    selves = np.einsum("...gk,...gk->...", own @ weights, own)
    return ratio(all_pairs - selves, n_raters * (n_raters - 1.0))


def corrected(observed: ArrayLike, expected: ArrayLike) -> np.ndarray:
    """(p_a − p_e) / (1 − p_e); NaN where chance alone agrees always."""
    observed, expected = np.asarray(observed), np.asarray(expected)
    room = 1 - expected
    some = room > 1e-12
    return np.where(some, (observed - expected) / np.where(some, room, 1), np.nan)


def ratio(above: ArrayLike, below: ArrayLike) -> np.ndarray:
    """above / below; NaN where below is 0."""
    above, below = np.asarray(above), np.asarray(below)
    return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)


class Analytic(NamedTuple):
    """A coefficient with its standard error by linearisation."""

    value: float
    se: float
    low: float
    """95 % by Student's t with n − 1 degrees of freedom, cut at −1 and 1."""
    high: float


def analytic(
    kind: Coefficient | Literal["alpha"], ratings: np.ndarray, levels: np.ndarray, weights: np.ndarray
) -> Analytic:
    """Gwet's standard error of a coefficient: a check beside the bootstrap, not the interval to show.

    Args:
        kind: Which; `alpha` is Krippendorff's with distance 1 − weight.
        ratings: [n_items, n_raters], NaN where missing; no item without any rating.
        levels: [q].
        weights: [q, q].

    Source: Gwet 2021, ch. 5; Zapf et al. 2016 (BMC Med Res Methodol 16:93) prefer the bootstrap.
    """
    counts = (ratings[:, :, None] == levels).sum(axis=1).astype(np.float64)
    if kind == "alpha":
        return analytic_alpha(counts, weights)
    items = items_of(counts, weights)
    n = len(counts)
    observed = items.agreement.sum() / items.is_pairable.sum()
    shares = items.shares.mean(axis=0)
    match kind:
        case "percent":
            expected, own = 0.0, np.zeros(n)
        case "ac":
            expected = float(chance(kind, shares, weights))
            own = weights.sum() / (len(levels) * (len(levels) - 1)) * items.shares @ (1 - shares)
        case "pi":
            expected = float(chance(kind, shares, weights))
            own = items.shares @ ((weights + weights.T) / 2 @ shares)
        case "conger":
            expected, own = conger_own(ratings, levels, weights)
        case "brennan_prediger":
            expected = float(chance(kind, shares, weights))
            own = np.full(n, expected)
    value = float(corrected(observed, expected))
    each = n / items.is_pairable.sum() * (items.agreement - expected * items.is_pairable) / (1 - expected)
    each = each - 2 * (1 - value) * (own - expected) / (1 - expected)
    return with_t(value, each - value)


def with_t(value: float, deviations: np.ndarray) -> Analytic:
    """Standard error and interval from what each item contributes beyond the value; NaN where one item tells of no spread."""
    n = len(deviations)
    if n < 2:
        return Analytic(value, float("nan"), float("nan"), float("nan"))
    se = float(np.sqrt((deviations**2).sum() / (n * (n - 1))))
    half = float(stdtrit(n - 1, 0.975)) * se
    return Analytic(value, se, max(-1.0, value - half), min(1.0, value + half))


def conger_own(ratings: np.ndarray, levels: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Conger's chance agreement, and each item's part in it."""
    one_hot = (ratings[:, :, None] == levels).astype(np.float64)
    n, n_raters = ratings.shape
    given = ~np.isnan(ratings)
    n_given = given.sum(axis=0)
    own = one_hot.sum(axis=0) / n_given[:, None]
    expected = float(conger_chance(one_hot.sum(axis=0), weights))
    beyond = one_hot - (given - n_given / n)[:, :, None] * own
    parts = np.einsum("kl,igl->igk", weights, beyond) * (n / n_given)[None, :, None]
    others = own.sum(axis=0)[None, :] - own
    return expected, np.einsum("igk,gk->i", parts, others) / (n_raters * (n_raters - 1))


def analytic_alpha(counts: np.ndarray, weights: np.ndarray) -> Analytic:
    """Krippendorff's alpha with distance 1 − weight."""
    counts = counts[counts.sum(axis=1) >= 2]
    r = counts.sum(axis=1)
    n, mean = len(counts), r.mean()
    each = np.einsum("ik,ik->i", counts, counts @ weights.T - 1) / (mean * (r - 1))
    raw = each.mean()
    smallest = 1 / (n * mean)
    shares = counts.mean(axis=0) / mean
    expected = float(shares @ weights @ shares)
    observed = (1 - smallest) * raw + smallest
    value = (observed - expected) / (1 - expected)
    without = (raw - expected) / (1 - expected)
    agreeing = (each - observed * (r - mean) / mean - expected) / (1 - expected)
    by_chance = counts @ ((weights + weights.T) / 2 @ shares) / mean - expected * (r - mean) / mean
    return with_t(float(value), agreeing - 2 * (1 - without) * (by_chance - expected) / (1 - expected) - without)
