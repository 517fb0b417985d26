"""A project's facts, out of any database: what an export writes and an import reads."""

from dataclasses import dataclass
from typing import Any

from labeling.exchange.records import (
    AdjudicationRecord,
    AuditRecord,
    CodebookRecord,
    ItemRecord,
    JudgementRecord,
    ProjectRecord,
    RaterRecord,
    Record,
    RoundRecord,
    SAERecord,
    SkipRecord,
    SnapshotRecord,
    SoftLabelRecord,
)
from labeling.identifiers import sha256


@dataclass(frozen=True)
class Bundle:
    """Records in a fixed order: by number or id."""

    project: ProjectRecord
    codebooks: tuple[CodebookRecord, ...]
    saes: tuple[SAERecord, ...]
    raters: tuple[RaterRecord, ...]
    rounds: tuple[RoundRecord, ...]
    items: tuple[ItemRecord, ...]
    judgements: tuple[JudgementRecord, ...]
    skips: tuple[SkipRecord, ...]
    adjudications: tuple[AdjudicationRecord, ...]
    snapshots: tuple[SnapshotRecord, ...] = ()
    """None but on request: they hold text of the corpus."""
    audit: tuple[AuditRecord, ...] = ()
    """For reading; an import does not make it its own."""
    soft_labels: tuple[SoftLabelRecord, ...] = ()
    """Derived from the judgements; an import leaves them."""

    @property
    def digest(self) -> str:
        """Hash of the facts: not of the audit trail, which goes on, nor of what is derived."""
        return sha256({name: plain(part) for name, part in vars(self).items() if name not in ("audit", "soft_labels")})


def plain(part: Any) -> Any:
    """Records as plain values."""
    if isinstance(part, tuple):
        return [one.model_dump(mode="json") for one in part]
    return part.model_dump(mode="json")


FILES: dict[str, tuple[str, type[Record]]] = {
    "saes.jsonl": ("saes", SAERecord),
    "raters.jsonl": ("raters", RaterRecord),
    "rounds.jsonl": ("rounds", RoundRecord),
    "items.jsonl": ("items", ItemRecord),
    "judgements.jsonl": ("judgements", JudgementRecord),
    "skips.jsonl": ("skips", SkipRecord),
    "adjudications.jsonl": ("adjudications", AdjudicationRecord),
    "soft_labels.jsonl": ("soft_labels", SoftLabelRecord),
    "audit.jsonl": ("audit", AuditRecord),
    "snapshots.jsonl": ("snapshots", SnapshotRecord),
}
"""Which file holds which part; codebooks and the project have files of their own."""
TABLES: dict[str, type[Record]] = {"judgements": JudgementRecord, "soft_labels": SoftLabelRecord}
"""Parts that are written as CSV and Parquet too."""
PROJECT_FILE = "project.json"
ABOUT_FILE = "ABOUT.md"
