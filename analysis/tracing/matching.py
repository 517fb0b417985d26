"""Which features of neighbouring layers belong together, by geometry and by data, each beside what chance gives.

- *Decoder cosine.* Two directions in one residual stream. Null: the decoder of the later layer with each coordinate dealt out
  anew among its features, so that dimensions that are large for all stay large; for each feature the largest cosine counts.
- *Co-activation.* Pearson's correlation of the two features over units, after the means with and without the concept have been
  taken off: two features of one concept fire on the same units in any case. Null: units of the later layer in blocks of
  patients, dealt out anew; the largest correlation of any pair counts.

Cosine says what could be read on, not what is: see `analysis.tracing.ablation` for the third kind.

Source: Laptev et al. 2025, "Analyze feature flow", arXiv:2502.03032 (cosines across layers).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.tracing.cohort import Cohort
from analysis.tracing.config import TraceConfig
from analysis.tracing.layers import Node
from analysis.tracing.permutations import QUANTILE, blocks_in_random_order

TINY = 1e-12


class Linked(NamedTuple):
    """One measure of every pair of nodes of two layers."""

    values: np.ndarray
    """[n_upstream, n_downstream]."""
    null_95: float


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of zeros stay."""
    x = x.astype(np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), TINY)


def cosines(upstream: Sequence[Node], downstream: Sequence[Node], cfg: TraceConfig) -> Linked:
    """Cosines of the decoders' rows; undefined, so 0 with a null of 1, where the widths differ."""
    before, after = upstream[0].layer.decoder, downstream[0].layer.decoder
    if before.shape[1] != after.shape[1]:
        return Linked(np.zeros((len(upstream), len(downstream))), 1.0)
    rows = unit_rows(before[[node.feature for node in upstream]])
    values = rows @ unit_rows(after[[node.feature for node in downstream]]).T
    rng = np.random.default_rng((cfg.seed, 4))
    largest = [(rows @ unit_rows(rng.permuted(after, axis=0)).T).max(axis=1) for _ in range(cfg.n_shuffles)]
    return Linked(values, float(np.quantile(np.concatenate(largest), QUANTILE)))


def coactivations(upstream: Sequence[Node], downstream: Sequence[Node], cohort: Cohort, cfg: TraceConfig) -> Linked:
    """Correlations given the concept."""
    before, after = (residuals(nodes, cohort) for nodes in (upstream, downstream))
    rng = np.random.default_rng((cfg.seed, 5))
    place = np.unique(cohort.patient, return_inverse=True)[1]
    largest = []
    for _ in range(cfg.n_permutations):
        target, source = blocks_in_random_order(place, rng), blocks_in_random_order(place, rng)
        largest.append((before[target].T @ after[source]).max())
    return Linked(before.T @ after, float(np.quantile(largest, QUANTILE)))


def residuals(nodes: Sequence[Node], cohort: Cohort) -> np.ndarray:
    """[n_units, n_nodes] activations less their mean with or without the concept, each column of length 1."""
    x = nodes[0].layer.columns([node.feature for node in nodes])
    for rows in (cohort.is_positive, ~cohort.is_positive):
        x[rows] -= x[rows].mean(axis=0)
    return x / np.maximum(np.linalg.norm(x, axis=0), TINY)
