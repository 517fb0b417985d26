"""Blind detection: from a label alone, which held-out contexts does the feature fire on? Validity, not agreement.

1. A task shows a label and 10 to 20 contexts that the label's author has not seen: half fire, drawn evenly from the
   quantiles of activation, half are hard negatives. Their order is shuffled by a seed.
2. A rater who has not judged the feature marks those that fire. Balanced accuracy, with an interval, says how good the
   label is; ½ is guessing.
3. Fuzzing: the contexts all fire, but in half of them the wrong tokens are highlighted; the rater marks the right ones.
4. Pooled over the labels a person wrote, it says how good an author they are, by outcome.

Contexts are ids: what they say stays where it is.

Source: detection and fuzzing scores of Paulo et al. 2024, arXiv:2410.13928, there answered by language models.
# Differs from it: positives are stratified by quantile and negatives are hard ones, because a label that only fits the
# strongest contexts should show.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from labeling.gates import Share, share
from labeling.pool import code_of
from sae.errors import UserError

MIN_CONTEXTS, MAX_CONTEXTS = 10, 20


class Shown(NamedTuple):
    """One context of a task."""

    context_id: str
    is_positive: bool
    """It fires; in fuzzing, its highlight is right. Never sent to the rater."""
    quantile: int | None
    """Stratum of a positive; none of a negative."""


class Task(NamedTuple):
    """What a rater is asked about one label."""

    contexts: tuple[Shown, ...]
    """In the order shown."""
    kind: str
    """`detection` or `fuzzing`."""

    @property
    def blind(self) -> tuple[str, ...]:
        """Ids in the order shown: all that may be sent."""
        return tuple(one.context_id for one in self.contexts)


class Score(NamedTuple):
    """How well marks fit."""

    balanced_accuracy: float
    """Mean of sensitivity and specificity; ½ for guessing."""
    low: float
    """95 % interval: from the Wilson intervals of both, by the square-and-add rule."""
    high: float
    sensitivity: Share
    specificity: Share
    by_quantile: dict[int, float]
    """Share of each quantile's contexts that were found: labels that fit only the strongest show here."""


def detection_task(
    positives: Mapping[int, Sequence[str]], hard_negatives: Sequence[str], n_contexts: int, seed: int, item_id: str
) -> Task:
    """Half contexts that fire, evenly from the quantiles, and half hard negatives.

    Args:
        positives: Held-out context ids by quantile of activation.
        hard_negatives: Context ids that do not fire and look as if they could, held-out.
        n_contexts: 10 to 20, even.
        seed: Of the draw.
        item_id: Of the item: each has its own draw.

    Raises:
        UserError: Too few contexts, or an id among both.
    """
    half, rng = halved(n_contexts), np.random.default_rng((seed, code_of(item_id)))
    both = set(hard_negatives) & {one for some in positives.values() for one in some}
    if both:
        raise UserError(
            f"{len(both)} contexts stand among both firing and silent ones, expected none. Draw hard negatives anew."
        )
    fire = [Shown(one, True, quantile) for quantile, one in stratified(positives, half, rng)]
    silent = [Shown(one, False, None) for one in drawn(sorted(set(hard_negatives)), half, rng, "hard negatives")]
    return mixed(fire + silent, "detection", rng)


def fuzzing_task(positives: Mapping[int, Sequence[str]], n_contexts: int, seed: int, item_id: str) -> Task:
    """Contexts that all fire, half of them to be shown with the wrong tokens highlighted."""
    half, rng = halved(n_contexts), np.random.default_rng((seed, code_of(item_id), 1))
    some = stratified(positives, 2 * half, rng)
    is_right = np.zeros(2 * half, bool)
    is_right[::2] = True  # neighbours are of one quantile, or of the next: both halves hold all of them
    shown = [Shown(one, bool(right), quantile) for (quantile, one), right in zip(some, is_right, strict=True)]
    return mixed(shown, "fuzzing", rng)


def halved(n_contexts: int) -> int:
    """Half of the contexts of a task."""
    if n_contexts % 2 or not MIN_CONTEXTS <= n_contexts <= MAX_CONTEXTS:
        raise UserError(
            f"A task of {n_contexts} contexts was asked for, expected an even number from {MIN_CONTEXTS} to "
            f"{MAX_CONTEXTS}. Change it."
        )
    return n_contexts // 2


def stratified(positives: Mapping[int, Sequence[str]], n: int, rng: np.random.Generator) -> list[tuple[int, str]]:
    """n contexts with their quantile, in turns from all quantiles that have some left, ordered by quantile."""
    left = {q: list(rng.permutation(sorted(set(some)))) for q, some in sorted(positives.items())}
    if sum(map(len, left.values())) < n:
        raise UserError(
            f"There are {sum(map(len, left.values()))} held-out contexts that fire, expected {n}. "
            "Take more examples, or fewer contexts per task."
        )
    found: list[tuple[int, str]] = []
    while len(found) < n:
        for quantile, some in left.items():
            if some and len(found) < n:
                found.append((quantile, str(some.pop())))
    return sorted(found, key=lambda one: one[0])


def drawn(some: Sequence[str], n: int, rng: np.random.Generator, name: str) -> list[str]:
    """n of some ids."""
    if len(some) < n:
        raise UserError(f"There are {len(some)} held-out {name}, expected {n}. Take more, or fewer contexts per task.")
    return [str(one) for one in rng.permutation(some)[:n]]


def mixed(shown: list[Shown], kind: str, rng: np.random.Generator) -> Task:
    """In random order."""
    return Task(tuple(shown[int(place)] for place in rng.permutation(len(shown))), kind)


def score(answers: Iterable[tuple[Task, frozenset[str]]]) -> Score:
    """Scores one task's marks, or the marks of several together.

    Args:
        answers: Tasks, each with the context ids that the rater marked.

    Raises:
        UserError: Marks of contexts that were not shown, or no answers.
    """
    found: list[tuple[Shown, bool]] = []
    for task, marked in answers:
        strangers = marked - set(task.blind)
        if strangers:
            raise UserError(f"{len(strangers)} marked contexts were not shown, expected none. Send the task's own ids.")
        found += [(one, one.context_id in marked) for one in task.contexts]
    hit = [is_marked for one, is_marked in found if one.is_positive]
    passed = [not is_marked for one, is_marked in found if not one.is_positive]
    sensitivity, specificity = share(sum(hit), len(hit)), share(sum(passed), len(passed))
    value = (sensitivity.value + specificity.value) / 2
    below = np.hypot(sensitivity.value - sensitivity.low, specificity.value - specificity.low) / 2
    above = np.hypot(sensitivity.high - sensitivity.value, specificity.high - specificity.value) / 2
    return Score(value, float(value - below), float(value + above), sensitivity, specificity, by_quantile(found))


def by_quantile(found: Sequence[tuple[Shown, bool]]) -> dict[int, float]:
    """Share of each quantile's positives that were marked."""
    marks: dict[int, list[bool]] = {}
    for one, is_marked in found:
        if one.is_positive and one.quantile is not None:
            marks.setdefault(one.quantile, []).append(is_marked)
    return {quantile: float(np.mean(some)) for quantile, some in sorted(marks.items())}


def by_author(answers: Iterable[tuple[str, Task, frozenset[str]]]) -> dict[str, Score]:
    """One score per author of labels, over all tasks made from them: (author, task, marked ids)."""
    grouped: dict[str, list[tuple[Task, frozenset[str]]]] = {}
    for author, task, marked in answers:
        grouped.setdefault(author, []).append((task, marked))
    return {author: score(some) for author, some in sorted(grouped.items())}
