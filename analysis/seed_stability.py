"""How many features two seeds agree on.

1. Two SAEs of the same settings and data, other seeds: each decoder row is a direction in the same space.
2. Features are matched one to one so that the sum of cosines is largest (the Hungarian method).
3. A matched pair is *shared* where its cosine is at least 0.7.

Use it before a feature is called a property of the model: what only one seed finds may be the seed's.

Source: Paulo and Belrose 2025, "Sparse autoencoders trained on the same data learn different features",
arXiv:2501.16615 (matching and threshold). Mean max cosine: Sharkey et al. 2022, "Taking features out of superposition".
# Differs from Paulo and Belrose: they ask the cosine of encoder and of decoder; here it is the decoder's alone, which is
# what all architectures have in common.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

SHARED_COSINE = 0.7
"""Source: Paulo and Belrose 2025, section 3."""
MOST_MATCHED = 4096
"""Features up to which they are matched one to one: the method takes the cube of their number."""


class SeedStability(NamedTuple):
    """How far two SAEs found the same features."""

    mean_max_cosine: float
    """Mean over the features of either of the largest cosine with any of the other; 1 is the same features."""
    mean_matched_cosine: float | None
    """Mean cosine of the pairs matched one to one; none where there are too many features to match."""
    shared_fraction: float | None
    """Share of all features that stand in a pair of cosine ≥ 0.7; likewise."""


def compare(first: Float[Tensor, "n d_in"], second: Float[Tensor, "m d_in"]) -> SeedStability:
    """Compares the decoders of two SAEs; a row of zeros has cosine 0 with every other.

    Args:
        first: `W_dec` of one, its live features.
        second: Of the other.
    """
    cosines = (
        torch.nn.functional.normalize(first.double(), dim=1) @ torch.nn.functional.normalize(second.double(), dim=1).T
    )
    largest = torch.cat([cosines.amax(dim=1), cosines.amax(dim=0)]).mean()
    if max(cosines.shape) > MOST_MATCHED:
        return SeedStability(float(largest), None, None)
    rows, columns = linear_sum_assignment(cosines.numpy(), maximize=True)
    matched = cosines.numpy()[rows, columns]
    n_shared = int((matched >= SHARED_COSINE).sum())
    return SeedStability(float(largest), float(np.mean(matched)), 2 * n_shared / sum(cosines.shape))


def mean(found: list[SeedStability]) -> SeedStability:
    """The mean over pairs of seeds."""

    def average(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    columns = list(zip(*found, strict=True))
    return SeedStability(float(np.mean(columns[0])), average(list(columns[1])), average(list(columns[2])))
