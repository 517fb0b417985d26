"""Which changed tokens change most: the answer's score, and where the scores stand.

Source: "sensitivity analysis identifying which tokens produce significant changes when modified" of 5.1 in paper 003.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Effect(NamedTuple):
    """What one edit did under one model and method."""

    edit: dict[str, Any]
    """Token, what it was, what stands there instead."""
    score_change: float | None
    """Of the answer, edited minus original; None where another answer was given."""
    is_answer_changed: bool
    moved: float | None
    """Share of the mass that stands elsewhere."""


def ranked(effects: Sequence[Effect]) -> list[Effect]:
    """The most telling first: another answer, then the larger change of the score, then what moved more."""

    def weight(effect: Effect) -> tuple[bool, float, float]:
        change = abs(effect.score_change) if effect.score_change is not None else 0.0
        return effect.is_answer_changed, change, effect.moved or 0.0

    return sorted(effects, key=weight, reverse=True)
