"""How much of the scores lies on tokens of a kind: nouns, drugs, negations, what physicians named.

Source: "linguistic alignment measures" of 5.1 in paper 003; AUROC as the chance that a token of the kind has the larger
magnitude (Mann and Whitney 1947).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata


class CategoryMass(NamedTuple):
    """Of one kind of token."""

    n_tokens: int
    """Tokens of the kind."""
    share_of_tokens: float
    share_of_mass: float | None
    """Of the absolute scores; None where all are 0."""
    enrichment: float | None
    """Share of the mass over share of the tokens: 1 is what chance gives."""
    auroc: float | None
    """0.5 is what chance gives; None where all tokens or none are of the kind."""


def category_mass(scores: Float[np.ndarray, "n"], is_of: Bool[np.ndarray, "n"]) -> CategoryMass:
    """The figures of one kind; leave special tokens out before."""
    sizes, n, n_of = np.abs(scores), len(scores), int(is_of.sum())
    of_tokens = n_of / n if n else 0.0
    total = float(sizes.sum())
    share = float(sizes[is_of].sum()) / total if total > 0 else None
    enrichment = share / of_tokens if share is not None and of_tokens else None
    auroc = None
    if 0 < n_of < n:
        auroc = float((rankdata(sizes)[is_of].sum() - n_of * (n_of + 1) / 2) / (n_of * (n - n_of)))
    return CategoryMass(n_of, of_tokens, share, enrichment, auroc)
