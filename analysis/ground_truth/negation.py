"""Records with negations: the task whose evidence is known exactly, because nothing else can decide the answer.

    the potassium=high not sodium=low as urea=low … ask sodium   →   high

1. A record has `n_entries` pairs of a marker and an entry. An entry names a test and a value, each test once.
2. A marker is a filler, which says nothing, or `not`, which turns its entry's value round.
3. The question names one of the tests, and the answer is its value.
4. So the evidence is the asked entry, and its `not` where there is one. A model that answers rightly on unseen records
   has looked at both, and at nothing else. A filler before the asked entry is neutral: it says nothing, but a `not` in its
   place would turn the answer, so that a method is neither wrong nor right to point at it.

Source: the suite that this project's attribution methods were first measured on; the protocol of a planted rule follows
Bastings et al. 2022, arXiv:2111.07367.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import Field, PositiveInt

from analysis.ground_truth.known import KnownCase, Span
from sae.config import Settings

TESTS = (
    "potassium", "sodium", "urea", "glucose", "calcium", "lactate", "ferritin", "troponin", "albumin", "bilirubin",
    "lipase", "cortisol",
)  # fmt: skip
VALUES = ("high", "low")
FILLERS = ("the", "as", "with", "today", "also", "then")
NOT = "not"
ASK = "ask"
ENTRIES = tuple(f"{test}={value}" for test in TESTS for value in VALUES)
WORDS = (*FILLERS, NOT, ASK, *TESTS, *VALUES, *ENTRIES)
"""Every word of the task; each is one token."""


class NegationConfig(Settings, frozen=True):
    """Which records are written."""

    n_entries: int = Field(default=6, ge=2, le=len(TESTS), description="Pairs of a marker and an entry in a record.")
    negated_share: float = Field(default=0.45, ge=0, le=1, description="Share of entries whose marker is `not`.")
    n_donors: PositiveInt = Field(default=48, description="Records of each case that replacements are taken from.")


class Record(NamedTuple):
    """One record with its question."""

    markers: tuple[str, ...]
    """Filler or `not`, one before each entry."""
    entries: tuple[str, ...]
    """`test=value`, each test once."""
    asked: int
    """Which entry the question is about."""

    @property
    def words(self) -> list[str]:
        """The record and its question, word by word."""
        pairs = zip(self.markers, self.entries, strict=True)
        return [*(word for pair in pairs for word in pair), ASK, test_of(self.entries[self.asked])]

    @property
    def is_negated(self) -> bool:
        """Whether the asked entry's value is turned round."""
        return self.markers[self.asked] == NOT

    @property
    def answer(self) -> str:
        """The value asked for, after any negation."""
        value = self.entries[self.asked].split("=")[1]
        return opposite(value) if self.is_negated else value


def test_of(entry: str) -> str:
    """The test that an entry is about."""
    return entry.split("=", maxsplit=1)[0]


def opposite(value: str) -> str:
    """The other value."""
    return VALUES[1 - VALUES.index(value)]


def marker(rng: random.Random, cfg: NegationConfig) -> str:
    """A random marker."""
    return NOT if rng.random() < cfg.negated_share else rng.choice(FILLERS)


def draw(rng: random.Random, cfg: NegationConfig) -> Record:
    """A random record with a question about one of its entries."""
    tests = rng.sample(TESTS, cfg.n_entries)
    entries = tuple(f"{test}={rng.choice(VALUES)}" for test in tests)
    return Record(tuple(marker(rng, cfg) for _ in tests), entries, rng.randrange(cfg.n_entries))


def donor(record: Record, rng: random.Random, cfg: NegationConfig) -> str:
    """A prompt whose every word may stand in the place of the record's.

    An entry's stand-in is about its own test or one that the record does not name, so that no replacement answers the
    question in another entry's place.
    """
    named = {test_of(entry) for entry in record.entries}
    free = [test for test in TESTS if test not in named]
    words = []
    for entry in record.entries:
        words += [marker(rng, cfg), f"{rng.choice([*free, test_of(entry)])}={rng.choice(VALUES)}"]
    return " ".join([*words, ASK, test_of(record.entries[record.asked])])


def place(words: list[str], number: int) -> Span:
    """Where a word stands in the text of all words."""
    start = sum(len(word) + 1 for word in words[:number])
    return start, start + len(words[number])


def case(record: Record, number: int, rng: random.Random, cfg: NegationConfig) -> KnownCase:
    """A record as a case with known evidence; its twin has the asked entry's negation put in or taken away."""
    words = record.words
    entry = place(words, 2 * record.asked + 1)
    evidence = (entry, place(words, 2 * record.asked)) if record.is_negated else (entry,)
    filler = () if record.is_negated else (place(words, 2 * record.asked),)
    turned = list(words)
    turned[2 * record.asked] = rng.choice(FILLERS) if record.is_negated else NOT
    return KnownCase(
        id=f"negation-{number:05d}",
        prompt=" ".join(words),
        answer=f" {record.answer}",
        contrast=f" {opposite(record.answer)}",
        evidence=evidence,
        neutral=filler,
        scope=(0, place(words, len(words) - 2)[0]),
        twin=" ".join(turned),
        donors=tuple(donor(record, rng, cfg) for _ in range(cfg.n_donors)),
    )


def cases(n: int, seed: int, cfg: NegationConfig | None = None) -> Iterator[KnownCase]:
    """Cases from a seed; negated and plain ones as they come."""
    cfg = cfg or NegationConfig()
    rng = random.Random(f"negation:{seed}")  # noqa: S311 (nothing here is secret)
    for number in range(n):
        yield case(draw(rng, cfg), number, rng, cfg)
