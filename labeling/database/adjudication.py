"""A senior's decision on what stays ambiguous, seeing what was said and why, never by whom.

An item is due when its raters, and the blind ones added after them, still disagree. The senior may decide, or say that
it cannot be decided: `irreducibly_ambiguous` is an answer. Who rated an item does not adjudicate it, nor does who still
may be asked about its feature in an open round, or has a conflict of interest. Taking a decision back makes its signatures
void.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, select, update

from labeling.answers import validate_answers
from labeling.codebook import Codebook
from labeling.database import audit, projects, roles, signatures, standing
from labeling.database.bars import bars_of, is_barred, unbarred
from labeling.database.errors import Conflict, NotAllowed, NotFound
from labeling.database.judgements import snapshot_body
from labeling.database.rounds import Round, round_of
from labeling.database.schema import (
    adjudication,
    assignment,
    evidence_snapshot,
    feature,
    item,
    judgement,
    round_,
    round_rater,
)
from labeling.database.transaction import Actor, now
from labeling.evidence import NOTHING_HERE
from labeling.identifiers import canonical, new_id
from sae.errors import UserError

DISPOSITIONS = ("decided", "irreducibly_ambiguous", "cannot_judge")
ERROR_KINDS = (
    "ambiguous_text", "guideline_gap", "rater_error", "edge_case", "subjective_disagreement", "other",
)  # fmt: skip


class Due(NamedTuple):
    """An item that waits for a senior."""

    item_id: str
    round_id: str
    n_judgements: int
    entropy: float


class Settled(NamedTuple):
    """An item with a senior's decision: the last one."""

    item_id: str
    round_id: str
    state: str
    """adjudicated or locked."""
    adjudication_id: str
    disposition: str
    created_at: str


@dataclass(frozen=True)
class Case:
    """What a senior sees: no name, no order that gives one away."""

    item_id: str
    round_id: str
    codebook: projects.CodebookVersion
    snapshot_sha256: str
    snapshot: dict[str, Any]
    distribution: dict[str, int]
    """Answers to the primary field."""
    answers: list[dict[str, Any]]
    """Everybody's, rationales included, in an order drawn for this item."""
    seen: tuple[str, ...]
    """Ids of those judgements, which the decision is stored with."""
    revision: int
    """Of the last decision, 0 for none; a writer says which one it saw."""
    state: str
    """ambiguous, adjudicated or locked."""


class Decision(NamedTuple):
    """What a senior decides."""

    disposition: str
    """decided, irreducibly_ambiguous or cannot_judge."""
    answers: Mapping[str, Any]
    """To the codebook's fields; empty unless decided."""
    error_kind: str
    """Why raters disagreed: one of `ERROR_KINDS`."""
    rationale: str
    client_uuid: str
    revision: int
    """Of the case that was seen."""


class Decided(NamedTuple):
    """A stored decision."""

    adjudication_id: str
    revision: int


def due(conn: Connection, actor: Actor, project_id: str) -> list[Due]:
    """The items that this senior may decide, most ambiguous first."""
    query = (
        select(item.c.id, item.c.round_id, item.c.n_submitted, item.c.entropy)
        .join(round_, round_.c.id == item.c.round_id)
        .join(feature, feature.c.id == item.c.feature_id)
        .join(evidence_snapshot, evidence_snapshot.c.sha256 == item.c.snapshot_sha256)
        .where(round_.c.project_id == project_id, item.c.state == "ambiguous", item.c.id.not_in(had_by(actor)))
        .where(item.c.feature_id.not_in(asked_of(actor)), evidence_snapshot.c.body.not_like(NOTHING_HERE))
        .order_by(item.c.entropy.desc(), item.c.id)
    )
    bars = bars_of(conn, project_id, actor.user_id or "")
    return [Due(*row) for row in conn.execute(unbarred(query, bars), bars)]


def had_by(actor: Actor) -> Select[tuple[str]]:
    """The items that a person had as a rater."""
    return select(assignment.c.item_id).where(assignment.c.rater_id == actor.user_id)


def asked_of(actor: Actor) -> Select[tuple[str]]:
    """The features that a person may still be asked about as a rater."""
    return (
        select(item.c.feature_id)
        .join(round_, round_.c.id == item.c.round_id)
        .join(round_rater, round_rater.c.round_id == round_.c.id)
        .where(round_rater.c.user_id == actor.user_id, round_.c.state != "closed")
    )


def settled(conn: Connection, actor: Actor, project_id: str) -> list[Settled]:
    """Decided items that this person did not rate and will not be asked about, the latest decision first."""
    later = adjudication.alias("later")
    is_last = ~(
        select(later.c.id)
        .where(later.c.item_id == adjudication.c.item_id, later.c.revision > adjudication.c.revision)
        .exists()
    )
    query = (
        select(
            item.c.id,
            item.c.round_id,
            item.c.state,
            adjudication.c.id,
            adjudication.c.disposition,
            adjudication.c.created_at,
        )
        .join(round_, round_.c.id == item.c.round_id)
        .join(adjudication, adjudication.c.item_id == item.c.id)
        .where(round_.c.project_id == project_id, item.c.state.in_(("adjudicated", "locked")), is_last)
        .where(item.c.id.not_in(had_by(actor)), item.c.feature_id.not_in(asked_of(actor)))
        .order_by(adjudication.c.created_at.desc())
    )
    return [Settled(*row) for row in conn.execute(query)]


def case_of(conn: Connection, actor: Actor, item_id: str) -> Case:
    """What a senior sees of an item.

    Raises:
        NotAllowed: They rated it themselves, or are no senior.
        NotFound: It is not due, or its evidence is not here.
    """
    row, found = item_and_round(conn, item_id)
    refuse_rater(conn, actor, item_id, found)
    if row.state not in ("ambiguous", "adjudicated", "locked"):
        raise NotFound("The item is not due, expected one on which raters still disagree. Choose one from the list.")
    snapshot = snapshot_body(conn, row.snapshot_sha256)
    if not snapshot["contexts"]:
        raise NotFound(
            "The evidence of this item stayed where it was rated, expected it here. Let a senior of that institution decide."
        )
    version = projects.codebook_of(conn, found.codebook_version_id)
    said = said_of(conn, item_id)
    Random(f"case {item_id}").shuffle(said)  # noqa: S311 - nothing here is secret
    counts: dict[str, int] = {}
    for _, answers in said:
        value = answers.get(version.codebook.primary, "cannot_judge")
        counts[value] = counts.get(value, 0) + 1
    return Case(
        item_id=item_id,
        round_id=found.id,
        codebook=version,
        snapshot_sha256=row.snapshot_sha256,
        snapshot=snapshot,
        distribution=dict(sorted(counts.items())),
        answers=[answers for _, answers in said],
        seen=tuple(judgement_id for judgement_id, _ in said),
        revision=last_revision(conn, item_id),
        state=row.state,
    )


def item_and_round(conn: Connection, item_id: str, *, lock: bool = False) -> tuple[Any, Round]:
    """An item with its round."""
    query = select(item).where(item.c.id == item_id)
    row = conn.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound("There is no such item, expected one of the list. Choose one from it.")
    return row, round_of(conn, row.round_id)


def refuse_rater(conn: Connection, actor: Actor, item_id: str, found: Round) -> None:
    """Lets only seniors pass who did not rate the item, are not to rate its feature and have no conflict of interest."""
    roles.require(conn, actor, found.project_id, "senior")
    query = select(assignment.c.id).where(assignment.c.item_id == item_id, assignment.c.rater_id == actor.user_id)
    if conn.execute(query).first() is not None:
        raise NotAllowed("You had this item as a rater, expected a senior who did not. Leave it to another one.")
    about = select(item.c.feature_id).where(item.c.id == item_id, item.c.feature_id.in_(asked_of(actor)))
    if conn.execute(about).first() is not None:
        raise NotAllowed(
            "You rate in an open round that asks about this feature, expected a senior who is not asked. Leave it to another "
            "one, or wait until that round is closed."
        )
    if is_barred(conn, found.project_id, actor.user_id or "", item_id):
        raise NotAllowed(
            "A conflict of interest keeps you from this item, expected a senior without one. Leave it to another one."
        )


def said_of(conn: Connection, item_id: str) -> list[tuple[str, dict[str, Any]]]:
    """(judgement id, answers) of everybody's last revision."""
    query = (
        select(judgement.c.id, judgement.c.body, judgement.c.assignment_id)
        .join(assignment, assignment.c.id == judgement.c.assignment_id)
        .where(assignment.c.item_id == item_id, assignment.c.state.in_(("submitted", "surplus")))
        .order_by(judgement.c.revision)
    )
    last = {row.assignment_id: (row.id, json.loads(row.body)) for row in conn.execute(query)}
    return sorted(last.values())


def last_revision(conn: Connection, item_id: str) -> int:
    """Of an item's decisions."""
    query = select(func.max(adjudication.c.revision)).where(adjudication.c.item_id == item_id)
    return conn.execute(query).scalar_one() or 0


def decide(conn: Connection, actor: Actor, item_id: str, decision: Decision) -> Decided:
    """Stores a decision; a later one supersedes it and makes its signatures void.

    Raises:
        UserError: An answer is missing or wrong.
        Conflict: Another senior decided in between.
        NotAllowed, NotFound: As `case_of`.
    """
    row, found = item_and_round(conn, item_id, lock=True)
    known = conn.execute(
        select(adjudication.c.id, adjudication.c.revision).where(adjudication.c.client_uuid == decision.client_uuid)
    ).one_or_none()
    if known is not None:
        return Decided(known.id, known.revision)
    refuse_rater(conn, actor, item_id, found)
    if row.state not in ("ambiguous", "adjudicated"):
        raise NotAllowed(
            f"The item is {row.state}, expected an ambiguous or decided one. Unlock it first, if it is locked."
        )
    revision = last_revision(conn, item_id)
    if revision != decision.revision:
        raise Conflict(
            "Another senior decided in between, expected no decision since. Look at it first.", {"revision": revision}
        )
    codebook = projects.codebook_of(conn, found.codebook_version_id).codebook
    record = {
        "id": new_id(),
        "item_id": item_id,
        "adjudicator_id": actor.user_id,
        "revision": revision + 1,
        "decision": canonical(checked(conn, decision, codebook, row.snapshot_sha256)),
        "disposition": decision.disposition,
        "error_kind": decision.error_kind,
        "seen": canonical([judgement_id for judgement_id, _ in said_of(conn, item_id)]),
        "rationale": decision.rationale.strip(),
        "created_at": now(conn),
        "client_uuid": decision.client_uuid,
    }
    void_last(conn, actor, found.project_id, item_id, "a later decision")
    detail = {"item": item_id, "disposition": decision.disposition}
    audit.record(conn, adjudication, record, found.project_id, actor, "item_adjudicated", detail)
    conn.execute(update(item).where(item.c.id == item_id).values(state="adjudicated", is_free=0))
    return Decided(record["id"], record["revision"])


def checked(conn: Connection, decision: Decision, codebook: Codebook, snapshot_sha256: str) -> dict[str, Any]:
    """The decision's answers as they are stored; some of the fields suffice, the primary one among them."""
    if decision.disposition not in DISPOSITIONS or decision.error_kind not in ERROR_KINDS:
        raise UserError(
            f"A decision of {decision.disposition!r} for {decision.error_kind!r}, expected one of {', '.join(DISPOSITIONS)} for "
            f"one of {', '.join(ERROR_KINDS)}. Choose one of each."
        )
    if len(decision.rationale.strip()) < 20 or not 0 < len(decision.client_uuid) <= 36:
        raise UserError(
            "The decision has no reason of 20 characters or more, expected one for those who disagreed. Write it."
        )
    if decision.disposition != "decided":
        return {}
    asked = [question for question in codebook.questions if question.key in {codebook.primary, *decision.answers}]
    some = [one.model_copy(update={"is_required": one.key == codebook.primary, "min_spans": 0}) for one in asked]
    book = codebook.model_copy(update={"questions": tuple(some)})
    return validate_answers(book, decision.answers, snapshot_body(conn, snapshot_sha256))


def void_last(conn: Connection, actor: Actor, project_id: str, item_id: str, reason: str) -> None:
    """Makes the signatures of an item's last decision void."""
    query = select(adjudication.c.id).where(adjudication.c.item_id == item_id)
    for adjudication_id in conn.execute(query).scalars().all():
        signatures.void(conn, actor, project_id, f"adjudication:{adjudication_id}", reason)


def lock_item(conn: Connection, actor: Actor, item_id: str) -> None:
    """Closes a decided or agreed item to revisions."""
    row, found = item_and_round(conn, item_id, lock=True)
    roles.require(conn, actor, found.project_id, "lead", "senior")
    if row.state not in ("adjudicated", "consensus", "rated"):
        raise NotAllowed(f"The item is {row.state}, expected a decided or agreed one. Decide it first.")
    conn.execute(update(item).where(item.c.id == item_id).values(state="locked", is_free=0))
    audit.append(conn, found.project_id, actor, "item_locked", f"item:{item_id}", before=row.state, after="locked")


def unlock_item(conn: Connection, actor: Actor, item_id: str, reason: str) -> None:
    """Opens a locked item to revisions and another decision; signatures of its judgements and decisions are void."""
    row, found = item_and_round(conn, item_id, lock=True)
    roles.require(conn, actor, found.project_id, "lead", "senior")
    if not reason.strip():
        raise NotAllowed(
            "There is no reason, expected one: signatures become void by this, and the audit keeps it. Write it."
        )
    if row.state != "locked":
        raise NotAllowed(f"The item is {row.state}, expected a locked one. Nothing was changed.")
    void_last(conn, actor, found.project_id, item_id, reason)
    for judgement_id, _ in said_of(conn, item_id):
        signatures.void(conn, actor, found.project_id, f"judgement:{judgement_id}", reason)
    is_decided = last_revision(conn, item_id) > 0
    conn.execute(update(item).where(item.c.id == item_id).values(state="adjudicated" if is_decided else "rated"))
    if not is_decided:
        codebook = projects.codebook_of(conn, found.codebook_version_id).codebook
        standing.refresh(conn, standing.item_of(conn, item_id), found, codebook)
    audit.append(conn, found.project_id, actor, "item_unlocked", f"item:{item_id}", detail={"reason": reason})
