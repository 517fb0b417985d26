"""Edges between the nodes of neighbouring layers, and what begins and ends."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from analysis.tracing.ablation import Ablations, Effect
from analysis.tracing.cohort import Cohort
from analysis.tracing.config import TraceConfig
from analysis.tracing.layers import Node, pair, rounded
from analysis.tracing.matching import Linked, coactivations, cosines

KINDS_NEEDED = 2
"""Kinds of edge above their nulls that make a match. Source: specs/labeling.md, section 8.2."""


class Edge(NamedTuple):
    """One pair of nodes of neighbouring layers."""

    source: Node
    target: Node
    cosine: float
    cosine_null: float
    coactivation: float
    coactivation_null: float
    causal: Effect | None
    """Share by which the target fires less without the source; none where the source fires in no text, or nothing was ablated."""

    @property
    def n_kinds_above_null(self) -> int:
        """Of the three."""
        kinds = [self.cosine > self.cosine_null, self.coactivation > self.coactivation_null]
        return sum([*kinds, self.causal is not None and self.causal.value > 0 and self.causal.is_above_null])

    @property
    def is_match(self) -> bool:
        return self.n_kinds_above_null >= KINDS_NEEDED

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "source": self.source.id,
            "target": self.target.id,
            "cosine": {"value": rounded(self.cosine), "null_95": rounded(self.cosine_null)},
            "coactivation": {"value": rounded(self.coactivation), "null_95": rounded(self.coactivation_null)},
            "causal": None
            if self.causal is None
            else {
                "value": rounded(self.causal.value),
                "interval": pair(self.causal.interval),
                "null_95": rounded(self.causal.null_95),
                "n_units": self.causal.n_texts,
            },
            "n_kinds_above_null": self.n_kinds_above_null,
        }


def edges_of(
    nodes: Sequence[Sequence[Node]], cohort: Cohort, ablations: Ablations | None, cfg: TraceConfig
) -> list[Edge]:
    """Every pair of nodes of neighbouring layers with its measures.

    Args:
        nodes: Those of each layer.
        cohort: The units.
        ablations: What measures effects, where there is a model to run.
        cfg: Nulls.
    """
    found: list[Edge] = []
    for upstream, downstream in pairwise(nodes):
        if upstream and downstream:
            near, together = cosines(upstream, downstream, cfg), coactivations(upstream, downstream, cohort, cfg)
            for row, source in enumerate(upstream):
                effects = [] if ablations is None else ablations.downstream(source, downstream)
                found += [
                    joined(source, target, near, together, (row, column), effects[column] if effects else None)
                    for column, target in enumerate(downstream)
                ]
    return found


def joined(
    source: Node, target: Node, near: Linked, together: Linked, at: tuple[int, int], causal: Effect | None
) -> Edge:
    """One edge from the measures of its layers."""
    return Edge(
        source, target, float(near.values[at]), near.null_95, float(together.values[at]), together.null_95, causal
    )


def ends(nodes: Sequence[Sequence[Node]], edges: Sequence[Edge]) -> list[dict[str, list[str]]]:
    """For each layer the nodes that are born there, that vanish after it, and that are matched on neither side."""
    matched = [edge for edge in edges if edge.is_match]
    led_to, leading = {edge.target.id for edge in matched}, {edge.source.id for edge in matched}
    found = []
    for place, here in enumerate(nodes):
        names = [node.id for node in here]
        born = [name for name in names if place > 0 and name not in led_to]
        vanished = [name for name in names if place < len(nodes) - 1 and name not in leading]
        alone = [name for name in names if name not in led_to and name not in leading]
        found.append({"born": born, "vanished": vanished, "unmatched": alone})
    return found
