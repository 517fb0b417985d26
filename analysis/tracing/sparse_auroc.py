"""AUROC of very many sparse scores under very many labellings, at the cost of the values that are not zero.

A feature is silent on most units. Its zeros are one tie, and share the mid-rank r₀ = (n₀ + 1)/2, so that

    R₊ = Σ_i y_i r_i = n₊ r₀ + Σ_{i: x_i ≠ 0} y_i (r_i − r₀)        AUROC = (R₊ − n₊(n₊ + 1)/2) / (n₊ n₋)

The ranks of a column do not depend on the labels: they are sorted out once, and every labelling is one sparse product.

Source: Mann and Whitney 1947; mid-ranks for ties as in Kendall 1945.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Ranked:
    """The mid-ranks of sparse, non-negative scores."""

    excess: sparse.csc_array
    """[n_units, n_features], r_i − r₀ where the score is not zero."""
    rank_of_zero: np.ndarray
    """[n_features], r₀."""

    def auroc(self, is_positive: np.ndarray) -> np.ndarray:
        """[n_labellings, n_features] from [n_labellings, n_units] bool; nan where a labelling has one kind of unit only."""
        y = is_positive.astype(np.float64)
        n_pos = y.sum(axis=1, keepdims=True)
        n_neg = y.shape[1] - n_pos
        ranks = n_pos * self.rank_of_zero + (self.excess.T @ y.T).T
        with np.errstate(invalid="ignore", divide="ignore"):
            return (ranks - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)


def ranked(scores: sparse.csc_array) -> Ranked:
    """Ranks every column once.

    Args:
        scores: [n_units, n_features], none below zero.

    Raises:
        ValueError: A score is below zero: zeros would not be the lowest.
    """
    x = sparse.csc_array(scores, copy=True)
    x.eliminate_zeros()
    x.sort_indices()
    if x.nnz and x.data.min() < 0:
        raise ValueError("features that fall below zero have no zero mass to rank first")
    n, n_features = cast("tuple[int, int]", x.shape)
    counts = np.diff(x.indptr)
    n_zero = n - counts
    column = np.repeat(np.arange(n_features), counts)
    order = np.lexsort((x.data, column))
    place = np.empty(x.nnz)
    place[order] = mid_ranks(x.data[order], column[order], x.indptr[:-1])
    rank_of_zero = (n_zero + 1) / 2
    x.data = place + n_zero[column] - rank_of_zero[column]
    return Ranked(x, rank_of_zero)


def mid_ranks(values: np.ndarray, column: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Ranks from 1 within each column of sorted values, ties sharing the middle of theirs."""
    if not len(values):
        return np.zeros(0)
    first = np.flatnonzero(np.r_[True, (values[1:] != values[:-1]) | (column[1:] != column[:-1])])
    sizes = np.diff(np.r_[first, len(values)])
    middle = first + (sizes + 1) / 2
    return np.repeat(middle - starts[column[first]], sizes)
