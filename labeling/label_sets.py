"""Consensus on sets of labels: one yes-or-no question per label of the codebook.

A judgement is the set of labels a rater chose; the empty set is an answer ("none of these") and says no to every label.
Each label has its own readings and its own raters' matrices, since who finds heart failure well may miss bias. The
consensus set holds the labels whose posterior is above a half.
"""

from typing import NamedTuple

import numpy as np

from labeling.consensus import Consensus, ConsensusConfig, consensus
from labeling.ratings import Ratings
from sae.errors import UserError

HALF = 0.5


class SetConsensus(NamedTuple):
    """All that is said of sets of labels."""

    by_label: tuple[Consensus, ...]
    """One per label of the codebook; class 1 is yes."""
    posterior: np.ndarray
    """[n_items, n_labels] probability that the label belongs to the item, in the MAP reading."""
    share: np.ndarray
    """[n_items, n_labels] share of raters who chose it; NaN where nobody judged."""
    chosen: np.ndarray
    """[n_items, n_labels] bool: posterior above a half; none where nobody judged."""
    is_ambiguous: np.ndarray
    """[n_items] bool: some label is."""
    flipping: tuple[int, ...]
    """Items of which the readings disagree about some label."""


def set_consensus(
    item: np.ndarray,
    rater: np.ndarray,
    chosen: np.ndarray,
    n_items: int,
    n_raters: int,
    cfg: ConsensusConfig,
    weights: np.ndarray | None = None,
) -> SetConsensus:
    """Reads every label.

    Args:
        item: [n] item of each judgement.
        rater: [n] its rater.
        chosen: [n, n_labels] bool: which labels it holds.
        n_items: Items of the round.
        n_raters: Raters of the panel.
        cfg: The settings.
        weights: [n_raters], as for `consensus`.
    """
    table = np.asarray(chosen)
    if table.ndim != 2 or not np.isin(table, (0, 1)).all():
        raise UserError(
            f"The chosen labels have shape {table.shape} or hold other values than 0 and 1, expected one row per judgement "
            "and one column per label. Pass a table of yes and no."
        )
    found = tuple(
        consensus(Ratings(item, rater, table[:, label].astype(int), n_items, n_raters, 2), cfg, weights)
        for label in range(table.shape[1])
    )
    n = np.bincount(np.asarray(item, int), minlength=n_items)[:, None]
    yes = np.stack([one.counts[:, 1] for one in found], axis=1)
    posterior = np.stack([one.map.distribution[:, 1] for one in found], axis=1)
    flipping = sorted({flip.item for one in found for flip in one.flips})
    return SetConsensus(
        found,
        posterior,
        np.where(n > 0, yes / np.where(n > 0, n, 1), np.nan),
        (posterior > HALF) & (n > 0),
        np.any([one.is_ambiguous for one in found], axis=0),
        tuple(flipping),
    )
