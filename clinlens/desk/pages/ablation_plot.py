"""What taking a feature away does to the answer, beside what taking away others like it does."""

from typing import Any, NamedTuple

WIDTH, LEFT, RIGHT, TOP, ROW = 1180, 330, 60, 40, 30


class Row(NamedTuple):
    """One feature."""

    node: str
    layer: int
    y: float
    x: float
    low: float
    high: float
    controls: list[float]
    is_above: bool
    text: str


class Plot(NamedTuple):
    """Everything that is drawn."""

    rows: list[Row]
    zero: float
    ticks: list[tuple[float, str]]
    width: int
    height: int


def plot(ablations: list[dict[str, Any]]) -> Plot:
    """Effects with their intervals, and the controls' effects as small strokes."""
    known = [one for one in ablations if one.get("effect") is not None]
    values = [
        0.0,
        *(value for one in known for value in (one["effect"], *interval_of(one), *(one.get("controls") or []))),
    ]
    low, high = min(values), max(values)
    if high == low:
        low, high = low - 1, high + 1
    scale = (WIDTH - LEFT - RIGHT) / (high - low)

    def across(value: float) -> float:
        return LEFT + (value - low) * scale

    rows = [row_of(one, TOP + ROW * (number + 0.5), across) for number, one in enumerate(known)]
    ticks = [(across(value), f"{value:.2g}") for value in sorted({low, (low + high) / 2, high})]
    return Plot(rows, across(0.0), ticks, WIDTH, TOP + ROW * len(known) + 36)


def interval_of(one: dict[str, Any]) -> tuple[float, float]:
    """An effect's interval; the effect itself where there is none."""
    low, high = one.get("interval") or (None, None)
    return (one["effect"] if low is None else low), (one["effect"] if high is None else high)


def row_of(one: dict[str, Any], y: float, across: Any) -> Row:
    """One feature's row."""
    low, high = interval_of(one)
    limit = one.get("control_95")
    beside = "" if limit is None else f", 95 % of controls below {limit:.3g}"
    text = f"{one['node']}: effect {one['effect']:.3g} ({low:.3g} to {high:.3g}){beside}"
    controls = [across(value) for value in one.get("controls") or []]
    above = bool(one.get("is_above_controls"))
    return Row(one["node"], one["layer"], y, across(one["effect"]), across(low), across(high), controls, above, text)
