"""Pictures of the page, drawn as SVG by hand: no script, no font of its own, the same bytes for the same figures.

Colours come from the page's style by class, so that the dark page is dark here too. Each picture has words that say what
it shows, and a table with the same figures beside it.
"""

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

from markupsafe import Markup, escape

Figures = Mapping[str, Any]
WIDTH, LEFT, RIGHT, ROW = 1000, 300, 60, 30


def scaled(value: float, low: float, high: float) -> float:
    """Where a value lies across the picture."""
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - low) / (high - low), 2)


def svg(height: int, title: str, parts: Sequence[str]) -> Markup:
    """A picture with its title for those who do not see it."""
    body = "".join(parts)
    return Markup(  # noqa: S704 - numbers and escaped texts alone
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Words at a place."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A line of a kind."""
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" class="{kind}"/>'


def dot(x: float, y: float, kind: str) -> str:
    """A point of a kind."""
    return f'<circle cx="{x:g}" cy="{y:g}" r="5" class="{kind}"/>'


def forest(rows: Sequence[tuple[str, Figures]], title: str) -> Markup:
    """Estimates with their intervals, one below the other; a hollow point where the interval is unreliable.

    Args:
        rows: Names and estimates that have a value.
        title: What it shows.
    """
    known = [(name, one) for name, one in rows if one["value"] is not None]
    ends = [one[key] for _, one in known for key in ("low", "value") if one[key] is not None]
    low = min(0.0, 0.25 * floor(min(ends, default=0.0) / 0.25))
    height = ROW * len(known) + 46
    parts = axis(low, height)
    for place, (name, one) in enumerate(known):
        y = 24 + ROW * place
        parts.append(text(LEFT - 14, y + 5, name, "name", "end"))
        if one["low"] is not None:
            kind = "interval" if one["is_reliable"] else "interval doubtful"
            parts.append(line(scaled(one["low"], low, 1), y, scaled(one["high"], low, 1), y, kind))
        parts.append(dot(scaled(one["value"], low, 1), y, "point" if one["is_reliable"] else "point doubtful"))
    return svg(height, title, parts)


def axis(low: float, height: int) -> list[str]:
    """Lines every quarter, with their values."""
    n = round((1 - low) / 0.25)
    parts = []
    for step in range(n + 1):
        value = low + 0.25 * step
        x = scaled(value, low, 1)
        parts.append(line(x, 8, x, height - 30, "zero" if value == 0 else "grid"))
        parts.append(text(x, height - 12, f"{value:g}".replace("-", "−"), "tick", "middle"))
    return parts


def reliability(bins: Sequence[Figures]) -> Markup:
    """Stated confidence across, share of right answers upwards, and the diagonal on which both are equal."""
    size, left, top = 320, 70, 16

    def x(value: float) -> float:
        return round(left + size * value, 2)

    def y(value: float) -> float:
        return round(top + size * (1 - value), 2)

    parts = [line(x(0), y(0), x(1), y(1), "zero")]
    for step in range(5):
        value = step / 4
        parts += [line(x(value), y(0), x(value), y(1), "grid"), line(x(0), y(value), x(1), y(value), "grid")]
        parts += [text(x(value), y(0) + 20, f"{value:.0%}", "tick", "middle")]
        parts += [text(x(0) - 8, y(value) + 5, f"{value:.0%}", "tick", "end")]
    for one in bins:
        accuracy = one["accuracy"]
        kind = "" if accuracy["is_reliable"] else " doubtful"
        parts.append(
            line(x(one["confidence"]), y(accuracy["low"]), x(one["confidence"]), y(accuracy["high"]), f"interval{kind}")
        )
        parts.append(dot(x(one["confidence"]), y(accuracy["value"]), f"point{kind}"))
    parts.append(text(x(0.5), y(0) + 42, "stated confidence", "name", "middle"))
    words = [
        "Up: the share of answers that were right,",
        "with 95 % intervals. Below the diagonal",
        "raters were surer than they should be.",
    ]
    parts += [text(x(1) + 50, y(1) + 30 + 24 * n, words_of_line, "name") for n, words_of_line in enumerate(words)]
    return svg(top + size + 54, "Share of right answers by stated confidence, beside the diagonal", parts)
