"""How many of a trace's features another seed of the same autoencoder finds too.

Nodes are matched one to one with the other seed's features so that the sum of cosines is largest; a pair counts from 0.7 on.
A trace whose nodes one seed alone finds is illustrative, not stable: in a clinical model 21 % of features did (arXiv:2605.04072).

Source: Paulo and Belrose 2025, arXiv:2501.16615; see `analysis.seed_stability`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from analysis.seed_stability import SHARED_COSINE
from analysis.tracing.layers import Node, rounded
from analysis.tracing.matching import unit_rows


def stability(nodes: Sequence[Sequence[Node]], others: Mapping[str, tuple[str, np.ndarray]]) -> dict[str, Any] | None:
    """Share of the nodes that the other seed has; none where there is no other seed, or no node.

    Args:
        nodes: Those of each layer.
        others: Hook point → id and decoder [n_features, d_in] of the autoencoder of another seed.
    """
    compared = [here for here in nodes if here and here[0].layer.hook_point in others]
    n_nodes = sum(map(len, compared))
    if n_nodes == 0:
        return None
    n_matched = sum(n_shared(here, others[here[0].layer.hook_point][1]) for here in compared)
    saes = [{"hook_point": point, "sae_id": name} for point, (name, _) in others.items()]
    return {
        "n_matched": n_matched, "n_nodes": n_nodes, "share": rounded(n_matched / n_nodes), "cosine": SHARED_COSINE,
        "saes": saes,
    }  # fmt: skip


def n_shared(nodes: Sequence[Node], decoder: np.ndarray) -> int:
    """Nodes of one layer that have a partner."""
    own = nodes[0].layer.decoder[[node.feature for node in nodes]]
    near = unit_rows(own) @ unit_rows(decoder).T
    rows, columns = linear_sum_assignment(near, maximize=True)
    return int((near[rows, columns] >= SHARED_COSINE).sum())
