"""Calibration gates: may this rater go on, is this codebook clear enough.

A gate never weighs and never blocks for good: a rater who does not pass repeats the calibration round, a codebook that
does not pass goes to discussion and comes back as a new version.
"""

from typing import NamedTuple

from labeling.queue_policy import QueuePolicy
from sae.errors import UserError


class Gate(NamedTuple):
    """What a gate said."""

    is_passed: bool
    value: float | None
    """Accuracy on gold items, or alpha; none where nothing was measured."""
    low: float | None
    """Lower bound, which is what has to reach the target."""
    target: float
    sentence: str


class Share(NamedTuple):
    """A share of trials with Wilson's 95 % interval."""

    value: float
    low: float
    high: float
    n: int


def share(n_right: int, n: int) -> Share:
    """Share of right answers among n ≥ 1.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22:209–212.
    """
    from scipy.stats import binomtest  # it takes a second to load, which a server's start does not have

    if not 0 <= n_right <= n or n == 0:
        raise UserError(f"{n_right} of {n} answers are right, expected 0 to n of at least one. Count them anew.")
    found = binomtest(n_right, n).proportion_ci(0.95, "wilson")
    return Share(n_right / n, float(found.low), float(found.high), n)


def rater_gate(n_right: int, n_gold: int, policy: QueuePolicy) -> Gate:
    """Whether a rater's answers to the calibration round's gold items reach the target."""
    target = policy.gold_target
    if n_gold == 0:
        return Gate(False, None, None, target, "No gold item has been answered yet.")
    found = share(n_right, n_gold)
    passed = found.low >= target
    said = f"{n_right} of {n_gold} gold items right, lower bound {found.low:.2f}"
    outcome = f"at least {target:g}: passed." if passed else f"below {target:g}: the calibration round is repeated."
    return Gate(passed, found.value, found.low, target, f"{said}, {outcome}")


def codebook_gate(alpha: float | None, alpha_low: float | None, policy: QueuePolicy) -> Gate:
    """Whether a codebook's primary field was understood alike; alpha and its lower bound come from the statistics."""
    target = policy.alpha_target
    if alpha is None or alpha_low is None:
        return Gate(
            False,
            alpha,
            alpha_low,
            target,
            f"Alpha or its lower bound is undefined, at least {target:g} is wanted: rate more, or more varied, items.",
        )
    passed = alpha_low >= target
    outcome = f"at least {target:g}: passed." if passed else f"below {target:g}: the codebook goes to discussion."
    return Gate(passed, alpha, alpha_low, target, f"Alpha {alpha:.2f}, lower bound {alpha_low:.2f}, {outcome}")
