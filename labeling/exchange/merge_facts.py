"""Items, judgements, skips and decisions of an export, into a database that knows its people, codebooks and rounds."""

from collections import Counter, defaultdict
from typing import Any

from sqlalchemy import func, insert, select, update

from labeling.answers import labels_of
from labeling.codebook import Codebook
from labeling.database import audit
from labeling.database.schema import adjudication, assignment, gold, item, judgement, judgement_label, round_
from labeling.exchange.bundle import Bundle
from labeling.exchange.merge import Target, refuse_other
from labeling.exchange.records import ItemRecord, JudgementRecord
from labeling.identifiers import canonical
from sae.errors import UserError

REASON = canonical({"rule": "imported"})
"""Why an imported assignment was made."""
TAKES_A_SLOT = ("open", "submitted")


def add_items(target: Target, bundle: Bundle) -> None:
    """Items, and what is known to be true of them."""
    conn = target.conn
    here = {row.id: row for row in conn.execute(select(item))}
    new = [one for one in in_order(bundle.items) if one.id not in here]
    for one in bundle.items:
        if one.id in here:
            row = here[one.id]
            refuse_other("item", one.id, (row.round_id, row.snapshot_sha256) == (one.round, one.snapshot_sha256))
    for one in new:
        conn.execute(insert(item), item_row(target, one))
    target.count("item", len(new))
    truths = {row.item_id: row.body for row in conn.execute(select(gold.c.item_id, gold.c.body))}
    for one in bundle.items:
        if one.gold is None:
            continue
        body = canonical(one.gold)
        if one.id in truths:
            refuse_other("gold answer of the item", one.id, truths[one.id] == body)
            continue
        row = {"item_id": one.id, "body": body, "source": one.gold_source or ""}
        audit.record(conn, gold, row, target.project_id, target.actor, "gold_imported")
        target.count("gold")


def in_order(items: tuple[ItemRecord, ...]) -> list[ItemRecord]:
    """Items before those that repeat them."""
    return sorted(items, key=lambda one: (one.retest_of is not None, one.id))


def item_row(target: Target, one: ItemRecord) -> dict[str, Any]:
    """An item as it is stored; counters follow with the judgements."""
    return {
        "id": one.id,
        "round_id": one.round,
        "feature_id": target.features[one.sae_sha256, one.feature],
        "snapshot_sha256": one.snapshot_sha256,
        "stratum": one.stratum,
        "slots": one.slots,
        "n_extra": one.n_extra,
        "place": one.place,
        "state": one.state,
        "is_free": 0,
        "detail": canonical(one.detail),
        "retest_of": one.retest_of,
        "only_for": None if one.only_for is None else target.raters[one.only_for],
        "due_at": one.due_at,
    }


def add_judgements(target: Target, bundle: Bundle) -> None:
    """Judgements with their assignments, and the counters of their items."""
    conn = target.conn
    here = {row.id: row.body_sha256 for row in conn.execute(select(judgement.c.id, judgement.c.body_sha256))}
    for one in bundle.judgements:
        if one.judgement_id in here:
            refuse_other("judgement", one.judgement_id, here[one.judgement_id] == one.answers_sha256)
    new = [one for one in bundle.judgements if one.judgement_id not in here]
    add_assignments(target, new, {one.assignment_id: one.reason for one in bundle.skips})
    for one in new:
        row = judgement_row(one)
        audit.record(conn, judgement, row, target.project_id, target.actor, "judgement_imported")
    books = {one.id: Codebook.model_validate(one.body) for one in bundle.codebooks}
    labels = [row for one in new for row in label_rows(one, books[one.codebook_id])]
    if labels:
        conn.execute(insert(judgement_label), labels)
    target.count("judgement", len(new))
    recount(target, {one.item_id for one in new})


def add_assignments(target: Target, judgements: list[JudgementRecord], skips: dict[str, str]) -> None:
    """The assignments of judgements; a slot that is taken here becomes the item's next one.

    Args:
        target: Where to.
        judgements: Those that are new.
        skips: Reasons of the assignments that ended skipped: their judgements are withdrawn.
    """
    conn = target.conn
    pairs: dict[tuple[str, str], str] = {}
    taken: defaultdict[str, set[int]] = defaultdict(set)
    here: set[str] = set()
    for row in conn.execute(select(assignment)):
        here.add(row.id)
        pairs[row.item_id, row.rater_id] = row.id
        if row.state in TAKES_A_SLOT:
            taken[row.item_id].add(row.slot)
    for one in judgements:
        if one.assignment_id in here:
            continue
        here.add(one.assignment_id)
        rater = target.raters[one.rater]
        if pairs.setdefault((one.item_id, rater), one.assignment_id) != one.assignment_id:
            raise UserError(
                f"The rater {one.rater} has the item {one.item_id} here under another assignment, expected an item once per "
                "rater. Nothing was imported; ask for the export again."
            )
        slot = one.slot
        if not one.is_surplus and not one.is_withdrawn:
            slot = slot if slot not in taken[one.item_id] else max(taken[one.item_id]) + 1
            taken[one.item_id].add(slot)
        conn.execute(insert(assignment), assignment_row(one, rater, slot, skips.get(one.assignment_id)))
        target.count("assignment")


def assignment_row(one: JudgementRecord, rater_id: str, slot: int, skip_reason: str | None) -> dict[str, Any]:
    """The assignment of a judgement."""
    state = "skipped" if one.is_withdrawn else "surplus" if one.is_surplus else "submitted"
    return {
        "id": one.assignment_id,
        "item_id": one.item_id,
        "round_id": one.round_id,
        "rater_id": rater_id,
        "slot": slot,
        "stratum": one.stratum,
        "state": state,
        "skip_reason": skip_reason,
        "reason": REASON,
        "created_at": one.submitted_at,
    }


def judgement_row(one: JudgementRecord) -> dict[str, Any]:
    """A judgement as it is stored."""
    return {
        "id": one.judgement_id,
        "assignment_id": one.assignment_id,
        "revision": one.revision,
        "codebook_version_id": one.codebook_id,
        "snapshot_sha256": one.snapshot_sha256,
        "body": canonical(one.answers),
        "body_sha256": one.answers_sha256,
        "active_ms": one.active_ms,
        "wall_ms": one.wall_ms,
        "has_seen_explanation": int(one.has_seen_explanation),
        "is_late": int(one.is_late),
        "submitted_at": one.submitted_at,
        "client_uuid": one.client_uuid,
    }


def label_rows(one: JudgementRecord, codebook: Codebook) -> list[dict[str, str]]:
    """Categories and concept codes of a judgement, for counting; a detection task has none."""
    if "fires" in one.answers:
        return []
    return [
        {"judgement_id": one.judgement_id, "key": key, "value": value}
        for key, value in sorted(set(labels_of(codebook, one.answers)))
    ]


def recount(target: Target, items: set[str]) -> None:
    """How many judgements an item has; its slots grow to hold them."""
    conn = target.conn
    held = Counter(
        conn.execute(
            select(assignment.c.item_id).join(round_).where(
                round_.c.project_id == target.project_id, assignment.c.state.in_(TAKES_A_SLOT)
            )
        ).scalars()
    )  # fmt: skip
    for one in sorted(items):
        n = held[one]
        conn.execute(
            update(item)
            .where(item.c.id == one)
            .values(
                n_submitted=n,
                n_held=n,
                slots=func.max(item.c.slots, n) if is_sqlite(target) else func.greatest(item.c.slots, n),
            )
        )


def is_sqlite(target: Target) -> bool:
    """Which of two names a function of two numbers has."""
    return target.conn.dialect.name == "sqlite"


def add_skips(target: Target, bundle: Bundle) -> None:
    """Items that raters passed on."""
    conn = target.conn
    here = set(conn.execute(select(assignment.c.id)).scalars())
    pairs = {(row.item_id, row.rater_id) for row in conn.execute(select(assignment.c.item_id, assignment.c.rater_id))}
    rounds = {row.id: row.round_id for row in conn.execute(select(item.c.id, item.c.round_id))}
    for one in bundle.skips:
        rater = target.raters[one.rater]
        if one.assignment_id in here or (one.item_id, rater) in pairs:
            continue
        row = {
            "id": one.assignment_id,
            "item_id": one.item_id,
            "round_id": rounds[one.item_id],
            "rater_id": rater,
            "slot": one.slot,
            "stratum": one.stratum,
            "state": "skipped",
            "reason": REASON,
            "skip_reason": one.reason,
            "created_at": one.created_at,
        }
        conn.execute(insert(assignment), row)
        target.count("assignment")


def add_adjudications(target: Target, bundle: Bundle) -> None:
    """Decisions; where both houses decided, the imported one comes after the one here as a later revision."""
    conn = target.conn
    here: dict[str, str] = {}
    last: Counter[str] = Counter()
    for row in conn.execute(select(adjudication)):
        here[row.id] = row.decision
        last[row.item_id] = max(last[row.item_id], row.revision)
    for one in sorted(bundle.adjudications, key=lambda one: (one.item_id, one.revision)):
        if one.id in here:
            refuse_other("decision", one.id, here[one.id] == canonical(one.answers))
            continue
        revision = max(one.revision, last[one.item_id] + 1)
        last[one.item_id] = revision
        row = {
            **one.model_dump(exclude={"rater", "answers", "seen", "revision"}),
            "adjudicator_id": target.raters[one.rater],
            "revision": revision,
            "decision": canonical(one.answers),
            "seen": canonical(one.seen),
        }
        audit.record(conn, adjudication, row, target.project_id, target.actor, "adjudication_imported")
        target.count("adjudication")
