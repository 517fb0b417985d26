"""Smaller pictures of a large matrix: each cell is the value of largest magnitude among those it stands for.

Source: A.5 of paper 003 asks for tiles and leaves the reduction open; a mean would hide a single strong cell.
"""

import numpy as np
from jaxtyping import Float


def reduced(matrix: Float[np.ndarray, "n t"], level: int) -> Float[np.ndarray, "m u"]:
    """The matrix in cells of 2ˡᵉᵛᵉˡ × 2ˡᵉᵛᵉˡ, those at the lower and right edge smaller; ties keep the first, row by row."""
    step, (n, t) = 2**level, matrix.shape
    if level == 0 or not matrix.size:
        return matrix
    m, u = -(-n // step), -(-t // step)
    padded = np.zeros((m * step, u * step), matrix.dtype)
    padded[:n, :t] = matrix
    cells = padded.reshape(m, step, u, step).transpose(0, 2, 1, 3).reshape(m, u, step * step)
    strongest = np.abs(cells).argmax(axis=2)
    return np.take_along_axis(cells, strongest[:, :, None], axis=2)[:, :, 0]
