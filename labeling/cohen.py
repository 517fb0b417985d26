"""Cohen's kappa, plain and weighted, of two raters or of the same rater twice; and of all pairs of a table.

Source: Cohen 1960, 1968; standard errors of Fleiss, Cohen and Everitt 1969, doi:10.1037/h0028106.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from labeling.bootstrap import Statistic
from labeling.estimate import Estimate, Support, doubts, undefined
from labeling.gwet import corrected, ratio
from labeling.scale import Scale, Weighting, weights_of
from sae.errors import UserError


class PairKappa(NamedTuple):
    """Two raters over the items that both judged."""

    first: str
    second: str
    kappa: Estimate
    percent_agreement: float | None
    """Weighted as the kappa is; none if they share no item."""
    table: tuple[tuple[int, ...], ...]
    """Rows are the first rater's categories, columns the second's, in the codebook's order."""


def pair_table(first: np.ndarray, second: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """[q, q] items by what either rater gave; those that one of them did not judge are left out."""
    both = ~np.isnan(first) & ~np.isnan(second)
    rows, columns = np.searchsorted(levels, first[both]), np.searchsorted(levels, second[both])
    q = len(levels)
    return np.bincount(rows * q + columns, minlength=q * q).reshape(q, q)


def pair_tables(ratings: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """[n_raters, n_raters, q, q] the same of every two columns of a table [n_items, n_raters], as one product."""
    one_hot = (ratings[:, :, None] == levels).reshape(len(ratings), -1).astype(np.float64)
    shape = ratings.shape[1], len(levels)
    return (one_hot.T @ one_hot).astype(np.int64).reshape(*shape, *shape).transpose(0, 2, 1, 3)


def cohen(first: np.ndarray, second: np.ndarray, levels: np.ndarray, weights: np.ndarray) -> Statistic:
    """Kappa of two raters, for the bootstrap.

    Args:
        first: [n_items] levels, NaN where not judged.
        second: Likewise.
        levels: [q] the codebook's, ascending.
        weights: [q, q] of `labeling.scale.weights_of`.
    """
    both = ~np.isnan(first) & ~np.isnan(second)
    q = len(levels)
    cells = np.zeros((len(first), q * q))
    cells[both, np.searchsorted(levels, first[both]) * q + np.searchsorted(levels, second[both])] = 1
    used = np.unique(np.concatenate([first[both], second[both]]))
    reason = unanimous(used, int(both.sum()))
    return Statistic(cells, lambda sums: kappa(sums.reshape(*sums.shape[:-1], q, q), weights), reason=reason)


def unanimous(used: np.ndarray, n_items: int) -> str:
    """Why there is no kappa; empty if there is."""
    if not n_items:
        return "The two share no item."
    return "Both gave one and the same category throughout: there was nothing to disagree on." if len(used) == 1 else ""


def kappa(table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[...] kappa of tables [..., q, q]; NaN where chance alone agrees always."""
    n = table.sum(axis=(-2, -1))
    observed = ratio((table * weights).sum(axis=(-2, -1)), n)
    by_chance = np.einsum("...k,kl,...l->...", table.sum(axis=-1), weights, table.sum(axis=-2))
    return corrected(observed, ratio(by_chance, n**2))


def standard_errors(table: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Of the kappa of a [q, q] table: as it is, and if the two agreed by chance alone."""
    n = table.sum()
    p = table / n
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    observed, expected = float((p * weights).sum()), float(rows @ weights @ columns)
    means = (weights @ columns)[:, None] + (rows @ weights)[None, :]
    value = (observed - expected) / (1 - expected)
    own = (p * (weights - means * (1 - value)) ** 2).sum() - (value - expected * (1 - value)) ** 2
    null = (np.outer(rows, columns) * (weights - means) ** 2).sum() - expected**2
    below = (1 - expected) * np.sqrt(n)
    return float(np.sqrt(max(own, 0)) / below), float(np.sqrt(max(null, 0)) / below)


def pair(table: np.ndarray, weights: np.ndarray, names: tuple[str, str] = ("first", "second")) -> PairKappa:
    """Kappa of a table of counts [q, q] with its asymptotic interval."""
    n = int(table.sum())
    used = (table.sum(axis=0) > 0) | (table.sum(axis=1) > 0)
    units = table.sum(axis=0) + table.sum(axis=1) - np.diag(table)
    support = Support(n, 2, 2 * n, int(units[used].min()) if used.any() else None)
    cells = tuple(tuple(map(int, row)) for row in table)
    percent = float((table * weights).sum() / n) if n else None
    reason = unanimous(np.flatnonzero(used), n)
    value = float(kappa(table.astype(np.float64), weights))
    if reason or np.isnan(value):
        return PairKappa(*names, undefined(support, reason or "Chance alone agrees always."), percent, cells)
    se, _ = standard_errors(table, weights)
    half = float(ndtri(0.975)) * se
    warning = doubts(support)
    found = Estimate(
        value, max(-1.0, value - half), min(1.0, value + half), n, 2, 2 * n,
        "asymptotic standard error (Fleiss, Cohen and Everitt 1969)", is_reliable=not warning, warning=warning, se=se,
    )  # fmt: skip
    return PairKappa(*names, found, percent, cells)


def all_pairs(
    ratings: np.ndarray, scale: Scale, weighting: Weighting = "identity", raters: Sequence[str] | None = None
) -> tuple[PairKappa, ...]:
    """Every pair of raters of a table.

    Args:
        ratings: [n_items, n_raters], NaN where missing.
        scale: The field's; it must name its levels.
        weighting: `identity` for Cohen's plain kappa.
        raters: Their names; their places if not given.
    """
    if scale.levels is None:
        raise UserError(
            "Kappa was asked of a field that allows any number, expected one with levels. Give the codebook's levels, or "
            "take the intraclass correlation."
        )
    levels = np.asarray(scale.levels)
    weights = weights_of(levels, weighting)
    names = list(raters) if raters is not None else [str(number) for number in range(ratings.shape[1])]
    tables = pair_tables(ratings, levels)
    return tuple(pair(tables[a, b], weights, (names[a], names[b])) for a, b in combinations(range(ratings.shape[1]), 2))
