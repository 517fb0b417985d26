"""The page of one steering: curves beside their controls, side effects, generated texts. It runs no code and loads nothing.

It holds generated texts, which may repeat what stands in the cases, so only its owner may read it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from labeling.standalone_page import rendered
from sae import artefact

SOURCES = Path(__file__).parent
WIDTH, HEIGHT, MARGIN = 620, 260, 56


class Chart(NamedTuple):
    """The response over the strengths, in the units of the picture."""

    line: str
    """Points of the steered features."""
    band: str
    """Outline of where 95 % of the controls lie; empty without controls."""
    bars: list[tuple[float, float, float]]
    """Place and ends of each interval."""
    dots: list[tuple[float, float, str]]
    """Place of each strength, and its figure in words."""
    ticks: list[tuple[float, str]]
    levels: list[tuple[float, str]]
    zero: float


def write(path: Path, record: dict[str, Any]) -> None:
    """Writes the page."""
    artefact.write_text(path, render(record), artefact.PRIVATE)


def render(record: dict[str, Any]) -> str:
    """The page."""
    return rendered(
        SOURCES / "steer.html.j2", SOURCES / "steer.css",
        found=record, chart=chart(record["doses"]), width=WIDTH, height=HEIGHT, margin=MARGIN,
    )  # fmt: skip


def chart(doses: Sequence[dict[str, Any]]) -> Chart | None:
    """The curve; none where no answer was watched, or there is one strength."""
    if len(doses) < 2 or any(dose["change"]["value"] is None or dose["strength"] is None for dose in doses):
        return None
    strengths = [dose["strength"] for dose in doses]
    values = [dose["change"][key] for dose in doses for key in ("value", "low", "high")]
    values += [dose["controls"][key] for dose in doses if dose["controls"] for key in ("low", "high")]
    known = [value for value in values if value is not None]  # one case has no interval
    low, high = min(*known, 0.0), max(*known, 0.0)
    span = (high - low) or 1.0

    def x(strength: float) -> float:
        return MARGIN + (strength - strengths[0]) / (strengths[-1] - strengths[0]) * (WIDTH - 2 * MARGIN)

    def y(value: float) -> float:
        return HEIGHT - MARGIN / 2 - (value - low) / span * (HEIGHT - MARGIN)

    def points(pairs: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in pairs)

    sides = [
        [(dose["strength"], dose["controls"][key]) for dose in doses if dose["controls"]] for key in ("low", "high")
    ]
    changes = [(dose["strength"], dose["change"]) for dose in doses]
    return Chart(
        points([(strength, change["value"]) for strength, change in changes]),
        points([*sides[0], *reversed(sides[1])]),
        [
            (x(strength), y(change["low"]), y(change["high"]))
            for strength, change in changes
            if change["low"] is not None
        ],
        [(x(strength), y(change["value"]), f"{strength:g}: {change['value']:+.3f}") for strength, change in changes],
        [(x(strength), f"{strength:g}") for strength in strengths],
        [(y(value), f"{value:+.2f}") for value in (low, low + span / 2, low + span)],
        y(0.0),
    )
