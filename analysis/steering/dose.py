"""Dose–response: how a given answer's probability moves with the strength, beside matched random features at the same strength.

For each strength and case the change of the answer's log-odds against the clean model; its mean over cases with an interval
over cases; and the same for every set of controls (one matched feature for each steered one, changed alike). An effect is
believed where it lies beyond what controls do: `p_value` = (1 + controls that move it at least as far) / (1 + controls), and
the interval of the difference from the controls' mean.

Source of the p-value: Phipson & Smyth 2010, "Permutation P-values Should Never Be Zero" (arXiv:1603.05766).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from analysis.faithfulness.intervals import Mean, mean
from analysis.steering.answers import Answers, Question, answers, divergence
from analysis.steering.change import Change
from analysis.steering.controls import FeatureTable, matched
from analysis.steering.steering import Steering


class Compared(NamedTuple):
    """Matched random features changed in the same way."""

    changes: tuple[float, ...]
    """Mean change of log-odds by each set of controls."""
    beyond: Mean
    """Change by the steered features less the mean of the controls', over cases."""
    p_value: float

    def record(self) -> dict[str, Any]:
        """As JSON, with where 95 % of the controls lie."""
        low, high = np.quantile(self.changes, [0.025, 0.975])
        return {
            "n": len(self.changes), "mean": float(np.mean(self.changes)), "low": float(low), "high": float(high),
            "changes": list(self.changes), "beyond": self.beyond.record(), "p_value": self.p_value,
        }  # fmt: skip


class Dose(NamedTuple):
    """One strength."""

    changes: tuple[Change, ...]
    probability: Mean
    """Of the answer, under the changes."""
    change: Mean
    """Of the answer's log-odds, against the clean model."""
    kl: Mean
    """Of the next token after the cases, in nats: also where no answer is given."""
    controls: Compared | None
    """None where no answer is given, or no control asked for."""
    per_case: Float[np.ndarray, "cases"]
    """Change of each case's log-odds."""

    def record(self) -> dict[str, Any]:
        """As JSON."""
        figures = {name: getattr(self, name).record() for name in ("probability", "change", "kl")}
        strengths = sorted({change.strength for change in self.changes})
        return {
            "strength": strengths[0] if len(strengths) == 1 else None, **figures,
            "controls": None if self.controls is None else self.controls.record(),
            "changes": [change.model_dump(mode="json") for change in self.changes],
        }  # fmt: skip


class Curve(NamedTuple):
    """The response to all strengths."""

    clean_probability: Mean
    """Of the answer, by the model as it is."""
    doses: tuple[Dose, ...]
    controls: tuple[tuple[int, ...], ...]
    """Features of each set of controls, in the order of the changes."""


def curve(
    steering: Steering, questions: Sequence[Question], doses: Sequence[Sequence[Change]],
    controls: Sequence[Sequence[int]] = (), seed: int = 0,
) -> Curve:  # fmt: skip
    """Measures strengths.

    Args:
        steering: The model; its own changes do not count.
        questions: Cases with the answer whose probability is watched, or without one.
        doses: The changes of each strength, the same features each time.
        controls: Sets of features, one for each change of a dose.
        seed: Of the resamples.
    """
    clean = answers(steering.clean, questions)
    has_answer = bool(np.isfinite(clean.log_prob).any())
    sets = controls if has_answer else ()
    found = tuple(measured(steering, questions, tuple(changes), sets, clean, seed) for changes in doses)
    return Curve(over_cases(clean.probability, seed), found, tuple(tuple(one) for one in sets))


def measured(
    steering: Steering, questions: Sequence[Question], changes: tuple[Change, ...],
    controls: Sequence[Sequence[int]], clean: Answers, seed: int,
) -> Dose:  # fmt: skip
    """One strength, and its controls."""

    def response(some: Sequence[Change]) -> Answers:
        return answers(steering.with_changes(some), questions)

    own = response(changes)
    moved = own.log_odds - clean.log_odds
    others = [response(moved_to(changes, features)).log_odds - clean.log_odds for features in controls]
    kl = divergence(clean.next_token, own.next_token).numpy()
    compared = None if not others else beyond(moved, np.stack(others), seed)
    probability, change, apart = (over_cases(one, seed) for one in (own.probability, moved, kl))
    return Dose(changes, probability, change, apart, compared, moved)


def over_cases(values: Float[np.ndarray, "cases"], seed: int) -> Mean:
    """Mean and interval; one case has no interval, and a row of equal ends would look like certainty."""
    found = mean(values, seed)
    return found if found.n > 1 else found._replace(low=float("nan"), high=float("nan"))


def beyond(moved: Float[np.ndarray, "cases"], others: Float[np.ndarray, "controls cases"], seed: int) -> Compared:
    """A change beside the controls'."""
    means = np.nanmean(others, 1)
    n_as_far = int((np.abs(means) >= abs(np.nanmean(moved))).sum())
    return Compared(
        tuple(map(float, means)), over_cases(moved - others.mean(0), seed), (1 + n_as_far) / (1 + len(means))
    )


def moved_to(changes: Sequence[Change], features: Sequence[int]) -> tuple[Change, ...]:
    """The same changes of other features; a clamp keeps its activation, so that what it adds is as long."""
    return tuple(
        change.model_copy(update={"feature": feature}) for change, feature in zip(changes, features, strict=True)
    )


def control_sets(
    changes: Sequence[Change], tables: dict[str, FeatureTable], n: int, seed: int
) -> tuple[tuple[int, ...], ...]:
    """Sets of matched random features, one for each change, none of them steered and none twice in a set.

    Args:
        changes: What is steered.
        tables: Of the features at each hook point.
        n: How many sets.
        seed: Of the draws.

    Raises:
        UserError: Too few features fire.
    """
    columns: list[tuple[int, ...]] = []
    for number, change in enumerate(changes):
        alike = [other for other in changes if other.hook_point == change.hook_point]
        used = [
            one for column, other in zip(columns, changes, strict=False) if other in alike for one in column
        ]  # fmt: skip
        taken = [*(other.feature for other in alike if other.feature != change.feature), *used]
        drawn = matched(tables[change.hook_point], change.feature, n, seed, taken)
        columns.append(tuple(int(one) for one in np.random.default_rng((seed, number)).permutation(drawn)))
    return tuple(zip(*columns, strict=True))
