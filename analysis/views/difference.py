"""The differential matrix of two models, methods or texts.

Source: A^diff = A^{m1} − A^{m2} in 4.5 of paper 003. It is defined where both have the same tokens; here scores are summed over
common units first, which keeps their sum, and a cell that one side does not have is no number.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from analysis.views.alignment import Unit

Groups = Sequence[Sequence[int]]


def on_units(matrix: Float[np.ndarray, "n t"], rows: Groups, columns: Groups) -> Float[np.ndarray, "u v"]:
    """Scores summed over groups of tokens; not a number where a group is empty."""
    by_row = np.stack([gathered(matrix, group, 0) for group in rows]) if rows else np.zeros((0, matrix.shape[1]))
    by_both = [gathered(by_row, group, 1) for group in columns]
    return np.stack(by_both, axis=1) if by_both else np.zeros((len(rows), 0))


def gathered(matrix: Float[np.ndarray, "n t"], group: Sequence[int], axis: int) -> Float[np.ndarray, "m"]:
    """The sum over some rows or columns."""
    found = np.take(matrix, list(group), axis=axis).sum(axis=axis)
    return found if group else np.full(found.shape, np.nan)


def difference(
    left: Float[np.ndarray, "n t"], right: Float[np.ndarray, "m s"], rows: Sequence[Unit], columns: Sequence[Unit]
) -> Float[np.ndarray, "u v"]:
    """A^diff on common units."""
    one = on_units(left, [unit.left for unit in rows], [unit.left for unit in columns])
    other = on_units(right, [unit.right for unit in rows], [unit.right for unit in columns])
    return one - other
