"""Whether scores add up: infidelity and sensitivity-n.

Random sets of tokens are replaced at once. The sum of their scores ought to be the answer's change.

Source: Yeh et al. 2019, "On the (In)fidelity and Sensitivity of Explanations" (arXiv:1901.09392); Ancona et al. 2018
(arXiv:1711.06104) for sensitivity-n.
# Differs from Yeh et al.: because methods differ in scale, scores are first scaled by the one factor that suits them best, and
# the error is a share of the changes' own square: 0 says that the sums tell all, 1 that they tell nothing.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float


class Additivity(NamedTuple):
    """The figures of one case."""

    infidelity: float
    """Share of the squared changes that the scaled sums miss; 0 to 1, small is good."""
    sensitivity_n: float
    """Correlation of sums and changes; nan where either is constant."""


def subsets(free: np.ndarray, n_subsets: int, rng: np.random.Generator) -> Bool[np.ndarray, "subsets n"]:
    """Random sets of a tenth to a half of the free tokens."""
    places = np.flatnonzero(free)
    gone = np.zeros((n_subsets, len(free)), bool)
    for row in gone:
        n = max(1, int(len(places) * rng.uniform(0.1, 0.5)))
        row[rng.choice(places, n, replace=False)] = True
    return gone


def figures(
    scores: Float[np.ndarray, "n"], gone: Bool[np.ndarray, "subsets n"], changes: Float[np.ndarray, "subsets"]
) -> Additivity:
    """Both figures, given what each set's loss did to the score."""
    sums = gone @ scores
    power, square = float((sums**2).sum()), float((changes**2).sum())
    factor = float((sums * changes).sum()) / power if power > 0 else 0.0
    missed = float(((changes - max(factor, 0.0) * sums) ** 2).sum())
    varies = np.ptp(sums) > 0 and np.ptp(changes) > 0
    return Additivity(
        missed / square if square > 0 else float("nan"),
        float(np.corrcoef(sums, changes)[0, 1]) if varies else float("nan"),
    )
