"""The layer ribbon: how well each detector tells a concept apart at each layer, over the band that chance alone reaches.

All that is drawn is reckoned here, so that the picture in the page and the exported one are the same.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

WIDTH, HEIGHT = 1180, 380
LEFT, RIGHT, TOP, BOTTOM = 60, 210, 24, 52
LOWEST = 0.4
"""AUROC at the lower edge; what lies below is drawn there."""


class Look(NamedTuple):
    """How a detector's line is told from the others, by more than its colour."""

    name: str
    colour: str
    marker: str
    """A path about (0, 0)."""
    dash: str


CIRCLE, SQUARE, UP, DIAMOND, CROSS = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", "M-4,-4h8v8h-8z", "M0,-5l5,8h-10z", "M0,-5l5,5l-5,5l-5,-5z",
    "M-4,-4l8,8M-4,4l8,-8",
)  # fmt: skip
LOOKS = {
    "best_feature": Look("best single feature", "#0072b2", CIRCLE, ""),
    "probe_1": Look("probe on 1 feature", "#d55e00", SQUARE, ""),
    "probe_5": Look("probe on 5 features", "#d55e00", UP, "6 3"),
    "probe_20": Look("probe on 20 features", "#d55e00", DIAMOND, "2 3"),
    "dense_probe": Look("dense probe", "#009e73", CIRCLE, "8 3"),
    "difference_in_means": Look("difference in means", "#8a4b7d", UP, "4 3"),
    "bag_of_words": Look("bag of words", "#4d5763", CROSS, "1 4"),
}
OTHER = Look("", "#14171b", DIAMOND, "")


class Point(NamedTuple):
    """One detector at one layer."""

    x: float
    y: float
    low: float
    high: float
    text: str
    """Its figures in words."""


class Line(NamedTuple):
    """One detector over the layers."""

    kind: str
    look: Look
    points: list[Point]
    legend_y: float

    @property
    def path(self) -> str:
        """Its points as SVG has them."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    text: str


class Ribbon(NamedTuple):
    """Everything that is drawn."""

    lines: list[Line]
    band: str
    """Corners of what chance alone reaches."""
    layers: list[Tick]
    aurocs: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def ribbon(record: dict[str, Any]) -> Ribbon:
    """The ribbon of a trace."""
    layers = record["layers"]
    places = across(len(layers))
    kinds = list(dict.fromkeys(one["kind"] for layer in layers for one in layer["detectors"]))
    lines = [line_of(kind, number, kinds, layers, places) for number, kind in enumerate(kinds)]
    marks = [Tick(x, f"{layer['layer']}") for x, layer in zip(places, layers, strict=True)]
    return Ribbon(lines, band_of(layers, places), marks, [Tick(down(v / 10), f"{v / 10:.1f}") for v in range(4, 11)])


def across(n: int) -> list[float]:
    """Where the layers stand."""
    width = WIDTH - LEFT - RIGHT
    return [LEFT + width * (number + 0.5) / max(1, n) for number in range(n)]


def down(auroc: float) -> float:
    """Where an AUROC stands."""
    share = (max(LOWEST, min(1.0, auroc)) - LOWEST) / (1 - LOWEST)
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def line_of(
    kind: str, number: int, kinds: Sequence[str], layers: Sequence[dict[str, Any]], places: Sequence[float]
) -> Line:
    """One detector's line; its marks stand a little beside the others', so that intervals can be told apart."""
    look = LOOKS.get(kind, OTHER._replace(name=kind.replace("_", " ")))
    shift = 5.0 * (number - (len(kinds) - 1) / 2)
    points = [
        point_of(one, x + shift, layer["layer"], look)
        for layer, x in zip(layers, places, strict=True)
        for one in layer["detectors"]
        if one["kind"] == kind and one.get("auroc") is not None
    ]
    return Line(kind, look, points, TOP + 34 + 24 * number)


def point_of(detector: dict[str, Any], x: float, layer: int, look: Look) -> Point:
    """One detector's mark."""
    auroc = detector["auroc"]
    low, high = detector.get("auroc_interval") or (auroc, auroc)
    low, high = auroc if low is None else low, auroc if high is None else high
    text = f"{look.name}, layer {layer}: AUROC {auroc:.3f} ({low:.3f} to {high:.3f})"
    return Point(x, down(auroc), down(low), down(high), text)


def band_of(layers: Sequence[dict[str, Any]], places: Sequence[float]) -> str:
    """Corners of the null band: from the lower edge to what the best of the whole scan reaches by chance in 95 of 100."""
    limits = [(layer.get("null") or {}).get("max_auroc_95") for layer in layers]
    known = [(x, limit) for x, limit in zip(places, limits, strict=True) if limit is not None]
    if not known:
        return ""
    ends = [(LEFT, known[0][1]), *known, (WIDTH - RIGHT, known[-1][1])]
    upper = [f"{x:.1f},{down(limit):.1f}" for x, limit in ends]
    return " ".join([*upper, f"{WIDTH - RIGHT},{HEIGHT - BOTTOM}", f"{LEFT},{HEIGHT - BOTTOM}"])
