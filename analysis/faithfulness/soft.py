"""π-Soft-NC and π-Soft-NS: soft comprehensiveness and sufficiency at an equal retained fraction.

1. Scores become keep-probabilities: q_i ∝ s_i − min s, capped at 1, scaled so that their mean is π. Every method so keeps
   the same expected share of the text, where the originals rewarded methods whose scores are small overall.
2. An embedding keeps each of its entries with probability q_i (sufficiency), or is what is left when tokens are kept with
   the reversed scores (comprehensiveness), averaged over draws and over several π.
3. Both are divided by what losing everything costs, p(text) − p(zero embeddings), and so comparable between cases.

Source: Zhao & Aletras 2023 (arXiv:2305.10496) for soft perturbation; arXiv:2601.03089 for the equal fraction.
# Differs from both: because reversing the scores and not the probabilities is what keeps the fraction the same.
"""

from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float

FRACTIONS = (0.2, 0.5, 0.8)
FLOOR = 1e-6
"""Added to every score, as a share of the largest, so that a mean is reached where only a few scores are above the smallest."""
N_HALVINGS = 100


class SoftProbability(Protocol):
    """The answer's probability when embeddings lose entries."""

    def __call__(self, keep: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows"]:
        """One value for each row of keep-probabilities [rows, n]; a mean over draws."""
        ...


class Soft(NamedTuple):
    """The figures of one case."""

    soft_nc: float
    """Loss when what matters is dropped; large is good."""
    soft_ns: float
    """What is kept when what matters is kept; large is good."""


def keep_probabilities(scores: Float[np.ndarray, "n"], share: float) -> Float[np.ndarray, "n"]:
    """Probabilities in the order of the scores, with mean `share`."""
    sizes = scores - scores.min()
    if sizes.max() <= 0:
        return np.full(len(scores), share)
    sizes = sizes / sizes.max() + FLOOR
    low, high = 1e-9, 1 / FLOOR
    for _ in range(N_HALVINGS):  # the mean grows with the factor, so the factor can be bracketed
        factor = np.sqrt(low * high)
        low, high = (factor, high) if np.minimum(1, factor * sizes).mean() < share else (low, factor)
    return np.minimum(1, high * sizes)


def figures(scores: Float[np.ndarray, "n"], free: np.ndarray, probability: SoftProbability) -> Soft:
    """Both figures of one case."""
    rows = [np.ones(len(scores)), np.where(free, 0.0, 1.0)]
    for share in FRACTIONS:
        for sign in (1, -1):
            keep = np.ones(len(scores))
            keep[free] = keep_probabilities(sign * scores[free], share)
            rows.append(keep)
    whole, nothing, *found = probability(np.stack(rows))
    span = max(abs(whole - nothing), 1e-6)
    kept, dropped = np.asarray(found[0::2]), np.asarray(found[1::2])
    nc = np.maximum(0, whole - dropped).mean() / span
    ns = 1 - np.maximum(0, whole - kept).mean() / span
    return Soft(float(nc), float(ns))
