"""How much one more judgement would tell: expected information of this rater's answer about that item's class, in bits.

I = H(answer) − Σ_k p(k) H(answer | class k), with p the item's posterior and the rater's confusion matrix for the answers.
It is 0 for a rater who answers at random and for an item that is settled, and never more than the item's own entropy times
the rater's contraction (the largest total variation between two rows of the matrix), which lets `most_informative` look at
the most uncertain items first and stop as soon as none of the rest can win.

Source: Lindley 1956, "On a measure of the information provided by an experiment"; the bound is the strong data processing
inequality with Dobrushin's coefficient, Polyanskiy and Wu 2017, arXiv:1508.06025.
"""

from typing import NamedTuple, Protocol

import numpy as np

from labeling.votes import entropy

FIRST_CHUNK, GROWTH = 1024, 8
"""The most uncertain so many items are looked at first, then eight times as many."""


MARGIN = 1e-9
"""Bits that rounding may take from a bound."""


class Uncertain(Protocol):
    """What is known of items: a pool, or as much of one."""

    posterior: np.ndarray
    """[n, n_classes]."""
    entropy: np.ndarray
    """[n] bits."""


class MostInformative(NamedTuple):
    """The item on which a rater's answer is expected to tell most."""

    place: int
    """Where it stands."""
    information: float
    """Bits, with its factor."""
    n_looked_at: int
    """Items whose information was computed before none of the rest could win."""


def expected_information(posterior: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """[n_items] bits that one rater's answer is expected to give.

    Args:
        posterior: [n_items, n_classes].
        confusion: [n_classes, n_classes] probability of each answer given the class.
    """
    return np.maximum(entropy(posterior @ confusion) - posterior @ entropy(confusion), 0.0)


def of_many(posterior: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """The same, those rows that equal the first one being computed once: most items of a young round are alike."""
    alike = np.ones(len(posterior), bool)
    for column in posterior.T:
        alike &= column == column[0]
    alike[0] = False
    value = np.empty(len(posterior))
    value[~alike] = expected_information(posterior[~alike], confusion)
    value[alike] = value[0]
    return value


def contraction(confusion: np.ndarray) -> float:
    """The largest total variation between the answers to two classes: 1 for a perfect rater, 0 for a random one."""
    return float(np.abs(confusion[:, None] - confusion[None]).sum(axis=2).max() / 2)


def most_informative(
    pool: Uncertain,
    places: np.ndarray,
    confusion: np.ndarray,
    tie_break: np.ndarray,
    factor: np.ndarray | None = None,
) -> MostInformative:
    """The best of many items, looking at as few as need be.

    Args:
        pool: Posteriors and their entropies.
        places: Items to choose from, one or more.
        confusion: [n_classes, n_classes] of the rater.
        tie_break: [len(pool)] of items that tell equally much, the one with the smallest is taken.
        factor: [len(places)] by which an item's information is multiplied; none for 1.
    """
    bound = pool.entropy[places] * contraction(confusion) + MARGIN
    if factor is not None:
        bound = bound * factor
    left, chunk, n_looked_at = np.arange(len(places)), FIRST_CHUNK, 0
    best = (-1.0, -1)
    while len(left):
        part, left = split(left, bound, chunk)
        value = of_many(pool.posterior[places[part]], confusion)
        value = np.round(value if factor is None else value * factor[part], 12)
        n_looked_at, chunk = n_looked_at + len(part), chunk * GROWTH
        top = places[part[value == value.max()]]
        place = int(top[tie_break[top].argmin()])
        if value.max() > best[0] or (value.max() == best[0] and tie_break[place] < tie_break[best[1]]):
            best = (float(value.max()), place)
        left = left[bound[left] >= best[0]]
    return MostInformative(best[1], best[0], n_looked_at)


def split(left: np.ndarray, bound: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The n items with the largest bounds, with all that equal the last of them, so that order plays no part; the rest."""
    if len(left) <= n:
        return left, left[:0]
    some = bound[left]
    is_next = some >= np.partition(some, len(left) - n)[len(left) - n]
    return left[is_next], left[~is_next]
