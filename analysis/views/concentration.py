"""How focused scores are: on a few tokens, or on all alike.

Source: "attribution concentration measures" of 5.1 in paper 003. Gini: Gini 1912, over the mean difference; entropy:
Shannon 1948, over that of the even distribution.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Concentration(NamedTuple):
    """Figures of absolute scores; None where all scores are 0."""

    gini: float | None
    """0 where all are alike, up to 1 − 1/n where one token has everything."""
    entropy: float | None
    """0 where one token has everything, 1 where all are alike."""
    n_effective: float | None
    """exp of the entropy: as many equal tokens would be as spread."""
    top_1: float | None
    """Share of the strongest token."""
    top_5: float | None
    top_10: float | None
    n_tokens: int


def concentration(scores: Float[np.ndarray, "n"]) -> Concentration:
    """The figures of one score per token; leave special tokens out before."""
    sizes = np.sort(np.abs(scores))
    n, total = len(sizes), float(sizes.sum())
    if not total > 0:
        return Concentration(None, None, None, None, None, None, n)
    shares = sizes / total
    gini = float(2 * (np.arange(1, n + 1) * shares).sum() / n - (n + 1) / n)
    entropy = float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    top = [float(shares[::-1][:k].sum()) for k in (1, 5, 10)]
    return Concentration(max(0.0, gini), entropy / np.log(n) if n > 1 else 0.0, float(np.exp(entropy)), *top, n)
