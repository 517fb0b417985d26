"""What an export holds, record by record. A record's fields are the columns of its file; each is written once, here.

Records refer to each other by what means the same everywhere: UUIDv7 ids, hashes, and pseudonyms for people. A line that
is no such record is refused on reading, so nothing half understood enters a database.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from labeling.identifiers import TIME
from sae.config import Settings

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[str, Field(pattern=f"^{TIME.pattern}$")]
Word = Annotated[str, Field(max_length=80)]
Stratum = Literal["irr_fixed", "gold", "calibration", "retest", "adaptive", "single", "escalated", "detection"]
ItemState = Literal[
    "open", "rated", "escalated", "consensus", "ambiguous", "adjudicated", "locked", "quarantined", "stale"
]
ErrorKind = Literal["ambiguous_text", "guideline_gap", "rater_error", "edge_case", "subjective_disagreement", "other"]
RoundKind = Literal["calibration", "main", "blind_extra", "detection"]


class ProjectRecord(Settings, frozen=True):
    """The project that was exported."""

    id: Id = Field(description="The project's.")
    name: Word = Field(min_length=1, description="What it is called.")
    seed: int = Field(description="Of its random draws.")
    corpus_classification: Word = Field(description="How its texts are classified.")
    data_use_note: str = Field(description="What its data's terms say.")


class CodebookRecord(Settings, frozen=True):
    """A published version of the codebook."""

    id: Id = Field(description="The version's.")
    n: int = Field(ge=1, description="Its number within the project it came from.")
    sha256: Hash = Field(description="Hash of the body.")
    note: str = Field(description="What changed.")
    published_at: Time = Field(description="When.")
    body: dict[str, Any] = Field(description="The codebook.")


class SAERecord(Settings, frozen=True):
    """An autoencoder whose features were judged."""

    sha256: Hash = Field(description="Hash of the body.")
    body: dict[str, Any] = Field(description="Model, hook point, id and hashes.")


class RaterRecord(Settings, frozen=True):
    """A rater, under a pseudonym."""

    rater: Word = Field(min_length=1, description="The pseudonym.")
    institution: Word = Field(min_length=1, description="Where the rater works.")
    specialty: Word = Field(default="", description="Medical specialty.")
    seniority: Word = Field(default="", description="Career grade.")
    name: Word | None = Field(default=None, description="The name; only in exports with names.")


class RoundRecord(Settings, frozen=True):
    """A round."""

    id: Id = Field(description="The round's.")
    n: int = Field(ge=1, description="Its number within the project it came from.")
    kind: RoundKind = Field(description="What it is for.")
    title: Word = Field(description="What it is called.")
    codebook: Id = Field(description="Of the codebook version.")
    policy: dict[str, Any] = Field(description="How the queue chose.")
    seed: int = Field(description="Of the queue.")
    state: Literal["draft", "open", "paused", "closed"] = Field(description="How it stood when it was exported.")
    gate: Id | None = Field(default=None, description="The calibration round that raters must have passed.")
    created_at: Time = Field(description="When it was made.")
    closed_at: Time | None = Field(default=None, description="When it was closed.")


class ItemRecord(Settings, frozen=True):
    """An item of a round: a feature with the evidence shown."""

    id: Id = Field(description="The item's.")
    round: Id = Field(description="Its round's.")
    sae_sha256: Hash = Field(description="Of the SAE's record.")
    feature: int = Field(ge=0, description="The feature's index.")
    family: Word = Field(default="", description="Features of one family are near-duplicates.")
    snapshot_sha256: Hash = Field(description="Of the evidence.")
    stratum: Stratum = Field(description="Why the item is there.")
    slots: int = Field(ge=0, description="Raters it asks for.")
    n_extra: int = Field(default=0, ge=0, description="Of them, how many because raters disagreed.")
    place: int | None = Field(description="Its place in the round's order; none of a retest.")
    state: ItemState = Field(description="How it stood when it was exported.")
    detail: dict[str, Any] = Field(description="Of a detection task: label and contexts.")
    retest_of: Id | None = Field(default=None, description="The item that this one repeats.")
    only_for: Word | None = Field(default=None, description="The one rater it is for.")
    due_at: Time | None = Field(default=None, description="Not before.")
    gold: dict[str, Any] | None = Field(default=None, description="The true answers, where they are known.")
    gold_source: str | None = Field(default=None, description="Who knows.")


class JudgementRecord(Settings, frozen=True):
    """One judgement, with everything that analysis needs beside it."""

    judgement_id: Id = Field(description="The judgement's.")
    item_id: Id = Field(description="The item's.")
    assignment_id: Id = Field(description="The assignment's: an item in a rater's hands.")
    round_id: Id = Field(description="The round's.")
    round: int = Field(ge=1, description="Number of the round.")
    round_kind: RoundKind = Field(description="What the round was for.")
    stratum: Stratum = Field(description="Why the item was there.")
    model: str = Field(description="Whose feature it is.")
    hook_point: str = Field(description="Where the SAE sits.")
    sae_id: str = Field(description="The SAE's.")
    feature: int = Field(ge=0, description="The feature's index.")
    sae_sha256: Hash = Field(description="Of the SAE's record.")
    snapshot_sha256: Hash = Field(description="Of the evidence that was shown.")
    codebook: int = Field(ge=1, description="Number of the codebook version.")
    codebook_id: Id = Field(description="Of the codebook version.")
    codebook_sha256: Hash = Field(description="Hash of the codebook version.")
    rater: Word = Field(min_length=1, description="The rater's pseudonym.")
    institution: Word = Field(min_length=1, description="Where the rater works.")
    specialty: Word = Field(description="Medical specialty.")
    seniority: Word = Field(description="Career grade.")
    slot: int = Field(description="Which of the item's places it fills.")
    is_surplus: bool = Field(description="Whether it came after the item was full.")
    is_withdrawn: bool = Field(description="Whether the rater took it back and skipped the item.")
    is_late: bool = Field(description="Whether it came after its time on the item had run out.")
    retest_of: Id | None = Field(default=None, description="The item that this one repeats.")
    revision: int = Field(ge=1, description="1, 2, …: answers to the same item by the same rater.")
    has_seen_explanation: bool = Field(description="Whether a machine's explanation was shown before.")
    answers: dict[str, Any] = Field(description="What was said, by field of the codebook.")
    answers_sha256: Hash = Field(description="Hash of the answers.")
    submitted_at: Time = Field(description="When.")
    active_ms: int = Field(ge=0, description="Time with the page in focus.")
    wall_ms: int = Field(ge=0, description="Time from opening to submission.")
    client_uuid: Id = Field(description="Of the request, which counts once.")


class SkipRecord(Settings, frozen=True):
    """An item that a rater passed on."""

    assignment_id: Id = Field(description="The assignment's.")
    item_id: Id = Field(description="The item's.")
    rater: Word = Field(min_length=1, description="The rater's pseudonym.")
    slot: int = Field(description="Which of the item's places it was.")
    stratum: Stratum = Field(description="Why the item was there.")
    reason: Annotated[str, Field(max_length=32)] = Field(description="Why.")
    created_at: Time = Field(description="When the item was opened.")


class AdjudicationRecord(Settings, frozen=True):
    """A senior's decision on an item."""

    id: Id = Field(description="The decision's.")
    item_id: Id = Field(description="The item's.")
    rater: Word = Field(min_length=1, description="The senior's pseudonym.")
    revision: int = Field(ge=1, description="The latest one holds.")
    answers: dict[str, Any] = Field(description="What was decided, by field of the codebook.")
    disposition: Literal["decided", "irreducibly_ambiguous", "cannot_judge"] = Field(description="How it ended.")
    error_kind: ErrorKind = Field(description="What had made it ambiguous.")
    seen: list[Any] = Field(description="Judgements the senior saw.")
    rationale: str = Field(description="Why.")
    created_at: Time = Field(description="When.")
    client_uuid: Id = Field(description="Of the request, which counts once.")


class SnapshotRecord(Settings, frozen=True):
    """Evidence, with text of the corpus."""

    sha256: Hash = Field(description="Hash of the body.")
    sae_sha256: Hash = Field(description="Of the SAE's record.")
    feature: int = Field(ge=0, description="The feature's index.")
    created_at: Time = Field(description="When it was frozen.")
    body: dict[str, Any] = Field(description="What was shown.")


class AuditRecord(Settings, frozen=True):
    """An event of the audit trail."""

    seq: int = Field(description="Its place.")
    at: Time = Field(description="When.")
    actor: Word | None = Field(default=None, description="Pseudonym of who did it.")
    action: Word = Field(description="What was done.")
    object: Word = Field(description="To what.")
    before_sha256: Hash | None = Field(default=None, description="Of the record before.")
    after_sha256: Hash | None = Field(default=None, description="Of the record after.")
    previous: Hash = Field(description="Hash of the event before.")
    hash: Hash = Field(description="Of this event, with fields that stay at home.")


class SoftLabelRecord(Settings, frozen=True):
    """How likely each answer to one field of one item is."""

    item_id: Id = Field(description="The item's.")
    hook_point: str = Field(description="Where the SAE sits.")
    sae_id: str = Field(description="The SAE's.")
    feature: int = Field(ge=0, description="The feature's index.")
    codebook: int = Field(ge=1, description="Number of the codebook version.")
    field: str = Field(description="Field of the codebook.")
    n: int = Field(ge=1, description="Raters who answered with a category.")
    n_cannot_judge: int = Field(ge=0, description="Raters who said that the evidence does not suffice.")
    distribution: dict[str, float] = Field(description="Share of the raters for each category.")
    posterior: dict[str, float] = Field(description="Probability of each category by the consensus model.")
    entropy: float = Field(ge=0, description="Of the distribution, in bits: how far raters differ.")
    weight: float = Field(
        ge=0, le=1, description="Of the item in training: 1 for the panel's typical number of raters."
    )
    leading: str = Field(description="The likeliest category.")


Record = (
    ProjectRecord
    | CodebookRecord
    | SAERecord
    | RaterRecord
    | RoundRecord
    | ItemRecord
    | JudgementRecord
    | SkipRecord
    | AdjudicationRecord
    | SnapshotRecord
    | AuditRecord
    | SoftLabelRecord
)
