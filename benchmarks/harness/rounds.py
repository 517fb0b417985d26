"""Racing several ways to the same result: they take turns in every round, so that a busy machine slows all of them.

A ratio is the median over the rounds of (time of the peer ÷ our time) in the same round: above 1, ours is faster.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch


def nothing(*_: Any) -> None:
    """Nothing to prepare, to clear away or to report."""


class Way(NamedTuple):
    """One way to the result."""

    run: Callable[[], Any]
    """What is timed."""
    before: Callable[[], Any] = nothing
    """What has to be there, not timed."""
    after: Callable[[], Any] = nothing
    """What is cleared away, not timed."""


class Figure(NamedTuple):
    """A measured number with its spread over the rounds."""

    value: float
    low: float
    """First quartile."""
    high: float
    """Third quartile."""


class Taken(NamedTuple):
    """What one run took."""

    seconds: float
    """By the clock on the wall."""
    processor_seconds: float
    """Of all threads of this process; its children's are not in it."""


class Times(NamedTuple):
    """What every way took in every round."""

    seconds: dict[str, list[float]]
    processor_seconds: dict[str, list[float]]

    def median(self, way: str) -> float:
        """Seconds of the middle round."""
        return statistics.median(self.seconds[way])

    def processor_median(self, way: str) -> float:
        """The same of processor time, which other programs on the machine do not lengthen as much."""
        return statistics.median(self.processor_seconds[way])

    def ratio(self, ours: str, peer: str) -> Figure:
        """How many times as long as ours the peer takes."""
        return spread([b / a for a, b in zip(self.seconds[ours], self.seconds[peer], strict=True)])


def race(ways: Mapping[str, Way], n_rounds: int) -> Times:
    """Times all ways in turn, each round beginning with another one, after one round that does not count."""
    names = list(ways)
    times: dict[str, list[Taken]] = {name: [] for name in names}
    for number in range(-1, n_rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken = timed(ways[name])
            if number >= 0:
                times[name].append(taken)
    seconds = {name: [one.seconds for one in taken] for name, taken in times.items()}
    return Times(seconds, {name: [one.processor_seconds for one in taken] for name, taken in times.items()})


def timed(way: Way) -> Taken:
    """One run, by both clocks."""
    way.before()
    start, processor_start = time.perf_counter(), time.process_time()
    way.run()
    taken = Taken(time.perf_counter() - start, time.process_time() - processor_start)
    way.after()
    return taken


def spread(values: list[float]) -> Figure:
    """Median and quartiles."""
    if len(values) < 2:
        return Figure(values[0], values[0], values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Figure(middle, low, high)


def refuse_difference(name: str, found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Ends the benchmark when a peer does not come to our result: its time would mean nothing.

    Args:
        name: The peer.
        found: Its values.
        expected: Ours.
        tolerance: Largest difference, as a share of the largest value.
    """
    if found.shape != expected.shape:
        raise SystemExit(f"{name} gives {tuple(found.shape)} values, expected {tuple(expected.shape)} as ours.")
    limit = tolerance * max(float(expected.abs().max()), 1.0)
    difference = float((found.float() - expected.float()).abs().max())
    if not difference <= limit:
        raise SystemExit(
            f"{name} gives other values than ours: they differ by {difference:.2e}, expected ≤ {limit:.2e}."
        )
