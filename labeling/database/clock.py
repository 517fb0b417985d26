"""A clock that never runs backwards, whatever is done to the machine's.

Where the machine's clock jumps back, time goes on at the pace of the monotonic one until the other has caught up; where
it jumps ahead, it is followed. Both are remembered, and the audit says so.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from labeling.identifiers import timestamp

JUMP_S = 5.0
"""A smaller step is the ordinary work of a time service."""


def utc_now() -> datetime:
    """The machine's time."""
    return datetime.now(UTC)


class Clock:
    """Times for transactions, each later than the one before."""

    def __init__(self, wall: Callable[[], datetime] = utc_now, pace: Callable[[], float] = time.monotonic) -> None:
        self.wall = wall
        self.pace = pace
        self.lock = threading.Lock()
        self.last = wall()
        self.last_wall = self.last
        self.last_pace = pace()
        self.jumps: list[float] = []

    def now(self) -> str:
        """The time as it is stored."""
        with self.lock:
            wall, pace = self.wall(), self.pace()
            passed = max(pace - self.last_pace, 0.0)
            jump = (wall - self.last_wall).total_seconds() - passed
            if abs(jump) > JUMP_S:
                self.jumps.append(round(jump, 3))
            later = self.last + timedelta(seconds=passed)
            behind = wall < self.last
            self.last = max(later if behind else wall, self.last + timedelta(microseconds=1))
            self.last_wall, self.last_pace = wall, pace
            return timestamp(self.last)

    def take_jumps(self) -> list[float]:
        """Seconds of each jump since the last call, backwards negative."""
        with self.lock:
            jumps, self.jumps = self.jumps, []
            return jumps
