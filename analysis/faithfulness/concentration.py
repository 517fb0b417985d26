"""How concentrated scores are. Says how a picture looks, not whether it is right: random noise can be concentrated.

Source: Hurley & Rickard 2009 (arXiv:0811.4706) for the Gini index as a measure of sparsity.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Concentration(NamedTuple):
    """The figures of one case, of absolute scores."""

    gini: float
    """0 where all are alike, towards 1 where one has all."""
    entropy: float
    """Of the shares, as a share of the largest possible: 1 where all are alike."""
    top_mass: float
    """Share of the tenth of tokens that are largest, at least one."""


def figures(scores: Float[np.ndarray, "n"]) -> Concentration:
    """nan throughout where all scores are 0."""
    sizes = np.sort(np.abs(scores))
    n, total = len(sizes), sizes.sum()
    if n == 0 or total == 0:
        return Concentration(float("nan"), float("nan"), float("nan"))
    shares = sizes / total
    gini = float(1 - 2 * (np.cumsum(shares).sum() - 0.5) / n)
    some = shares[shares > 0]
    entropy = float(-(some * np.log(some)).sum() / np.log(n)) if n > 1 else 0.0
    return Concentration(gini, entropy, float(shares[-max(1, round(0.1 * n)) :].sum()))
