"""Random features to compare a steered one with: as often active and as large, else drawn by chance.

Changing any direction of some size moves an answer a little. What a feature does is more than that only if it moves the answer
further than features that fire as often (`density`) and add vectors as long when they fire (`size` · ‖W_dec‖, whose rows have
norm 1 here).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae.base import SAE
from sae.errors import UserError

POOL = 3
"""Controls are drawn from so many times their number of nearest features."""


class FeatureTable(NamedTuple):
    """What the features of one autoencoder did on held-out rows."""

    density: Float[np.ndarray, "d_sae"]
    """Share of the rows on which each fires."""
    size: Float[np.ndarray, "d_sae"]
    """Mean norm of its contribution where it fires; 0 if nowhere."""
    largest: Float[np.ndarray, "d_sae"]
    """Largest activation."""
    n_rows: int


@torch.no_grad()
def feature_table(sae: SAE, rows: Iterable[Float[Tensor, "rows d_in"]]) -> FeatureTable:
    """Counts over rows of activations.

    Raises:
        UserError: There is no row.
    """
    n, fired = 0, torch.zeros(sae.d_sae, dtype=torch.float64)
    total, largest = fired.clone(), fired.clone()
    for part in rows:
        acts = sae.encode(part.to(sae.W_dec.device)).cpu()
        n += len(acts)
        if len(acts) == 0:
            continue
        fired += (acts > 0).sum(0)
        total += acts.double().sum(0)
        largest = torch.maximum(largest, acts.double().amax(0))
    if n == 0:
        raise UserError(
            "The held-out documents have no row to count features on, expected some. Hold out more documents."
        )
    size = total / fired.clamp_min(1) * sae.W_dec.detach().cpu().double().norm(dim=1)
    return FeatureTable((fired / n).numpy(), size.numpy(), largest.numpy(), n)


def refuse_silent(table: FeatureTable, feature: int, hook_point: str) -> None:
    """Stops where a feature's own size is not known.

    Raises:
        UserError: It never fired.
    """
    if table.density[feature] == 0:
        raise UserError(
            f"Feature {hook_point}/{feature} fires on none of {table.n_rows} held-out tokens, expected one that does: neither the "
            "unit of a clamp nor features like it are known. Choose another."
        )


def matched(table: FeatureTable, feature: int, n: int, seed: int, taken: Iterable[int] = ()) -> tuple[int, ...]:
    """Random features most like one in density and size, by logarithms.

    Args:
        table: Of all features.
        feature: The one to compare with.
        n: How many.
        seed: Of the draw among the `POOL` · n nearest.
        taken: Others that may not be drawn.

    Raises:
        UserError: Too few features fire.
    """
    alive = (table.density > 0) & (table.size > 0)
    alive[[feature, *taken]] = False
    candidates = np.flatnonzero(alive)
    if len(candidates) < n:
        raise UserError(
            f"{len(candidates)} other features fire on held-out text, expected at least {n} to compare with. Lower --controls."
        )
    at = np.log([table.density[feature], table.size[feature]])
    others = np.log(np.stack([table.density[candidates], table.size[candidates]], 1))
    nearest = candidates[np.argsort(np.square(others - at).sum(1), kind="stable")[: POOL * n]]
    drawn = np.random.default_rng((seed, feature)).choice(nearest, n, replace=False)
    return tuple(sorted(map(int, drawn)))
