"""Models that stay loaded, up to so many bytes: the one used longest ago goes first."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class LRU(Generic[Key, Value]):
    """Values by key, whose sizes add up to a limit; the newest is kept even where it alone is larger.

    Args:
        max_bytes: The limit.
        make: Gives a value.
        size: Its bytes.
    """

    def __init__(self, max_bytes: int, make: Callable[[Key], Value], size: Callable[[Value], int]) -> None:
        self.max_bytes, self.make, self.size = max_bytes, make, size
        self.kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def get(self, key: Key) -> Value:
        """The value of a key, made if it is not there."""
        if key not in self.kept:
            value = self.make(key)
            self.kept[key] = (value, self.size(value))
        self.kept.move_to_end(key)
        while self.n_bytes > self.max_bytes and len(self.kept) > 1:
            self.kept.popitem(last=False)
        return self.kept[key][0]

    @property
    def n_bytes(self) -> int:
        """Of all that is kept."""
        return sum(size for _, size in self.kept.values())
