"""One number per token: what it gave in all, or received in all.

Source: formula 6 of paper 003, I(x_i) = Σ_j A_ij and I(y_j) = Σ_i A_ij.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Importance(NamedTuple):
    """The sums of a matrix."""

    input: Float[np.ndarray, "n"]
    """Per input token."""
    output: Float[np.ndarray, "t"]
    """Per output token."""


def importance(matrix: Float[np.ndarray, "n t"]) -> Importance:
    """Formula 6."""
    return Importance(matrix.sum(axis=1), matrix.sum(axis=0))


def shares(values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Values as shares of their absolute sum, so that methods and models with different units can stand side by side."""
    total = np.abs(values).sum()
    return values / total if total > 0 else np.zeros_like(values, dtype=float)
