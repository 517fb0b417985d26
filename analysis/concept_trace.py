"""A concept through the layers: where it can be told, by which features, how these hang together, and what depends on them.

1. Units (mentions or documents) with and without the concept; half of the patients choose, the others estimate.
2. Per layer the best single feature, sparse and dense probes, the difference in means, beside a bag of words: held-out AUROC and
   AUPRC with intervals over patients.
3. One band for the whole scan: what the best of all features of all layers reaches when labels are dealt out anew. Features beyond
   it are nodes; the concept *emerges* at the first layer whose best feature is beyond it.
4. Nodes of neighbouring layers are joined by decoder cosine, co-activation and measured effect, each beside its own null.

`trace` takes arrays, and a model only to ablate with; what reads run folders is `clinlens.trace`.

Differs from "feature i through the layers": every layer has its own dictionary, and an edge is a claim with a null beside it, so
that features may be born, vanish, or stay unmatched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from analysis.tracing.ablation import Ablations
from analysis.tracing.cohort import Cohort
from analysis.tracing.config import TraceConfig
from analysis.tracing.detectors import bag_of_words, best_first, detectors_of, nodes_of
from analysis.tracing.flow import Edge, edges_of, ends
from analysis.tracing.intervals import drawn_patients
from analysis.tracing.layers import Detector, Half, Layer, Node, half_of, pair, rounded
from analysis.tracing.permutations import band, block_labellings, max_null
from analysis.tracing.sentence import CAVEAT, sentence
from analysis.tracing.stability import stability
from analysis.tracing.strata import flags, strata_of


@dataclass(frozen=True)
class Evidence:
    """All that a trace may rest on besides the layers."""

    tokens: sparse.csc_array | None = None
    """[n_units, n_vocabulary], which tokens each unit has."""
    attributes: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Protected attributes, each [n_units] as text, empty where unknown."""
    ablations: Ablations | None = None
    """What measures effects."""
    labels: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Node id → what physicians said of it."""
    other_seeds: Mapping[str, tuple[str, np.ndarray]] = field(default_factory=dict)
    """Hook point → id and decoder of the same autoencoder of another seed."""


class Scan(NamedTuple):
    """What was found at the layers."""

    layers: list[Layer]
    detectors: list[list[Detector]]
    nodes: list[list[Node]]
    null: float
    """AUROC that the best of the scan exceeds in 5 % of permutations."""

    def is_above(self, place: int) -> bool:
        """Whether a layer's best single feature is beyond the band."""
        return self.detectors[place][0].areas.auroc > self.null

    @property
    def emerges_at(self) -> int | None:
        """The first such layer."""
        return next((one.layer for place, one in enumerate(self.layers) if self.is_above(place)), None)


class Emergence(NamedTuple):
    """The best single feature of every layer, and what chance gives."""

    features: list[int]
    """Chosen in the half that chooses."""
    aurocs: list[float]
    """In the other."""
    null: float
    """As of `Scan`."""

    @property
    def first(self) -> int | None:
        """The first layer, by its place, whose feature is beyond the band."""
        return next((place for place, auroc in enumerate(self.aurocs) if auroc > self.null), None)


def emergence(halves: Sequence[tuple[Half, Half]], cohort: Cohort, cfg: TraceConfig) -> Emergence:
    """Chooses a feature at each layer, judges it on other patients, and finds the band of the whole scan.

    Args:
        halves: Each layer in the half that chooses, and in the one that estimates.
        cohort: The units.
        cfg: Number of permutations, and seed.
    """
    rows = cohort.is_estimate
    labellings = block_labellings(cohort.is_positive[rows], cohort.patient[rows], cfg.n_permutations, cfg.seed)
    null = band(max_null([estimate.ranks for _, estimate in halves], labellings))
    features = [int(best_first(choice, cohort.is_positive[~rows])[0]) for choice, _ in halves]
    aurocs = [
        float(estimate.ranks.auroc(cohort.is_positive[None, rows])[0, feature])
        for feature, (_, estimate) in zip(features, halves, strict=True)
    ]
    return Emergence(features, aurocs, null)


def scan(layers: Sequence[Layer], cohort: Cohort, cfg: TraceConfig, tokens: sparse.csc_array | None = None) -> Scan:
    """Detectors, band and nodes of every layer.

    Args:
        layers: In their order.
        cohort: The units.
        cfg: Settings.
        tokens: As of `Evidence`.
    """
    rows = cohort.is_estimate
    draws = drawn_patients(cohort.patient[rows], cfg.n_bootstraps, cfg.seed)
    halves = [(half_of(layer, ~rows), half_of(layer, rows)) for layer in layers]
    best = emergence(halves, cohort, cfg)
    words = [] if tokens is None else [bag_of_words(tokens, cohort, draws, cfg.seed)]
    found, nodes = [], []
    for layer, both, feature in zip(layers, halves, best.features, strict=True):
        found.append([*detectors_of(layer, cohort, both, feature, draws, cfg.seed), *words])
        nodes.append(nodes_of(layer, cohort, both, draws, best.null, cfg))
    return Scan(list(layers), found, nodes, best.null)


def trace(
    layers: Sequence[Layer], cohort: Cohort, cfg: TraceConfig, evidence: Evidence | None = None
) -> dict[str, Any]:
    """The part of a record that is measured; names and origin are the caller's (see docs/concept-trace.md).

    Args:
        layers: In their order.
        cohort: The units.
        cfg: Settings.
        evidence: What else there is.
    """
    evidence = evidence or Evidence()
    found = scan(layers, cohort, cfg, evidence.tokens)
    edges = edges_of(found.nodes, cohort, evidence.ablations, cfg)
    return {
        "null": {"max_auroc_95": rounded(found.null), "n_permutations": cfg.n_permutations},
        "emerges_at": found.emerges_at,
        "layers": layer_records(found, edges),
        "nodes": node_records(found, cohort, evidence, cfg),
        "edges": [edge.record() for edge in edges],
        "causality": causality(found, evidence.ablations),
        "stability": stability(found.nodes, evidence.other_seeds),
    }


def layer_records(found: Scan, edges: Sequence[Edge]) -> list[dict[str, Any]]:
    """Every layer as JSON."""
    return [
        {
            "layer": layer.layer,
            "hook_point": layer.hook_point,
            "n_features": layer.n_features,
            "n_active": len(layer.active),
            "detectors": [one.record(found.null) for one in found.detectors[place]],
            "null": {"max_auroc_95": rounded(found.null)},
            "is_above_null": bool(found.is_above(place)),
            **begin_and_end,
            "error_mass": {name: rounded(value) for name, value in layer.error_mass.items()},
        }
        for place, (layer, begin_and_end) in enumerate(zip(found.layers, ends(found.nodes, edges), strict=True))
    ]


def node_records(found: Scan, cohort: Cohort, evidence: Evidence, cfg: TraceConfig) -> list[dict[str, Any]]:
    """Every node as JSON, with its groups and what physicians said of it."""
    nodes = [node for here in found.nodes for node in here]
    ranks = [rank for here in found.nodes for rank in range(len(here))]
    draws = drawn_patients(cohort.patient[cohort.is_estimate], cfg.n_bootstraps, cfg.seed)
    groups = strata_of(nodes, evidence.attributes, cohort, draws)
    return [
        {
            "id": node.id,
            "layer": node.layer.layer,
            "hook_point": node.layer.hook_point,
            "feature": node.feature,
            "auroc": rounded(node.areas.auroc),
            "interval": pair(node.areas.auroc_interval),
            "auprc": rounded(node.areas.auprc),
            "firing": {name: rounded(value) for name, value in node.firing.items()},
            "rank": rank,
            "label": evidence.labels.get(node.id),
            "protected": [one.record() for one in strata],
            "is_flagged": bool(flagged),
            "flagged_for": flagged,
        }
        for node, rank, strata, flagged in zip(nodes, ranks, groups, flags(groups), strict=True)
    ]


def causality(found: Scan, ablations: Ablations | None) -> dict[str, Any] | None:
    """What the answer loses without each node, beside random features; none where there is no answer to ask about."""
    if ablations is None or not any(text.answer for text in ablations.texts):
        return None
    measured = [(node, ablations.on_answer(node)) for here in found.nodes for node in here]
    return {
        "answer": {
            "kind": ablations.answer_kind,
            "after": ablations.cfg.answer_after,
            "n_documents": sum(bool(text.answer) for text in ablations.texts),
        },
        "ablation": [
            {
                "node": node.id,
                "layer": node.layer.layer,
                "effect": rounded(effect.value),
                "interval": pair(effect.interval),
                "controls": [rounded(one) for one in effect.controls],
                "control_95": rounded(effect.null_95),
                "share_of_controls_beyond": rounded(float(np.mean(np.abs(effect.controls) >= abs(effect.value)))),
                "is_above_controls": effect.is_above_null,
                "n_texts": effect.n_texts,
            }
            for node, effect in measured
            if effect is not None
        ],
    }


def completed(measured: dict[str, Any], origin: dict[str, Any], cohort: Cohort) -> dict[str, Any]:
    """The whole record: who was looked at, what was measured, the sentence, and where it comes from.

    Args:
        measured: From `trace`.
        origin: `id`, `concept`, `cohort` (what the caller knows of it), `model`, `data`, `saes`, `notes`, `seed`, `settings`, …
        cohort: The units.
    """
    record = origin | measured
    record["cohort"] = origin["cohort"] | cohort.record()
    return record | {"sentence": sentence(record), "caveat": CAVEAT}
