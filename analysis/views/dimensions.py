"""From scores of every embedding dimension to one score.

Source: formula 9 of paper 003 (A.3): L2 norm, sum or mean over the d dimensions.
"""

from typing import Literal, assert_never

import numpy as np
from jaxtyping import Float

Way = Literal["l2", "sum", "mean"]


def over_dimensions(scores: Float[np.ndarray, "n t d"], way: Way = "sum") -> Float[np.ndarray, "n t"]:
    """Formula 9. Only the sum keeps completeness; the norm has no sign."""
    match way:
        case "l2":
            return np.sqrt((scores**2).sum(axis=-1))
        case "sum":
            return scores.sum(axis=-1)
        case "mean":
            return scores.mean(axis=-1)
        case _:
            assert_never(way)
