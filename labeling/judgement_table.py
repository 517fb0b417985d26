"""Judgements as statistics, exports and reports read them: plain rows in a fixed order, without a database.

`labeling.database.judgements.judgement_table` fills it from a database; tests and benchmarks build it by hand. Everything
that analysis needs is here, so that a report can be made again from the same rows and gives the same bytes.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from labeling.codebook import Codebook
from labeling.identifiers import sha256

HEADLINE_STRATUM = "irr_fixed"
"""Items drawn at random with a fixed number of raters: the only ones that agreement is estimated on."""


class FeatureRef(NamedTuple):
    """A feature, as the rest of the product names it."""

    hook_point: str
    sae_id: str
    number: int
    """Its index in the SAE."""


@dataclass(frozen=True)
class JudgementRow:
    """One judgement: what one rater said of one item, in one revision."""

    judgement_id: str
    item_id: str
    feature: FeatureRef
    stratum: str
    """Why the item is there; headline figures use `irr_fixed` alone."""
    round_n: int
    """Number of the round within the project."""
    round_kind: str
    codebook_n: int
    rater_id: str
    """Of the database; never leaves it."""
    pseudonym: str
    """What the rater is called outside."""
    institution: str
    answers: dict[str, Any]
    """As `labeling.codebook` says."""
    submitted_at: str
    specialty: str = ""
    seniority: str = ""
    active_ms: int = 0
    wall_ms: int = 0
    revision: int = 1
    """1, 2, …: a rater may take a judgement back and give another, and another after seeing more."""
    is_surplus: bool = False
    """It came after the item was full."""
    is_withdrawn: bool = False
    """The rater took it back and skipped the item."""
    retest_of: str | None = None
    """The item that this one shows once more to the same rater."""
    has_seen_explanation: bool = False
    """Whether a machine's explanation was shown before."""
    assignment_id: str = ""
    slot: int = 0
    round_id: str = ""
    snapshot_sha256: str = ""
    """The evidence that was shown."""
    sae_sha256: str = ""
    """Of the description of the SAE, with the hash of its weights."""
    family: str = ""
    """Features of one family are near-duplicates."""
    client_uuid: str = ""
    body_sha256: str = ""
    """Of the answers' canonical JSON."""


@dataclass(frozen=True)
class Adjudication:
    """What a senior decided on an item, in the latest revision."""

    item_id: str
    disposition: str
    """`decided`, `irreducibly_ambiguous` or `cannot_judge`."""
    answers: dict[str, Any]
    error_kind: str = "other"


@dataclass(frozen=True)
class Gold:
    """What is known to be true of an item."""

    item_id: str
    answers: dict[str, Any]
    is_shown: bool = False
    """Whether raters were told it after their answer: such items test nothing afterwards."""


@dataclass(frozen=True)
class Skip:
    """An item that a rater passed on."""

    item_id: str
    pseudonym: str
    reason: str


@dataclass(frozen=True)
class JudgementTable:
    """The judgements of a project, or of some of its rounds."""

    project: str
    """What the project is called."""
    rows: tuple[JudgementRow, ...]
    """By item, then rater, then revision."""
    codebooks: Mapping[int, Codebook]
    """By number; those that rows refer to."""
    adjudications: tuple[Adjudication, ...] = ()
    golds: tuple[Gold, ...] = ()
    skips: tuple[Skip, ...] = ()
    seed: int = 0
    """Of the project."""
    context_tokens: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Number of tokens of every context shown, by hash of the evidence; without evidence whose text is not here."""
    closed_rounds: frozenset[int] = field(default_factory=frozenset)
    """Numbers of the rounds that nobody rates any more."""

    kept: dict[tuple[str, int], tuple[JudgementRow, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Blind and headline judgements by codebook, once they were asked for."""

    @property
    def digest(self) -> str:
        """Hash of everything in it that decides a figure; of raters their pseudonyms, not their ids in the database."""
        shown = {row.snapshot_sha256 for row in self.rows}
        body = {
            "project": self.project,
            "rows": [identity(row) for row in self.rows],
            "codebooks": {str(n): book.sha256 for n, book in sorted(self.codebooks.items())},
            "adjudications": [asdict(one) for one in self.adjudications],
            "golds": [asdict(one) for one in self.golds],
            "skips": [asdict(one) for one in self.skips],
            "seed": self.seed,
            "context_tokens": {name: n for name, n in self.context_tokens.items() if name in shown},
        }
        return sha256(body)

    def where(self, keeps: Callable[[JudgementRow], bool]) -> "JudgementTable":
        """The table with some of its rows."""
        return replace(self, rows=tuple(row for row in self.rows if keeps(row)))

    def blind(self, codebook_n: int) -> tuple[JudgementRow, ...]:
        """Everybody's last blind judgement of every item under one codebook; no detection task, which asks something else."""
        if ("blind", codebook_n) not in self.kept:
            asked = (row for row in self.rows if row.codebook_n == codebook_n and not is_detection(row))
            self.kept["blind", codebook_n] = last_blind(asked)
        return self.kept["blind", codebook_n]

    def headline(self, codebook_n: int) -> tuple[JudgementRow, ...]:
        """What agreement is estimated on: of the blind ones, those in their place in the fixed stratum of main rounds."""
        if ("headline", codebook_n) not in self.kept:
            self.kept["headline", codebook_n] = tuple(row for row in self.blind(codebook_n) if is_headline(row))
        return self.kept["headline", codebook_n]


def last_blind(rows: Iterable[JudgementRow]) -> tuple[JudgementRow, ...]:
    """One row per item and rater: the last revision made before anything was shown, unless it was withdrawn."""
    kept: dict[tuple[str, str], JudgementRow] = {}
    for row in rows:
        if not row.has_seen_explanation and not row.is_withdrawn:
            before = kept.get((row.item_id, row.rater_id))
            if before is None or before.revision < row.revision:
                kept[row.item_id, row.rater_id] = row
    return tuple(kept.values())


def is_detection(row: JudgementRow) -> bool:
    """Whether it answers a blind detection task."""
    return row.round_kind == "detection" or row.stratum == "detection"


def is_headline(row: JudgementRow) -> bool:
    """Whether a blind judgement is in its place in the fixed stratum of a main round."""
    return row.stratum == HEADLINE_STRATUM and row.round_kind == "main" and not row.is_surplus


def identity(row: JudgementRow) -> list[Any]:
    """What of a judgement decides figures: its answers by their hash, whether it counts, and what figures are sorted by."""
    return [
        row.judgement_id,
        row.body_sha256 or sha256(row.answers),
        row.item_id,
        *row.feature,
        row.stratum,
        row.round_n,
        row.round_kind,
        row.codebook_n,
        row.pseudonym,
        row.institution,
        row.specialty,
        row.seniority,
        row.submitted_at,
        row.revision,
        row.is_surplus,
        row.is_withdrawn,
        row.retest_of,
        row.has_seen_explanation,
        row.snapshot_sha256,
        row.sae_sha256,
        row.family,
        row.active_ms,
    ]
