"""How far the price of active features can move before another SAE is taken: exactly, from where worths cross.

1. Worth is a straight line over the price: what an SAE keeps − price × log2(L0).
2. An SAE's standing changes only where its line lies the tolerance below another's. A fixed tolerance makes that the
   root of a line. One from seeds is a standard deviation of worths, whose square is a parabola over the price, and so
   the roots are a parabola's.
3. Between two neighbouring such prices nothing changes, so that one look there stands for all of it. From the
   configured price outwards, the first piece that takes another ends the range.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Line(NamedTuple):
    """The worth of an SAE over the price."""

    kept: float
    doublings: float
    """log2 of its L0."""


class Tolerance(NamedTuple):
    """What differences of worth decide nothing, squared, over the price: constant − 2 × mixed × price + square × price²."""

    constant: float
    mixed: float = 0.0
    square: float = 0.0

    def crossings(self, one: Line, other: Line) -> list[float]:
        """The prices at which two worths are the tolerance apart; others may be among them, which does no harm."""
        kept, doublings = one.kept - other.kept, one.doublings - other.doublings
        if self.mixed == 0 == self.square:
            width = math.sqrt(self.constant)
            return [(kept - side) / doublings for side in (width, -width)] if doublings else []
        a, b, c = doublings**2 - self.square, kept * doublings - self.mixed, kept**2 - self.constant
        # a price² − 2 b price + c = 0, without the difference of near numbers; rounding may put a double root below 0
        sum_of = b + math.copysign(math.sqrt(max(b * b - a * c, 0.0)), b)
        return [top / bottom for top, bottom in ((sum_of, a), (c, sum_of)) if bottom]


def price_range(price: float, crossings: Iterable[float], is_same: Callable[[float], bool]) -> tuple[float, float]:
    """The prices around one at which the same is taken, as the two ends where that may change.

    Args:
        price: The one in the middle.
        crossings: Every price at which something may change.
        is_same: Whether the same is taken at a price.
    """
    known = sorted({one for one in crossings if math.isfinite(one) and one > 0})
    below = [*(one for one in reversed(known) if one < price), *([0.0] if price > 0 else [])]
    above = [*(one for one in known if one > price), math.inf]
    return reach(price, below, is_same), reach(price, above, is_same)


def reach(start: float, crossings: Iterable[float], is_same: Callable[[float], bool]) -> float:
    """The crossing up to which the same is taken, going outwards from a price."""
    end = start
    for crossing in crossings:
        between = 2 * end + 1 if math.isinf(crossing) else (end + crossing) / 2
        if not is_same(between):
            return end
        end = crossing
        if math.isinf(end) or not is_same(end):  # another may be taken at the crossing alone
            return end
    return end
