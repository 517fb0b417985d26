"""The lanes: features that tell a concept apart, layer by layer, and what links them. Three kinds of edges are drawn in three
ways, and an edge is shown at first only where two kinds of evidence for it lie above their own null.

What has no partner is drawn as well: born, vanished and unmatched features, and how much of the activation no feature explains.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

BOX, ROW, HEAD = 148, 62, 46
NARROWEST, WIDEST, PAGE = 216, 320, 1290
"""Of a lane; what a laptop's screen has room for."""
MOST_NODES = 14
"""Of a lane in the picture; the table below it has all."""
SHARES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
KINDS = {
    "cosine": ("decoder cosine", "geometry", "#4d5763", "3 3"),
    "coactivation": ("co-activation", "data", "#d55e00", "9 4"),
    "causal": ("measured effect", "cause", "#0072b2", ""),
}


class Share(NamedTuple):
    """One label's part of the bar."""

    x: float
    width: float
    colour: str
    name: str
    share: float


class Node(NamedTuple):
    """A feature in its lane."""

    id: str
    anchor: str
    """Its name in addresses."""
    x: float
    y: float
    title: str
    figures: str
    shares: list[Share]
    is_ambiguous: bool
    is_flagged: bool
    fate: str
    """born, vanished, unmatched or nothing."""


class Edge(NamedTuple):
    """One kind of evidence for one link."""

    kind: str
    path: str
    colour: str
    dash: str
    width: float
    is_strong: bool
    """Whether two or more kinds lie above their null, this one among them."""
    is_above: bool
    source: str
    target: str
    text: str


class Lane(NamedTuple):
    """A layer."""

    x: float
    title: str
    error_mass: float | None
    """Share of the activations' variance that no feature explains, where the concept is."""
    n_more: int
    """Features that found no room."""
    is_above_null: bool
    fates: str


class Chart(NamedTuple):
    """Everything that is drawn."""

    lanes: list[Lane]
    nodes: list[Node]
    edges: list[Edge]
    width: int
    height: int
    box: int = BOX


def chart(record: dict[str, Any], *, with_labels: bool = True) -> Chart:
    """The lanes of a trace.

    Args:
        record: The trace.
        with_labels: Whether physicians' labels may be seen by whoever looks at it.
    """
    layers = record["layers"]
    lanes, nodes = [], []
    lane = min(WIDEST, max(NARROWEST, PAGE // max(1, len(layers))))
    for number, layer in enumerate(layers):
        mine = sorted(
            (one for one in record["nodes"] if one["layer"] == layer["layer"]), key=lambda one: -(one.get("auroc") or 0)
        )
        fates = fates_of(layer)
        x = lane * number + (lane - BOX) / 2
        nodes += [node_of(one, x, HEAD + ROW * row, fates, with_labels) for row, one in enumerate(mine[:MOST_NODES])]
        lanes.append(lane_of(layer, x, max(0, len(mine) - MOST_NODES)))
    places = {node.id: node for node in nodes}
    edges = [edge for one in record["edges"] for edge in edges_of(one, places)]
    deepest = max([node.y for node in nodes], default=HEAD)
    return Chart(lanes, nodes, edges, max(1, lane * len(layers)), int(deepest + ROW + 74))


def fates_of(layer: dict[str, Any]) -> dict[str, str]:
    """Feature → what became of it, where it has no partner before it, after it, or at all."""
    return {node: fate for fate in ("born", "vanished", "unmatched") for node in layer[fate]}


def lane_of(layer: dict[str, Any], x: float, n_more: int) -> Lane:
    """A layer's lane."""
    said = [f"{len(layer[fate])} {fate}" for fate in ("born", "vanished", "unmatched") if layer[fate]]
    left_over = (layer.get("error_mass") or {}).get("positive")
    return Lane(x, f"layer {layer['layer']}", left_over, n_more, bool(layer["is_above_null"]), ", ".join(said))


def node_of(one: dict[str, Any], x: float, y: float, fates: dict[str, str], with_labels: bool) -> Node:
    """A feature's box."""
    label = (one.get("label") or {}) if with_labels else {}
    firing = one.get("firing") or {}
    rates = " / ".join(
        "–" if firing.get(side) is None else f"{100 * firing[side]:.0f} %" for side in ("positive", "negative")
    )
    auroc = "–" if one.get("auroc") is None else f"{one['auroc']:.3f}"
    fate, shares = fates.get(one["id"], ""), shares_of(label.get("distribution") or {})
    return Node(
        one["id"], anchor_of(one["id"]), x, y, f"{one['feature']}", f"{auroc} · {rates}", shares,
        bool(label.get("is_ambiguous")), bool(one.get("is_flagged")), fate,
    )  # fmt: skip


def anchor_of(node: str) -> str:
    """A feature's name in addresses."""
    return "node-" + "".join(sign if sign.isalnum() else "-" for sign in node)


def shares_of(distribution: dict[str, float]) -> list[Share]:
    """The stacked bar of a label distribution, the largest first; beyond six labels the rest is one."""
    ordered = sorted(distribution.items(), key=lambda item: -item[1])
    whole = sum(distribution.values())
    if whole <= 0:
        return []
    if len(ordered) > len(SHARES):
        kept = ordered[: len(SHARES) - 1]
        ordered = [*kept, ("other", whole - sum(share for _, share in kept))]
    found, x = [], 0.0
    for (name, share), colour in zip(ordered, SHARES, strict=False):
        width = (BOX - 12) * share / whole
        found.append(Share(x, width, colour, name, share / whole))
        x += width
    return found


def edges_of(edge: dict[str, Any], places: dict[str, Node]) -> list[Edge]:
    """The kinds of evidence for a link between two features that are drawn."""
    source, target = places.get(edge["source"]), places.get(edge["target"])
    if source is None or target is None:
        return []
    is_strong = (edge.get("n_kinds_above_null") or 0) >= 2
    found = []
    for number, kind in enumerate(KINDS):
        value = edge.get(kind)
        if value and value.get("value") is not None:
            found.append(one_edge(kind, value, source, target, 4.0 * (number - 1), is_strong))
    return found


def one_edge(kind: str, value: dict[str, Any], source: Node, target: Node, shift: float, is_strong: bool) -> Edge:
    """One kind of evidence as a line."""
    name, _, colour, dash = KINDS[kind]
    size, null = abs(value["value"]), value.get("null_95")
    is_above = null is not None and size > null
    x, y, end, z = source.x + BOX, source.y + 23 + shift, target.x, target.y + 23 + shift
    bend = max(30.0, (end - x) / 2)
    path = f"M{x:.1f},{y:.1f} C{x + bend:.1f},{y:.1f} {end - bend:.1f},{z:.1f} {end - 4:.1f},{z:.1f}"
    limit = "no null" if null is None else f"null {null:.3g}"
    interval = value.get("interval")
    spread = f" ({interval[0]:.3g} to {interval[1]:.3g})" if interval and None not in interval else ""
    text = f"{name}, {source.title} → {target.title}: {value['value']:.3g}{spread}, {limit}"
    width = 1.4 + 2.6 * min(1.0, size)
    return Edge(kind, path, colour, dash, width, is_strong and is_above, is_above, source.id, target.id, text)


def n_hidden(edges: Sequence[Edge]) -> int:
    """Lines that are not shown at first."""
    return sum(not edge.is_strong for edge in edges)
