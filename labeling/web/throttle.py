"""Who asks too often must wait a little; nobody is ever locked out."""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MAX_ADDRESSES = 10_000


class Throttle:
    """A bucket of requests for each address, which fills again with time."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self.clock = clock
        self.buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.lock = threading.Lock()

    def wait_s(self, address: str) -> int:
        """Takes one request from the bucket: 0, or the seconds until there is one again."""
        with self.lock:
            now = self.clock()
            left, at = self.buckets.pop(address, (float(self.per_minute), now))
            left = min(self.per_minute, left + (now - at) * self.per_minute / 60)
            is_due = left >= 1
            self.buckets[address] = (left - 1 if is_due else left, now)
            while len(self.buckets) > MAX_ADDRESSES:
                self.buckets.popitem(last=False)
            return 0 if is_due else math.ceil((1 - left) * 60 / self.per_minute)
