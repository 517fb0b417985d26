"""How well a concept can be told at a layer: from one feature, from a few, from the whole stream, from the words alone.

Everything is chosen and fitted on one half of the patients and judged on the other. Probes are those of `analysis.probing`;
the difference in means is the projection on μ₊ − μ₋, and the bag of words a probe on which tokens the unit has. The words are
the same at every layer: they stand beside the ribbon because a layer that tells no more than its words has not been shown to
know anything.

Source: Gurnee et al. 2023, arXiv:2305.01610 (k-sparse probes); Wu et al. 2025, "AxBench", arXiv:2501.17148 (difference in means).
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from analysis.probing import drawn, logistic, standardised
from analysis.tracing.cohort import Cohort
from analysis.tracing.config import TraceConfig
from analysis.tracing.intervals import Draws, areas
from analysis.tracing.layers import Detector, Half, Layer, Node

PROBE_FEATURES = (1, 5, 20)
MOST_WORDS = 128
"""Columns of the bag of words: those whose share differs most between the two kinds of unit."""


def best_first(half: Half, is_positive: np.ndarray) -> np.ndarray:
    """Features by their AUROC in the half that chooses, best first; of equal ones the lower number."""
    return np.argsort(-half.ranks.auroc(is_positive[None])[0], kind="stable")


def detectors_of(
    layer: Layer, cohort: Cohort, halves: tuple[Half, Half], best: int, draws: Draws, seed: int
) -> list[Detector]:
    """Every way but the words.

    Args:
        layer: The layer.
        cohort: The units.
        halves: The layer in the half that chooses, and in the one that estimates.
        best: The feature that was chosen.
        draws: Of the estimating units' patients.
        seed: Of drawn units.
    """
    found = [judged("best_feature", layer.columns([best])[:, 0], cohort, draws, layer, [best])]
    ordered = most_different(halves[0].scores, cohort.is_positive[cohort.chooses], max(PROBE_FEATURES))
    for k in PROBE_FEATURES:
        features = [int(feature) for feature in ordered[:k]]
        logits = probe(layer.columns(features), cohort, seed)
        found.append(judged(f"probe_{k}", logits, cohort, draws, layer, features))
    found.append(judged("dense_probe", probe(layer.dense, cohort, seed), cohort, draws))
    found.append(judged("difference_in_means", along_difference(layer.dense, cohort), cohort, draws))
    return found


def judged(
    kind: str, scores: np.ndarray, cohort: Cohort, draws: Draws, layer: Layer | None = None,
    features: Sequence[int] = (),
) -> Detector:  # fmt: skip
    """A detector's areas on the estimating half."""
    rows = cohort.is_estimate
    found = areas(scores[rows], cohort.is_positive[rows], draws)
    if layer is None:
        return Detector(kind, found, [], None)
    fires: np.ndarray = np.any(layer.columns(list(features)) > 0, axis=1)
    return Detector(kind, found, list(features), float(np.mean(fires[rows & cohort.is_positive])))


def probe(x: np.ndarray, cohort: Cohort, seed: int) -> np.ndarray:
    """[n_units] logits of a logistic regression that was fitted to the half that chooses."""
    scaled = standardised(x, cohort.chooses)
    rows = drawn(cohort.chooses, cohort.is_positive, seed)
    return scaled @ logistic(scaled[rows], cohort.is_positive[None, rows])[0]


def along_difference(x: np.ndarray, cohort: Cohort) -> np.ndarray:
    """[n_units] projections on the difference of means in the half that chooses."""
    positive, negative = cohort.chooses & cohort.is_positive, cohort.chooses & ~cohort.is_positive
    return x @ (x[positive].mean(axis=0) - x[negative].mean(axis=0))


def most_different(scores: sparse.csc_array, is_positive: np.ndarray, k: int) -> np.ndarray:
    """The k features whose mean differs most, as `analysis.probing.most_different`, of sparse scores."""
    y = is_positive.astype(np.float64)
    inside = scores.T @ y
    outside = np.asarray(scores.sum(axis=0)).ravel() - inside
    difference = np.abs(inside / y.sum() - outside / (len(y) - y.sum()))
    return np.argsort(-difference, kind="stable")[:k]


def bag_of_words(tokens: sparse.csc_array, cohort: Cohort, draws: Draws, seed: int) -> Detector:
    """A probe on which tokens each unit has.

    Args:
        tokens: [n_units, n_vocabulary], 1 where the unit has the token.
        cohort: The units.
        draws: As of `detectors_of`.
        seed: Of drawn units.
    """
    chosen = most_different(
        sparse.csc_array(sparse.csr_array(tokens)[cohort.chooses]), cohort.is_positive[cohort.chooses], MOST_WORDS
    )
    return judged("bag_of_words", probe(tokens[:, chosen].toarray(), cohort, seed), cohort, draws)


def nodes_of(
    layer: Layer, cohort: Cohort, halves: tuple[Half, Half], draws: Draws, band: float, cfg: TraceConfig
) -> list[Node]:
    """The features that tell the concept beyond the band, in the order of the half that chose them.

    Args: as of `detectors_of`, and the band of the whole scan.
    """
    rows, positive = cohort.is_estimate, cohort.is_estimate & cohort.is_positive
    candidates = best_first(halves[0], cohort.is_positive[cohort.chooses])[: cfg.n_candidates]
    figures = halves[1].ranks.auroc(cohort.is_positive[None, rows])[0]
    found = []
    for feature in [int(one) for one in candidates if figures[one] > band][: cfg.n_nodes]:
        scores = layer.columns([feature])[:, 0]
        firing = {
            "positive": float((scores[positive] > 0).mean()),
            "negative": float((scores[rows & ~cohort.is_positive] > 0).mean()),
        }
        found.append(Node(layer, feature, areas(scores[rows], cohort.is_positive[rows], draws), firing))
    return found
