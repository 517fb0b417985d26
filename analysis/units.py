"""Mentions of annotated concepts, and passages between them: what features and probes are asked about."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BACKGROUND = ""
"""Label of passages between annotations."""


class Unit(NamedTuple):
    """One mention, or one passage of background."""

    shard: int
    start: int
    stop: int
    """Rows start … stop − 1 of a held-out shard."""
    label: str
    """Its concept, or BACKGROUND."""
    bundle: int
    """Number of its bundle of documents, which are never split apart."""

    @property
    def is_estimate(self) -> bool:
        """Whether it counts towards the estimate; else towards the choice."""
        return self.bundle % 2 == 1


def enough(is_positive: np.ndarray, estimate: np.ndarray, least: int) -> bool:
    """Whether a concept has mentions enough in both halves."""
    return int((is_positive & estimate).sum()) >= least and int((is_positive & ~estimate).sum()) >= least


def named(units: Sequence[Unit]) -> list[str]:
    """The concepts that have mentions, in alphabetical order."""
    return sorted({unit.label for unit in units} - {BACKGROUND})
