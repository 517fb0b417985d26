"""Whether two methods name the same tokens.

Source: "method comparison metrics" of 5.1 in paper 003. Rank correlation: Kendall's τ-b (1945), which knows ties; Spearman's ρ;
and the Jaccard index of the k strongest tokens.
"""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats


class Agreement(NamedTuple):
    """Of two lists of scores on the same tokens; None where one of them is constant or there are fewer than two tokens."""

    kendall: float | None
    spearman: float | None
    top_k_jaccard: float | None
    """Of the k tokens with the largest magnitudes on each side."""
    k: int
    n_tokens: int


def agreement(left: Float[np.ndarray, "n"], right: Float[np.ndarray, "n"], k: int = 5) -> Agreement:
    """The figures of two methods; leave special tokens out before.

    Raises:
        ValueError: They are on different numbers of tokens.
    """
    if left.shape != right.shape:
        raise ValueError(f"{left.shape} and {right.shape} scores, expected as many")
    n, k = len(left), min(k, len(left))
    if n < 2 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return Agreement(None, None, None, k, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        tau, rho = stats.kendalltau(left, right).statistic, stats.spearmanr(left, right).statistic
    ours, theirs = strongest(left, k), strongest(right, k)
    return Agreement(finite(tau), finite(rho), len(ours & theirs) / len(ours | theirs), k, n)


def strongest(scores: Float[np.ndarray, "n"], k: int) -> set[int]:
    """The k tokens with the largest magnitudes; the earlier of equal ones."""
    return set(np.argsort(-np.abs(scores), kind="stable")[:k].tolist())


def finite(value: float) -> float | None:
    """The value, or None where it is not defined."""
    return float(value) if np.isfinite(value) else None
