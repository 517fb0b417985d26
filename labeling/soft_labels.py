"""Labels that keep their doubt: one row per item, to train on or to export."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from labeling.consensus import Consensus
from labeling.votes import entropy
from sae.errors import UserError


class SoftLabels(NamedTuple):
    """A table of soft labels."""

    item_ids: tuple[str, ...]
    distribution: np.ndarray
    """[n_items, n_classes] answers as shares."""
    entropy: np.ndarray
    """[n_items] bits of the distribution: how far raters differ."""
    posterior: np.ndarray
    """[n_items, n_classes] of the MAP reading."""
    weight: np.ndarray
    """[n_items] of an item in training: 1 for the panel's typical number of judgements, less for fewer."""
    n_raters: np.ndarray
    """[n_items]."""

    def rows(self) -> list[dict[str, Any]]:
        """One dict per item, as it is exported."""
        return [
            {
                "item": item,
                "distribution": [round(float(p), 6) for p in self.distribution[i]],
                "entropy_bits": round(float(self.entropy[i]), 6),
                "posterior": [round(float(p), 6) for p in self.posterior[i]],
                "weight": round(float(self.weight[i]), 6),
                "n_raters": int(self.n_raters[i]),
            }
            for i, item in enumerate(self.item_ids)
        ]


def soft_labels(found: Consensus, item_ids: Sequence[str], raters_per_item: np.ndarray) -> SoftLabels:
    """The table of a consensus; items that nobody judged are left out.

    Args:
        found: The consensus.
        item_ids: One per item, in its order.
        raters_per_item: [n_items] different raters of each item.
    """
    if len(item_ids) != len(found.n_judgements) or len(raters_per_item) != len(found.n_judgements):
        raise UserError(
            f"There are {len(item_ids)} item ids and {len(raters_per_item)} numbers of raters, expected "
            f"{len(found.n_judgements)} of each. Pass one per item of the consensus."
        )
    kept = np.flatnonzero(found.n_judgements > 0)
    shares, n = found.vote.distribution[kept], np.asarray(raters_per_item)[kept]
    typical = float(np.median(n)) if len(n) else 1.0
    names = tuple(item_ids[int(i)] for i in kept)
    return SoftLabels(names, shares, entropy(shares), found.map.distribution[kept], np.minimum(n / typical, 1.0), n)


def smoothed(targets: np.ndarray, strength: float) -> np.ndarray:
    """[n, n_classes] targets drawn to even shares by as much as they are in doubt.

    A row moves by strength × entropy ÷ its largest possible value: a clear label stays, one in full doubt moves most.
    """
    if not 0 <= strength <= 1:
        raise UserError(f"The smoothing strength is {strength}, expected 0 to 1. Lower it.")
    doubt = strength * entropy(targets)[:, None] / np.log2(targets.shape[1])
    return (1 - doubt) * targets + doubt / targets.shape[1]
