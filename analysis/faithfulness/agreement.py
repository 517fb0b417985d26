"""How far methods agree with each other. Agreement is no proof: methods may share a mistake."""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import kendalltau


def tau(a: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"]) -> float:
    """Kendall's τ-b of two methods' scores of one case; nan where one gives the same to all.

    Source: Kendall 1945, Biometrika 33, 239-251.
    """
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    found: Any = kendalltau(a, b)
    return float(found.statistic)


def jaccard(a: Float[np.ndarray, "n"], b: Float[np.ndarray, "n"], k: int) -> float:
    """Shared part of the k strongest tokens of two methods."""
    top = [set(np.argsort(-one, kind="stable")[:k].tolist()) for one in (a, b)]
    return len(top[0] & top[1]) / len(top[0] | top[1])
