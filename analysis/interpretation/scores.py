"""Detection and fuzzing: does an explanation tell where its feature fires?

Detection: of some passages half make the feature fire; which? Fuzzing: all make it fire, but in half of them other words
are marked than it fires on; in which are the marks right? Balanced accuracy is the mean of sensitivity and
specificity; ½ is guessing.

Source: Paulo et al. 2024, arXiv:2410.13928, sections 3.2.1 and 3.2.2. Interval: Wilson 1927 for both shares, joined by the
square-and-add rule (Zou and Donner 2008), as for physicians' blind detection.

Differs from Paulo et al.: all passages are of patients that the explanation was not made from; wrong marks are as many as right
ones, in the same passage, on words that the feature is silent on.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from analysis.interpretation.passages import Evidence, Passage
from analysis.interpretation.prompts import clean, fired, marked


class Task(NamedTuple):
    """Passages in the order asked, and what is right."""

    texts: list[str]
    truth: list[bool]


class Score(NamedTuple):
    """How well answers fit."""

    balanced_accuracy: float
    low: float
    high: float
    n_positive: int
    n_negative: int


def detection(evidence: Evidence, rng: np.random.Generator) -> Task:
    """Firing and silent passages, mixed, as many of each."""
    n = min(len(evidence.firing), len(evidence.silent))
    pairs = [("".join(map(clean, one.tokens)), True) for one in evidence.firing[:n]]
    return mixed(pairs + [("".join(map(clean, one.tokens)), False) for one in evidence.silent[:n]], rng)


def fuzzing(evidence: Evidence, rng: np.random.Generator) -> Task:
    """Firing passages, every second one with the wrong words marked; those without silent words enough are left out."""
    able = [one for one in evidence.firing if 2 * sum(fired(one)) <= len(one.tokens)]
    pairs = [
        (marked(one.tokens, fired(one) if i % 2 == 0 else elsewhere(one, rng)), i % 2 == 0)
        for i, one in enumerate(able)
    ]
    return mixed(pairs, rng)


def elsewhere(passage: Passage, rng: np.random.Generator) -> list[bool]:
    """As many marks, on tokens that the feature is silent on."""
    silent = np.flatnonzero(~np.asarray(fired(passage)))
    wrong = np.zeros(len(passage.tokens), bool)
    wrong[rng.choice(silent, sum(fired(passage)), replace=False)] = True
    return wrong.tolist()


def mixed(pairs: Sequence[tuple[str, bool]], rng: np.random.Generator) -> Task:
    """In random order."""
    order = rng.permutation(len(pairs))
    return Task([pairs[i][0] for i in order], [pairs[i][1] for i in order])


def score(truth: Sequence[bool], marks: Sequence[bool]) -> Score | None:
    """The score of some marks; none where one kind is missing."""
    hits = [mark for mark, right in zip(marks, truth, strict=True) if right]
    passed = [not mark for mark, right in zip(marks, truth, strict=True) if not right]
    if not hits or not passed:
        return None
    found = [
        (sum(some) / len(some), binomtest(sum(some), len(some)).proportion_ci(0.95, "wilson"))
        for some in (hits, passed)
    ]
    value = sum(share for share, _ in found) / 2
    below = float(np.sqrt(sum((share - ends.low) ** 2 for share, ends in found))) / 2
    above = float(np.sqrt(sum((ends.high - share) ** 2 for share, ends in found))) / 2
    return Score(value, value - below, value + above, len(hits), len(passed))
