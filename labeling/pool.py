"""Items that can be served, as records and as columns.

`Candidate` is what the database hands over; `Pool` holds the same as columns, so that one choice among 100,000 items takes
milliseconds. A pool is built once and kept up to date with `update`; for the few hundred items that a query leaves it can
as well be built for each choice.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from labeling.votes import entropy
from sae.errors import UserError

Stratum = Literal["calibration", "retest", "gold", "irr_fixed", "adaptive", "single"]
STRATA: tuple[Stratum, ...] = ("calibration", "retest", "gold", "irr_fixed", "adaptive", "single")
Index = dict[str, np.ndarray]


class Candidate(NamedTuple):
    """One item of a round, as the queue sees it."""

    item_id: str
    stratum: Stratum
    family: str
    """Features of one family are near-duplicates: shown far from each other."""
    posterior: tuple[float, ...]
    """Of the item's class; the classes' shares where nobody has judged it."""
    n_judgements: int = 0
    """Submitted."""
    n_open: int = 0
    """Being judged at this moment."""
    slots: int | None = None
    """Judgements wanted: the fixed overlap of `irr_fixed`, the limit of all else; none for the policy's."""
    specialty: str = ""
    authors: frozenset[str] = frozenset()
    """Raters who suggested a label of this item."""
    sites: frozenset[str] = frozenset()
    """Patients or sites that the evidence comes from."""
    adjudicators: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    """Raters with another declared conflict."""
    only_for: frozenset[str] = frozenset()
    """Raters that it is meant for, as retests are; empty for all."""
    due_day: int | None = None
    """Day from which on a retest is due."""


@dataclass(eq=False)
class Pool:
    """Candidates as columns, all in the same order."""

    item_ids: list[str]
    stratum: np.ndarray
    """[n] index into `STRATA`."""
    family: list[str]
    specialty: np.ndarray
    """[n] objects."""
    posterior: np.ndarray
    """[n, n_classes]."""
    entropy: np.ndarray
    """[n] bits of the posterior."""
    best: np.ndarray
    """[n] probability of the best answer."""
    n_judgements: np.ndarray
    n_open: np.ndarray
    slots: np.ndarray
    """[n] −1 for the policy's."""
    due_day: np.ndarray
    """[n] −1 where there is none."""
    code: np.ndarray
    """[n] uint64 of the item's id: the same whatever else is in the pool."""
    place: dict[str, int]
    """Of every item id."""
    by_family: Index = field(default_factory=dict)
    by_author: Index = field(default_factory=dict)
    by_site: Index = field(default_factory=dict)
    by_adjudicator: Index = field(default_factory=dict)
    by_excluded: Index = field(default_factory=dict)
    by_only: Index = field(default_factory=dict)
    """Items meant for a rater; the key '' holds all items that are meant for somebody."""

    @classmethod
    def of(cls, candidates: Sequence[Candidate]) -> "Pool":
        """The columns of some candidates.

        Raises:
            UserError: An item that stands there twice, or posteriors of different lengths.
        """
        place = {one.item_id: number for number, one in enumerate(candidates)}
        lengths = {len(one.posterior) for one in candidates}
        if len(place) < len(candidates) or len(lengths) > 1:
            raise UserError(
                f"{len(candidates)} candidates have {len(place)} different ids and posteriors of {sorted(lengths)} classes, "
                "expected each item once and one codebook. Serve one round at a time."
            )
        posterior = np.asarray([one.posterior for one in candidates], float).reshape(
            len(candidates), max(lengths, default=0)
        )
        pool = cls(
            [one.item_id for one in candidates],
            np.asarray([STRATA.index(one.stratum) for one in candidates], np.int8),
            [one.family for one in candidates],
            np.asarray([one.specialty for one in candidates], object),
            posterior,
            entropy(posterior),
            posterior.max(axis=1, initial=0.0),
            np.asarray([one.n_judgements for one in candidates], int),
            np.asarray([one.n_open for one in candidates], int),
            np.asarray([-1 if one.slots is None else one.slots for one in candidates], int),
            np.asarray([-1 if one.due_day is None else one.due_day for one in candidates], int),
            np.asarray([code_of(one.item_id) for one in candidates], np.uint64),
            place,
        )
        pool.by_family = index([one.family] for one in candidates)
        pool.by_author = index(one.authors for one in candidates)
        pool.by_site = index(one.sites for one in candidates)
        pool.by_adjudicator = index(one.adjudicators for one in candidates)
        pool.by_excluded = index(one.excluded for one in candidates)
        pool.by_only = index((*one.only_for, "") if one.only_for else () for one in candidates)
        return pool

    def __len__(self) -> int:
        """Number of items."""
        return len(self.item_ids)

    def update(self, item_id: str, n_judgements: int, n_open: int, posterior: np.ndarray) -> None:
        """Brings one item up to date."""
        place = self.place[item_id]
        self.n_judgements[place], self.n_open[place] = n_judgements, n_open
        self.posterior[place] = posterior
        self.entropy[place] = entropy(self.posterior[place][None])[0]
        self.best[place] = self.posterior[place].max()


def index(keys: Iterable[Iterable[str]]) -> Index:
    """Where each key stands."""
    found: dict[str, list[int]] = {}
    for number, some in enumerate(keys):
        for key in some:
            found.setdefault(key, []).append(number)
    return {key: np.asarray(places) for key, places in found.items()}


@lru_cache(maxsize=1 << 16)
def code_of(text: str) -> int:
    """64 bits of a text's hash, the same on every machine; a queue asks for the same items again and again."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def shuffled(code: np.ndarray, *key: object) -> np.ndarray:
    """[n] uint64 in an order of its own for each key. Source: SplitMix64's finaliser, Steele et al. 2014."""
    with np.errstate(over="ignore"):
        x = code ^ np.uint64(code_of("\x1f".join(map(str, key))))
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
