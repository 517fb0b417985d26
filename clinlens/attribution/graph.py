"""The bridge as a drawing: tokens on the left, features in the middle, the answer on the right; lines as wide as effects.

An SVG without script or style of its own: colours are classes of the page, and every figure stands in a table beside it.
"""

from typing import Any, NamedTuple

ROW, TOP = 30, 26
LEFT, MIDDLE, RIGHT = 200, 430, 800
WIDEST = 7.0
LEAST_SCALE = 0.1
"""Of the answer's score: what has the widest line does at least so much, so that a lone feature without effect looks like it."""
UNDEFINED = "explained variance of the SAE: not defined for one token"
LONGEST = 24
"""Letters of a label that are shown."""


class Label(NamedTuple):
    """A node's text."""

    x: int
    y: float
    text: str
    anchor: str
    """`start` or `end`, as SVG has it."""


class Line(NamedTuple):
    """An edge."""

    x1: int
    y1: float
    x2: int
    y2: float
    width: float
    sign: str
    """`for` or `against`."""
    value: str
    """What it stands for, in words; shown when the pointer rests on it."""


class Row(NamedTuple):
    """A feature in the table."""

    name: str
    at: str
    """The token where it fires."""
    activation: str
    effect: str
    tier: str
    estimate: str
    tokens: str
    """The tokens that drive it, with the measured effects."""


class Drawing(NamedTuple):
    """One graph."""

    title: str
    height: int
    labels: list[Label]
    lines: list[Line]
    rows: list[Row]
    ranked_by: str
    """The tier of the estimates."""
    paths: list[str]
    """The strongest paths, in words."""
    notes: list[str]
    """What does not pass through the features shown, and how much was measured."""


def drawings(bridge: dict[str, Any]) -> list[Drawing]:
    """The graphs of a result: each feature asked about, then the answer."""
    found = [drawing(one, "Which tokens drive the feature, and what it does") for one in bridge["features"]]
    answer = bridge["answer"]
    return found if answer is None else [*found, drawing(answer, "Which features drive the answer")]


def drawing(graph: dict[str, Any], title: str) -> Drawing:
    """One graph."""
    of_kind = {kind: [one for one in graph["nodes"] if one["kind"] == kind] for kind in ("token", "feature", "answer")}
    longest = max(map(len, of_kind.values()))
    places = {node["id"]: height(i, len(some), longest) for some in of_kind.values() for i, node in enumerate(some)}
    return Drawing(
        f"{title}, {graph['hook_point']}", longest * ROW + 2 * TOP, labels(of_kind, places), lines(graph, places),
        [row(graph, node) for node in of_kind["feature"]], graph["tiers"]["ranks"],
        [words(graph, path) for path in graph["paths"][:5]], notes(graph),
    )  # fmt: skip


def height(number: int, n: int, longest: int) -> float:
    """Where a node stands: those of a column are spread evenly over all the height."""
    return TOP + (number + 0.5) * longest * ROW / n


def labels(of_kind: dict[str, list[dict[str, Any]]], places: dict[str, float]) -> list[Label]:
    """What stands beside the nodes."""
    found = [
        Label(LEFT - 8, places[one["id"]], f"{short(one['text'])} ({one['position']})", "end")
        for one in of_kind["token"]
    ]
    found += [Label(MIDDLE + 8, places[one["id"]], one["id"], "start") for one in of_kind["feature"]]
    return found + [Label(RIGHT + 8, places[one["id"]], short(one["text"]), "start") for one in of_kind["answer"]]


def lines(graph: dict[str, Any], places: dict[str, float]) -> list[Line]:
    """The edges; each column has its own scale, since effects on features and on answers have different units."""
    found, scores = [], [one["score"] for one in graph["nodes"] if one["kind"] == "answer"]
    for is_last, (start, end) in ((False, (LEFT, MIDDLE)), (True, (MIDDLE + 130, RIGHT))):
        some = [one for one in graph["edges"] if (one["to"] == "answer") == is_last]
        values = [one["effect"] if is_last else one["exact"] for one in some]
        least = LEAST_SCALE * abs(scores[0]) if is_last and scores else 0.0
        full = max([least, *map(abs, values)]) or 1.0
        for edge, value in zip(some, values, strict=True):
            how = edge["tier"] if is_last else "exact"
            found.append(
                Line(
                    start, places[edge["from"]], end, places[edge["to"]], max(0.5, WIDEST * abs(value) / full),
                    "for" if value > 0 else "against", f"{edge['from']} → {edge['to']}: {value:+.3g} ({how})",
                )
            )  # fmt: skip
    return found


def row(graph: dict[str, Any], node: dict[str, Any]) -> Row:
    """A feature's figures."""
    has_effect = node["effect"] is not None
    tier = "measured" if node["is_exact"] else graph["tiers"]["effects"]
    links = [one for one in graph["edges"] if one["to"] == node["id"]]
    tokens = ", ".join(f"{graph['tokens'][int(one['from'][1:])].strip()} {one['exact']:+.2g}" for one in links)
    return Row(
        str(node["feature"]), f"{short(graph['tokens'][node['position']])} ({node['position']})",
        f"{node['activation']:.3g}", f"{node['effect']:+.3g}" if has_effect else "–", tier if has_effect else "–",
        f"{node['estimate']:+.3g}" if has_effect else "–", tokens or "none found",
    )  # fmt: skip


def words(graph: dict[str, Any], path: dict[str, Any]) -> str:
    """A path as a line to read."""
    token, feature, _ = path["through"]
    return f"{graph['tokens'][int(token[1:])].strip()} → {feature} → answer {path['effect']:+.3g}"


def notes(graph: dict[str, Any]) -> list[str]:
    """How much the graph can tell of."""
    share = graph["explained_variance"]
    is_defined = share is not None
    found = [f"the SAE explains {share:.1%} of the variance on this text" if is_defined else UNDEFINED]
    balance = graph["balance"]
    if balance is not None:
        found.append(
            f"contributions ({graph['tiers']['ranks']}): features {balance['features']:+.3g}, error {balance['error']:+.3g}, "
            f"bias {balance['bias']:+.3g}, special tokens {balance['special']:+.3g}, in all {balance['total']:+.3g}"
        )
        found.append(f"{graph['n_ablated']} of {graph['n_active']} active features measured by ablation")
    return found


def short(text: str) -> str:
    """A label that fits."""
    stripped = text.strip() or repr(text)
    return stripped if len(stripped) <= LONGEST else stripped[: LONGEST - 1] + "…"
