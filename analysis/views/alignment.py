"""Two tokenisations of one text, or of two texts that are much alike, on common units.

1. Both texts are laid on one axis: characters that they share are one place each, a passage that only one has, or that was
   replaced, is one place as a whole.
2. A unit ends where neither tokenisation has a token that goes on. So units are as fine as both allow, every token is in
   exactly one, and a replaced word stands beside its replacement.

Source: our own; paper 003 asks for "appropriate alignment" (4.5) and leaves it open.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

PIECE = re.compile(r"\w+|\s+|.", re.DOTALL)
Span = tuple[int, int]
"""First character and one past the last; −1 for tokens that stand for no text."""


class Unit(NamedTuple):
    """Tokens of both sides that stand for the same passage."""

    left: tuple[int, ...]
    """Their numbers; empty where the left side has nothing there."""
    right: tuple[int, ...]
    is_changed: bool
    """Whether the passage differs between the sides."""


class Axis(NamedTuple):
    """Where the characters of two texts lie on a common axis."""

    left: Int[np.ndarray, "a"]
    right: Int[np.ndarray, "b"]
    changed: frozenset[int]
    """Places where the texts differ."""


def aligned(left_text: str, left: Sequence[Span], right_text: str, right: Sequence[Span]) -> list[Unit]:
    """The common units of two tokenised texts, in order."""
    axis = common_axis(left_text, right_text)
    places = [
        *((start, end, 0, i) for i, (start, end) in enumerate(left) if (start, end) != (-1, -1)),
        *((start, end, 1, i) for i, (start, end) in enumerate(right) if (start, end) != (-1, -1)),
    ]  # fmt: skip
    found = sorted((*on_axis((axis.left, axis.right)[side], start, end), side, i) for start, end, side, i in places)
    units: list[Unit] = []
    group: list[tuple[int, int, int, int]] = []
    reach = -1
    for one in found:
        if group and one[0] >= reach:
            units.append(unit_of(group, axis.changed))
            group = []
        group.append(one)
        reach = max(reach, one[1])
    return [*units, unit_of(group, axis.changed)] if group else units


def unit_of(group: Sequence[tuple[int, int, int, int]], changed: frozenset[int]) -> Unit:
    """Tokens that hang together."""
    sides = [tuple(sorted(i for _, _, side, i in group if side == wanted)) for wanted in (0, 1)]
    places = {place for start, end, _, _ in group for place in range(start, end)}
    return Unit(sides[0], sides[1], bool(places & changed))


def on_axis(places: Int[np.ndarray, "a"], start: int, end: int) -> Span:
    """A token's span on the axis; one without a character stays where it is, as wide as a place."""
    if not len(places):
        return 0, 1
    first = int(places[min(start, len(places) - 1)])
    return first, int(places[min(max(end, start + 1), len(places)) - 1]) + 1


def common_axis(left: str, right: str) -> Axis:
    """Both texts on one axis, word by word."""
    if left == right:
        same = np.arange(len(left))
        return Axis(same, same, frozenset())
    pieces = [PIECE.findall(text) for text in (left, right)]
    ends = [np.cumsum([0, *map(len, one)]) for one in pieces]
    places = [np.zeros(len(text), int) for text in (left, right)]
    at, changed = 0, set()
    for tag, a, b, c, d in SequenceMatcher(None, *pieces, autojunk=False).get_opcodes():
        spans = [slice(ends[0][a], ends[0][b]), slice(ends[1][c], ends[1][d])]
        if tag == "equal":
            size = spans[0].stop - spans[0].start
            for side in (0, 1):
                places[side][spans[side]] = np.arange(at, at + size)
            at += size
        else:
            for side in (0, 1):
                places[side][spans[side]] = at
            changed.add(at)
            at += 1
    return Axis(places[0], places[1], frozenset(changed))


def output_spans(tokens: Sequence[str]) -> tuple[str, list[Span]]:
    """An answer's text and its tokens' places in it."""
    ends = np.cumsum([0, *map(len, tokens)]).tolist()
    return "".join(tokens), list(pairwise(ends))
