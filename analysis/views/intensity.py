"""From scores to what a colour can show.

Source: formula 7 of paper 003, (A − min A) / (max A − min A). It puts zero at some middle grey and has no value for a
constant matrix, so a signed scale with zero fixed stands beside it.
"""

import numpy as np
from jaxtyping import Float


def intensity(matrix: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Formula 7: from 0 at the lowest score to 1 at the highest.

    Differs from the paper for a constant matrix, where it divides by zero: nothing stands out, so all are 0.
    """
    if not matrix.size:
        return np.zeros_like(matrix, dtype=float)
    low = float(matrix.min())
    high = float(matrix.max())
    if high == low:
        return np.zeros_like(matrix, dtype=float)
    scale = 1.0 if np.isfinite(high - low) else 0.5  # the span of the largest floats would overflow
    return np.clip((matrix * scale - low * scale) / (high * scale - low * scale), 0.0, 1.0)


def signed_intensity(matrix: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """From −1 to 1 with zero at zero: scores over the largest magnitude."""
    full = float(np.abs(matrix).max(initial=0.0))
    return matrix / full if full > 0 else np.zeros_like(matrix, dtype=float)
