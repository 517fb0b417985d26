"""Whether scores stay as they are on similar inputs: another seed, a changed word.

Source: "stability metrics" of 5.1 in paper 003. Only what both inputs have is compared, on common units.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from analysis.views.agreement import agreement
from analysis.views.alignment import Unit
from analysis.views.importance import shares


class Stability(NamedTuple):
    """Of two inputs, over the units that did not change."""

    spearman: float | None
    """Rank correlation of importances; None where one side is constant."""
    moved: float | None
    """Share of the mass that stands elsewhere: half the L1 distance of shares, 0 to 1."""
    n_units: int


def stability(left: Float[np.ndarray, "n"], right: Float[np.ndarray, "m"], units: Sequence[Unit]) -> Stability:
    """How far one input's importances are those of the other."""
    kept = [unit for unit in units if unit.left and unit.right and not unit.is_changed]
    one = np.array([left[list(unit.left)].sum() for unit in kept])
    other = np.array([right[list(unit.right)].sum() for unit in kept])
    if not kept or not one.any() or not other.any():
        return Stability(None, None, len(kept))
    moved = float(np.abs(shares(one) - shares(other)).sum() / 2)
    return Stability(agreement(one, other).spearman, moved, len(kept))
