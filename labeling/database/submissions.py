"""Judgements: submitting, revising, taking back. What was acknowledged is never lost, changed or counted twice.

- `client_uuid` makes a request count once: the same one again gets the same answer.
- A submission after the lease ended is kept: it fills the slot, or where that was given away, stands as surplus.
- A revision is another row; the one before stays.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from labeling.answers import labels_of, validate_answers
from labeling.database import assignments, audit, calibration, detection, projects, standing
from labeling.database.assignments import Assignment, assignment_of, refuse_version, state_of
from labeling.database.errors import Conflict, NotAllowed, NotFound
from labeling.database.prepared import Prepared
from labeling.database.rounds import Round, round_of
from labeling.database.schema import assignment, draft, evidence_snapshot, item, judgement, judgement_label
from labeling.database.transaction import Actor, now
from labeling.identifiers import canonical, moment, new_id, sha256, timestamp
from sae.errors import UserError

MAX_MS = 24 * 3600 * 1000
RETESTED = ("irr_fixed", "adaptive", "single")


class Accepted(NamedTuple):
    """A judgement that is stored once the transaction has ended."""

    judgement_id: str
    revision: int
    is_late: bool
    """It came after the lease had ended."""
    is_surplus: bool
    """Its slot had been given to another rater, who has filled it."""


class Sent(NamedTuple):
    """What a rater's page sends beside the answers."""

    client_uuid: str
    """Made by the page, once for this submission."""
    version: int
    """Of the assignment that the page saw."""
    active_ms: int = 0
    """With focus and interaction."""
    wall_ms: int = 0
    has_seen_explanation: bool = False
    """Whether a machine's explanation had been shown."""


def submit(conn: Connection, actor: Actor, assignment_id: str, answers: Mapping[str, Any], sent: Sent) -> Accepted:
    """Stores a rater's answers to an item they have open, had open, or took back.

    Raises:
        UserError: An answer is missing or wrong.
        Conflict: The task was changed in between, or is submitted already.
        NotFound: It is not theirs.
    """
    return store(conn, actor, assignment_id, answers, sent, is_revision=False)


def revise(conn: Connection, actor: Actor, assignment_id: str, answers: Mapping[str, Any], sent: Sent) -> Accepted:
    """Stores another revision of a submitted judgement, as after a look at a machine's explanation.

    Raises:
        UserError, Conflict, NotFound: As `submit`.
        NotAllowed: The item is adjudicated or its round closed.
    """
    return store(conn, actor, assignment_id, answers, sent, is_revision=True)


BEFORE = Prepared(
    select(judgement).where(
        (judgement.c.assignment_id == bindparam("assignment")) | (judgement.c.client_uuid == bindparam("name"))
    )
)
LABEL = Prepared(insert(judgement_label))
EVIDENCE = Prepared(select(evidence_snapshot.c.body).where(evidence_snapshot.c.sha256 == bindparam("snapshot")))


def store(
    conn: Connection, actor: Actor, assignment_id: str, answers: Mapping[str, Any], sent: Sent, *, is_revision: bool
) -> Accepted:
    """One judgement with everything that follows from it."""
    found = assignment_of(conn, assignment_id, actor, lock=True)
    place = standing.ITEM_LOCKED.first(conn, {"item": found.item_id})
    round_row = round_of(conn, found.round_id)
    version = projects.codebook_of(conn, round_row.codebook_version_id)
    body = checked(conn, answers, version.codebook, place)
    before = BEFORE.rows(conn, {"assignment": found.id, "name": named(sent.client_uuid)})
    if (known := known_answer(before, sent.client_uuid, found, body)) is not None:
        return known
    refuse_version(found, sent.version)
    refuse_state(conn, found, place.state, round_row, is_revision=is_revision)
    is_late = found.state in ("expired", "released") or (found.state == "open" and is_over(conn, found))
    state, slot = state_and_slot(conn, found, place)
    accepted = Accepted(new_id(), 1 + last_revision(before), is_late, state == "surplus")
    if accepted.revision > 1:
        assignments.withdraw_signatures(conn, actor, round_row.project_id, found.id, "the judgement was revised")
    row = {
        "id": accepted.judgement_id,
        "assignment_id": found.id,
        "revision": accepted.revision,
        "codebook_version_id": version.id,
        "snapshot_sha256": place.snapshot_sha256,
        "body": canonical(body),
        "body_sha256": sha256(body),
        "active_ms": min(max(sent.active_ms, 0), MAX_MS),
        "wall_ms": min(max(sent.wall_ms, 0), MAX_MS),
        "has_seen_explanation": int(sent.has_seen_explanation),
        "is_late": int(is_late),
        "submitted_at": now(conn),
        "client_uuid": sent.client_uuid,
    }
    detail = {
        "assignment": found.id,
        "revision": accepted.revision,
        "is_late": is_late,
        "is_surplus": state == "surplus",
    }
    audit.record(conn, judgement, row, round_row.project_id, actor, "judgement_submitted", detail)
    labels = [] if place.stratum == "detection" else labels_of(version.codebook, body)
    for key, value in labels:
        LABEL.run(conn, {"judgement_id": row["id"], "key": key, "value": value})
    values = {"state": state, "slot": slot, "lease_until": None, "version": found.version + 1}
    first = {"submitted_at": now(conn)} if accepted.revision == 1 else {}
    assignments.CHANGE.run(conn, {"assignment": found.id, **values, **first})
    assignments.drop_draft(conn, found.id)
    standing.refresh(conn, place, round_row, version.codebook)
    follow_up(conn, found, place, round_row, accepted)
    return accepted


def checked(conn: Connection, answers: Mapping[str, Any], codebook: Any, place: Any) -> dict[str, Any]:
    """The answers in the form that is stored."""
    if place.stratum == "detection":
        return detection.validate_marks(answers, json.loads(place.detail))
    if all(question.kind != "rationale" for question in codebook.questions):
        return validate_answers(codebook, answers, {"contexts": []})  # nobody cites the evidence
    body = EVIDENCE.first(conn, {"snapshot": place.snapshot_sha256}).body
    return validate_answers(codebook, answers, json.loads(body))


def named(client_uuid: str) -> str:
    """The name that a request counts by.

    Raises:
        UserError: It has none.
    """
    if not client_uuid or len(client_uuid) > 36:
        raise UserError("The request has no name of its own, expected a UUID. Reload the page and send it again.")
    return client_uuid


def known_answer(before: Sequence[Any], client_uuid: str, found: Assignment, body: dict[str, Any]) -> Accepted | None:
    """What was said to the same request before.

    Args:
        before: Judgements of the same assignment or of the same name.
        client_uuid: The request's name.
        found: The assignment.
        body: The answers.

    Raises:
        Conflict: The same name was given to other answers.
    """
    row = next((row for row in before if row.client_uuid == client_uuid), None)
    if row is None:
        return None
    if row.assignment_id != found.id or row.body_sha256 != sha256(body):
        raise Conflict(
            "The request's name was used for other answers, expected one for each submission. Reload the page; what was stored "
            "first stands.",
            state_of(found),
        )
    return Accepted(row.id, row.revision, bool(row.is_late), found.state == "surplus")


def refuse_state(conn: Connection, found: Assignment, item_state: str, round_row: Round, *, is_revision: bool) -> None:
    """Refuses what does not fit the assignment's state; a first submission is refused only where it was skipped."""
    is_submitted = found.state in ("submitted", "surplus")
    if found.state == "skipped":
        raise NotAllowed("You skipped this task, expected an open one. Ask for the next one.")
    if not is_submitted and is_revision:
        raise NotAllowed("You have not submitted this task, expected a submitted one to revise. Submit it first.")
    if is_submitted and not is_revision and found.lease_until is None:
        raise Conflict("The task is submitted, expected an open one. Undo it to change your answers.", state_of(found))
    if is_submitted:
        assignments.refuse_settled(item_state, round_row)


def is_over(conn: Connection, found: Assignment) -> bool:
    """Whether a lease has ended that nobody has swept up yet."""
    return found.lease_until is not None and found.lease_until < now(conn)


def state_and_slot(conn: Connection, found: Assignment, place: Any) -> tuple[str, int]:
    """What becomes of an assignment: it fills its slot, another free one, or none."""
    if found.state in ("open", "submitted", "surplus"):
        return ("submitted" if found.state == "open" else found.state), found.slot
    slot = assignments.free_slot(conn, place)
    return ("surplus", found.slot) if slot is None else ("submitted", slot)


def last_revision(before: Sequence[Any]) -> int:
    """The number of an assignment's last judgement, 0 for none."""
    return max((row.revision for row in before), default=0)


def follow_up(conn: Connection, found: Assignment, place: Any, round_row: Round, accepted: Accepted) -> None:
    """A retest for later, the calibration's gate."""
    if accepted.revision > 1:
        return
    if place.stratum in RETESTED and is_drawn(round_row, found):
        plan_retest(conn, found, place, round_row)
    if round_row.kind == "calibration":
        calibration.refresh_gate(conn, round_row, found.rater_id)


def is_drawn(round_row: Round, found: Assignment) -> bool:
    """Whether a rater gets this item once more, decided by seed, item and rater."""
    digest = sha256([round_row.seed, found.item_id, found.rater_id])
    return int(digest[:8], 16) / 2**32 < round_row.settings.retest_share


def plan_retest(conn: Connection, found: Assignment, place: Any, round_row: Round) -> None:
    """The same evidence once more for the same rater, after the wash-out."""
    due = timestamp(moment(now(conn)) + timedelta(days=round_row.settings.queue.retest_after_days))
    row = {
        "id": new_id(), "round_id": found.round_id, "feature_id": place.feature_id, "snapshot_sha256": place.snapshot_sha256,
        "stratum": "retest", "slots": 1, "retest_of": found.item_id, "only_for": found.rater_id, "due_at": due,
    }  # fmt: skip
    conn.execute(insert(item), row)
    audit.append(
        conn,
        round_row.project_id,
        Actor(None),
        "retest_planned",
        f"item:{row['id']}",
        detail={"of": found.item_id, "due": due},
    )


def undo_last(conn: Connection, actor: Actor, round_id: str) -> Assignment:
    """Opens the rater's last submission once more; it counts as it is until they submit again. What they typed after it,
    in another window, is kept as their draft.

    Raises:
        NotFound: They have submitted nothing in this round.
        NotAllowed: It is decided, or the round closed.
    """
    last = conn.execute(
        select(assignment.c.id)
        .where(
            assignment.c.rater_id == actor.user_id,
            assignment.c.round_id == round_id,
            assignment.c.submitted_at.is_not(None),
        )
        .order_by(assignment.c.submitted_at.desc())
        .limit(1)
    ).scalar_one_or_none()
    if last is None:
        raise NotFound("You have submitted nothing in this round, expected a submission to undo. Rate an item first.")
    found = assignment_of(conn, last, actor, lock=True)
    if found.state not in ("submitted", "surplus"):
        raise NotAllowed(f"Your last task is {found.state}, expected a submitted one. Nothing was changed.")
    if found.lease_until is not None:
        return found
    state = conn.execute(select(item.c.state).where(item.c.id == found.item_id)).scalar_one()
    round_row = round_of(conn, round_id)
    refuse_state(conn, found, state, round_row, is_revision=True)
    values = {"lease_until": assignments.lease_end(conn, round_row), "version": found.version + 1}
    conn.execute(update(assignment).where(assignment.c.id == last).values(**values))
    if conn.execute(select(draft.c.saved_at).where(draft.c.assignment_id == last)).first() is None:
        query = select(judgement.c.body).where(judgement.c.assignment_id == last)
        body = conn.execute(query.order_by(judgement.c.revision.desc()).limit(1)).scalar_one()
        conn.execute(insert(draft), {"assignment_id": last, "body": body, "saved_at": now(conn)})
    audit.append(conn, round_row.project_id, actor, "submission_reopened", f"assignment:{last}")
    return assignment_of(conn, last)
