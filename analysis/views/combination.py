"""Several methods as one.

Source: formula 10 of paper 003 (A.3), the mean over methods. Methods have different units, so that the one with the largest
numbers would decide; the default therefore takes each output token's column as shares of its absolute sum first.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float


def combined(
    matrices: Sequence[Float[np.ndarray, "n t"]], scale: Literal["share", "raw"] = "share"
) -> Float[np.ndarray, "n t"]:
    """Formula 10; with `raw` as the paper writes it.

    Raises:
        ValueError: There is no matrix, or they differ in shape.
    """
    if not matrices or len({one.shape for one in matrices}) != 1:
        raise ValueError("expected matrices of one shape, at least one")
    return np.mean([columns_as_shares(one) if scale == "share" else one for one in matrices], axis=0)


def columns_as_shares(matrix: Float[np.ndarray, "n t"]) -> Float[np.ndarray, "n t"]:
    """Each column over its absolute sum; a column of zeros stays."""
    mass = np.abs(matrix).sum(axis=0)
    return np.divide(matrix, mass, out=np.zeros(matrix.shape), where=mass > 0)
