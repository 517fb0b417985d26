"""Sums over a window of neighbours: what a token and those beside it give or receive.

Source: formulas 4 and 5 of paper 003, and its bound 1 ≤ c ≤ ⌊min(n, t) / 2⌋ on the window's size. Indices count from 0 here.
"""

import numpy as np
from jaxtyping import Float


def largest_window(n: int, t: int) -> int:
    """The bound on c.

    Differs from the paper where the answer has one token: its bound is then 0, and no window would be allowed; here it is 1.
    """
    return max(1, min(n, t) // 2)


def input_centred(matrix: Float[np.ndarray, "n t"], k: int, c: int = 1) -> Float[np.ndarray, "t"]:
    """Formula 4: for each output token, the sum over the input tokens within ⌊c/2⌋ of token k."""
    return matrix[around(k, c, matrix.shape[0])].sum(axis=0)


def output_centred(matrix: Float[np.ndarray, "n t"], k: int, c: int = 1) -> Float[np.ndarray, "n"]:
    """Formula 5: for each input token, the sum over the output tokens within ⌊c/2⌋ of token k."""
    return matrix[:, around(k, c, matrix.shape[1])].sum(axis=1)


def around(k: int, c: int, size: int) -> slice:
    """The window of size c around k, cut at the edges. An even c is as wide as the odd one above it: ⌊2/2⌋ = ⌊3/2⌋.

    Raises:
        ValueError: k is not there, or c is no size.
    """
    if not 0 <= k < size or c < 1:
        raise ValueError(f"k={k} and c={c}, expected a token from 0 to {size - 1} and a window of at least 1")
    return slice(max(0, k - c // 2), min(size, k + c // 2 + 1))
