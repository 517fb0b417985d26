"""A number that never stands alone: with its interval, how many items it rests on, and whether to trust the interval."""

from collections.abc import Iterable
from typing import Any, NamedTuple

MIN_UNITS = 30
"""Fewer items with two ratings: the interval is not to be relied on. Source: measured, docs/agreement.md."""
MIN_CLASS_UNITS = 5
"""Fewer items in which a class was used at all: likewise."""
MAX_UNDEFINED = 0.05
"""Share of resamples in which the figure does not exist, above which likewise."""
UNRELIABLE = "Interval unreliable: "


class Support(NamedTuple):
    """What an estimate rests on."""

    n_items: int
    """Items with two or more ratings, or with whatever the figure needs."""
    n_raters: int
    n_ratings: int
    """Ratings of those items."""
    n_rarest: int | None = None
    """Items in which the rarest class was used; none where classes do not matter."""


class Estimate(NamedTuple):
    """One figure of agreement."""

    value: float | None
    """None where it does not exist; `reason` then says why. Never 1 or 0 in its place."""
    low: float | None
    """Lower end of the interval; none where there is none."""
    high: float | None
    n_items: int
    n_raters: int
    n_ratings: int
    method: str
    """How the interval was made."""
    reason: str = ""
    """Why there is no value, or no interval; a sentence."""
    is_reliable: bool = True
    """False: show the value, write "interval unreliable", and colour nothing."""
    warning: str = ""
    """Why the interval is unreliable; a sentence."""
    n_undefined_resamples: int = 0
    n_resamples: int = 0
    se: float | None = None
    """Standard error, where `method` gives one."""

    def record(self) -> dict[str, Any]:
        """As it stands in a JSON."""
        return self._asdict()

    def words(self) -> str:
        """Value, interval and number of items."""
        if self.value is None:
            return f"undefined (n = {self.n_items}): {self.reason}"
        low, high = ("–" if end is None else f"{end:.3f}" for end in (self.low, self.high))
        note = "" if self.is_reliable else " interval unreliable"
        return f"{self.value:.3f} [{low}, {high}] (n = {self.n_items}){note}"


def doubts(support: Support, n_undefined: int = 0, n_resamples: int = 0) -> str:
    """Why an interval is not to be relied on; empty if it is.

    Source: labelling specification; coverage of such intervals was measured at .75–.80 for 95 %.
    """
    found = []
    if support.n_items < MIN_UNITS:
        found.append(f"{counted(support.n_items, 'item')} with two ratings, fewer than {MIN_UNITS}")
    if support.n_rarest is not None and support.n_rarest < MIN_CLASS_UNITS:
        found.append(f"the rarest class in {counted(support.n_rarest, 'item')}, fewer than {MIN_CLASS_UNITS}")
    if n_resamples and n_undefined > MAX_UNDEFINED * n_resamples:
        found.append(f"no value in {n_undefined} of {n_resamples} resamples, more than {MAX_UNDEFINED:.0%}")
    return f"{UNRELIABLE}{'; '.join(found)}." if found else ""


def counted(n: int, noun: str) -> str:
    """A number of things."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def joined(warnings: Iterable[str]) -> str:
    """Several warnings as one, each ground named once; empty if there is none."""
    grounds = [
        ground for one in warnings if one for ground in one.removeprefix(UNRELIABLE).removesuffix(".").split("; ")
    ]
    return f"{UNRELIABLE}{'; '.join(dict.fromkeys(grounds))}." if grounds else ""


def undefined(support: Support, reason: str) -> Estimate:
    """An estimate that does not exist."""
    return Estimate(None, None, None, support.n_items, support.n_raters, support.n_ratings, "none", reason, False)
