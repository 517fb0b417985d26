"""The heat maps: one self-contained page for a set of cases, that runs no code and loads nothing.

It holds the texts, so only its owner may read it. Colours are blue for and orange against the target, which people with
any common colour blindness tell apart; every value also stands as text.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clinlens.attribution.graph import Drawing, drawings
from labeling.standalone_page import rendered
from sae import artefact

SOURCES = Path(__file__).parent
N_SHADES = 10
N_STRONGEST = 8
NOT_ATTRIBUTED = "not attributed"
MOST_COLUMNS = 40
"""Targets of one answer that are shown apart."""


class Piece(NamedTuple):
    """A stretch of the text in one colour."""

    text: str
    shade: str
    """Class of its colour; empty for none."""
    value: str
    """The score, in figures, or that there is none; empty between tokens."""


class Strong(NamedTuple):
    """A token among the strongest."""

    text: str
    value: str


class Map(NamedTuple):
    """One heat map."""

    label: str
    pieces: list[Piece]
    full: str
    """The score that has the fullest colour."""
    strongest: list[Strong]


class Shown(NamedTuple):
    """One method on one case."""

    method: str
    explained: str
    """What the scores are about."""
    settings: str
    caveat: str
    figures: list[str]
    """Completeness, cost: one phrase each."""
    total: Map
    columns: list[Map]
    """One per target, where there are several."""
    graphs: list[Drawing]
    """What connects tokens, features and the answer, where the method is the bridge."""


def write(path: Path, records: Sequence[dict[str, Any]], profile: dict[str, Any]) -> None:
    """Writes the page."""
    artefact.write_text(path, render(records, profile), artefact.PRIVATE)


def render(records: Sequence[dict[str, Any]], profile: dict[str, Any]) -> str:
    """The page."""
    cases = [{"record": one, "shown": [shown(one, result) for result in one["results"]]} for one in records]
    return rendered(
        SOURCES / "attribution.html.j2", SOURCES / "attribution.css",
        cases=cases, profile=profile, n_shades=N_SHADES,
    )  # fmt: skip


def shown(record: dict[str, Any], result: dict[str, Any]) -> Shown:
    """One method on one case."""
    given, raw, fixed = record["input"], result["attribution"]["raw"], result["origin"]["fixed"]
    settings = {
        key: value for key, value in result["origin"]["settings"].items() if key not in ("method", "batch_tokens")
    }
    labels = result["output"]["tokens"]
    columns = [] if len(labels) == 1 else [
        heat_map(given, [row[t] for row in raw], label, fixed) for t, label in enumerate(labels[:MOST_COLUMNS])
    ]  # fmt: skip
    words = ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)
    importance = result["attribution"]["aggregated"]["token_importance"]["input"]
    total = heat_map(given, importance, result["output"]["text"], fixed)
    graphs = drawings(result["bridge"]) if "bridge" in result else []
    return Shown(
        result["method"], result["explained"], words, result["faithfulness"]["caveat"], figures(result), total, columns, graphs
    )  # fmt: skip


def figures(result: dict[str, Any]) -> list[str]:
    """What the method says of its own reliability and cost."""
    found, spent = [], result["profile"]
    before, after = result["faithfulness"]["completeness"], result["faithfulness"]["after_correction"]
    is_relevance = "kept_by_softmax" in result["diagnostics"]
    if before:
        what = "attention's softmax and biases keep" if is_relevance else "scores miss the total by"
        found.append(f"{what} {worst(before):.1%} of {'the relevance' if is_relevance else 'their size'}")
    if after:
        found.append(f"{'biases alone' if is_relevance else 'after correction'} {worst(after):.1g}")
    if result["diagnostics"].get("is_converged") is False:
        found.append("not converged: more steps than allowed were needed")
    found.append(f"{spent['seconds']:.2f} s, {spent['n_forwards']} forwards, {spent['n_backwards']} backwards")
    found.append(f"{spent['peak_extra_bytes'] / 2**20:.0f} MiB more memory")
    return found


def worst(completeness: Sequence[dict[str, float]]) -> float:
    """The largest gap over the targets, as a share of the scores' size."""
    return max(one["gap_of_mass"] for one in completeness)


def heat_map(given: dict[str, Any], scores: Sequence[float], label: str, fixed: Collection[int] = ()) -> Map:
    """The text with each token in its colour; what lies between tokens stays as it is.

    Args:
        given: The record's input.
        scores: One per token.
        label: What is explained.
        fixed: Tokens that were held fixed: like special ones they have no score.
    """
    full = max((abs(value) for value in scores), default=0.0)
    pieces, end = [], 0
    for i, (token, (start, stop), is_special, value) in enumerate(
        zip(given["tokens"], given["offsets"], given["is_special"], scores, strict=True)
    ):
        is_free = not is_special and i not in fixed
        if start < 0:
            pieces.append(Piece(f"{token} ", "special", NOT_ATTRIBUTED))
            continue
        if start > end:
            pieces.append(Piece(given["text"][end:start], "", ""))
        text = given["text"][max(start, end) : stop]
        shade, figure = (shade_of(value, full), f"{value:+.4g}") if is_free else ("special", NOT_ATTRIBUTED)
        pieces.append(Piece(text, shade, figure))
        end = max(end, stop)
    pieces.append(Piece(given["text"][end:], "", ""))
    order = sorted(range(len(scores)), key=lambda i: -abs(scores[i]))[:N_STRONGEST]
    strongest = [Strong(given["tokens"][i], f"{scores[i]:+.4g}") for i in order if scores[i] != 0]
    return Map(label, [piece for piece in pieces if piece.text], f"{full:.3g}", strongest)


def shade_of(value: float, full: float) -> str:
    """The class of a colour: sign and one of ten steps; none for nothing."""
    step = round(N_SHADES * abs(value) / full) if full > 0 else 0
    return f"{'for' if value > 0 else 'against'}{step}" if step else "none"
