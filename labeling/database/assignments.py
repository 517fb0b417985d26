"""The queue: giving a rater the next item, keeping drafts, leases that expire without losing work.

A rater has one open item per round. What is given out is held for them until the lease ends; then the slot is free for
others, while the draft stays and a late submission is kept (`labeling.database.submissions`).

Locks in PostgreSQL: a transaction waits for at most one assignment and one item, the ones it was asked for; every
other row it takes only where nobody holds it (SKIP LOCKED). So no two wait for each other.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from labeling import policy
from labeling.answers import well_formed
from labeling.database import audit, calibration, candidates, projects, signatures, standing
from labeling.database.candidates import MINE, Seat
from labeling.database.errors import Conflict, NotAllowed, NotFound
from labeling.database.prepared import Prepared
from labeling.database.rounds import Round, from_row, round_of
from labeling.database.schema import (
    IS_FREE,
    IS_HELD,
    assignment,
    draft,
    evidence_snapshot,
    item,
    judgement,
    round_,
)
from labeling.database.skills import SKILL, skills_of
from labeling.database.transaction import PROGRAM, Actor, now
from labeling.identifiers import canonical, moment, new_id, timestamp
from labeling.pool import Candidate
from sae.errors import UserError

SKIP_REASONS = ("outside_expertise", "evidence_insufficient", "display_problem", "possible_phi", "conflict_of_interest")
MAX_DRAFT = 200_000
NEUTRAL = "You have not rated this feature in this round, and it wants judgements."
"""What a rater reads of the reason; the whole one would tell gold from others."""


@dataclass(frozen=True)
class Assignment:
    """An item in a rater's hands."""

    id: str
    item_id: str
    round_id: str
    rater_id: str
    state: str
    """open, submitted, skipped, expired, released or surplus."""
    version: int
    """Goes up with every change; a writer says which one it saw."""
    lease_until: str | None
    slot: int
    stratum: str
    """Never shown to a rater."""
    reason: str
    """Why this one, as JSON with a sentence; never shown to a rater."""
    skip_reason: str | None


class Empty(NamedTuple):
    """There is nothing for this rater now."""

    reason: str
    """Why, in one sentence."""


@dataclass(frozen=True)
class Task:
    """All that a rater's page may hold: nothing of others, no gold flag, no stratum, no reason that tells them apart."""

    assignment_id: str
    round_id: str
    round_title: str
    kind: str
    """`feature`, or `detection`."""
    state: str
    version: int
    lease_until: str | None
    codebook: projects.CodebookVersion
    snapshot_sha256: str
    snapshot: dict[str, Any]
    """Of a detection task: label and contexts without activations."""
    draft: dict[str, Any] | None
    draft_saved_at: str | None
    answers: dict[str, Any] | None
    """The rater's own last answers."""
    revision: int
    reason: str
    n_submitted: int
    """By this rater in this round."""


# Statements are built once: building one takes several times as long as running it.

FIELDS = tuple(Assignment.__dataclass_fields__)
WHOLE = select(*(assignment.c[name] for name in FIELDS))
THIS = assignment.c.id == bindparam("assignment")
OWN, OWN_LOCKED = Prepared(WHOLE.where(THIS)), Prepared(WHOLE.where(THIS).with_for_update())
HELD = Prepared(WHOLE.where(*MINE, assignment.c.lease_until > ""))
"""Compared, and in no order: else SQLite goes through all that the rater ever had."""
CHANGE = Prepared(update(assignment).where(THIS))
LOST = Prepared(
    select(assignment.c.id, assignment.c.item_id)
    .join(item, item.c.id == assignment.c.item_id)
    .where(*MINE, assignment.c.state == bindparam("state"), IS_FREE)
    .order_by(assignment.c.id)
    .limit(1)
)
EVERY_OVER = (
    select(assignment.c.id, assignment.c.item_id, assignment.c.round_id, assignment.c.state)
    .where(assignment.c.lease_until < bindparam("now"))
    .order_by(assignment.c.id)
    .with_for_update(skip_locked=True)
)
OVER, OVER_HERE = Prepared(EVERY_OVER), Prepared(EVERY_OVER.where(assignment.c.round_id == bindparam("round")))
FREE_ITEM = Prepared(select(item).where(item.c.id == bindparam("item"), IS_FREE).with_for_update(skip_locked=True))
TAKEN = Prepared(select(assignment.c.slot).where(assignment.c.item_id == bindparam("item"), IS_HELD))
GIVE = {
    name: Prepared(kind.insert(assignment).on_conflict_do_nothing().returning(assignment.c.id))
    for name, kind in (("postgresql", postgresql), ("sqlite", sqlite))
}
"""By the database's kind."""
DROP_DRAFT = Prepared(delete(draft).where(draft.c.assignment_id == bindparam("assignment")))


def next_assignment(conn: Connection, actor: Actor, round_id: str) -> Assignment | Empty:
    """The rater's next item: the one they have open, or a new one.

    Raises:
        NotAllowed: The person is no rater of the round.
    """
    rater_id = rater_of(actor)
    found = round_of(conn, round_id)
    expire_leases(conn, round_id)
    seat = candidates.seat_of(conn, found, rater_id)
    if seat is None:
        raise NotAllowed("You are no rater of this round, expected one of them. Ask the lead to add you.")
    if (obstacle := obstacle_of(found, seat)) is not None:
        return obstacle
    if (held := open_of(conn, round_id, rater_id)) is not None:
        return prolong(conn, found, held)
    if (returned := take_back(conn, found, rater_id, "expired")) is not None:
        return returned
    if (given := chosen(conn, found, seat)) is not None:
        return given
    return take_back(conn, found, rater_id, "released") or nothing_left(conn, found, rater_id)


def chosen(conn: Connection, found: Round, seat: Seat) -> Assignment | None:
    """The policy's choice among the candidates, or its next one where another rater was faster."""
    book = projects.codebook_of(conn, found.codebook_version_id).codebook
    categories = [category.code for category in book.question(book.primary).categories]
    queue, cursors = found.settings.queue, json.loads(seat.written)
    history = candidates.history_of(conn, found, seat, cursors)
    for fit in candidates.candidates_of(conn, found, seat, categories, cursors):
        skill = skill_for(conn, found, seat.rater_id, book.primary, fit)
        rater = candidates.rater_of(seat.rater_id, len(categories), skill)
        while fit:
            choice = policy.choose(fit, rater, history, queue, found.seed)
            if isinstance(choice, policy.Empty):
                break
            if (given := give(conn, found, seat.rater_id, choice)) is not None:
                candidates.keep(conn, found.id, seat, {**cursors, "n_served": history.n_served + 1})
                return given
            fit = [candidate for candidate in fit if candidate.item_id != choice.item_id]  # noqa: PLW2901 - the rest of it
    candidates.keep(conn, found.id, seat, cursors)
    return None


def skill_for(conn: Connection, found: Round, rater_id: str, primary: str, fit: Sequence[Candidate]) -> float:
    """How often a rater is right; asked only where the policy weighs it, which is for adaptive items."""
    if all(candidate.stratum != "adaptive" for candidate in fit):
        return SKILL
    return skills_of(conn, found.project_id, [rater_id], primary).get(rater_id, SKILL)


def rater_of(actor: Actor) -> str:
    """Who rates."""
    if actor.user_id is None:
        raise NotAllowed("Nobody is signed in, expected a rater. Sign in first.")
    return actor.user_id


def obstacle_of(found: Round, seat: Seat) -> Empty | None:
    """Why a rater gets nothing from a round whatever it holds."""
    if found.state != "open":
        return Empty(f"The round is {found.state}; the lead can say when it goes on.")
    if found.gate_round_id is not None:
        if seat.gate_before == "repeat":
            return Empty("Your calibration is to be repeated; the lead will open another one.")
        if seat.gate_before != "passed":
            return Empty("The calibration round comes first; this one opens when you have passed it.")
    return None


def nothing_left(conn: Connection, found: Round, rater_id: str) -> Empty:
    """Why a round holds nothing more for a rater."""
    free = conn.execute(
        select(item.c.id).where(item.c.round_id == found.id, IS_FREE, item.c.only_for.is_(None)).limit(1)
    ).first()
    retest = conn.execute(
        select(func.min(item.c.due_at)).where(
            item.c.round_id == found.id, item.c.only_for == rater_id, item.c.due_at > now(conn), IS_FREE
        )
    ).scalar_one()
    if retest is not None:
        return Empty(f"You are done for now; some features come once more from {retest[:10]} on.")
    if free is not None:
        return Empty("You have had every feature that you may judge; those left wait for other raters.")
    held = conn.execute(
        select(assignment.c.id).where(assignment.c.round_id == found.id, assignment.c.state == "open").limit(1)
    ).first()
    if held is not None:
        return Empty("Every feature is rated or in somebody's hands; what they give back will come to you.")
    return Empty("Every feature of this round is rated.")


def give(conn: Connection, found: Round, rater_id: str, choice: policy.Choice) -> Assignment | None:
    """Gives an item to a rater, unless somebody was faster."""
    item_id = choice.item_id
    row = FREE_ITEM.first(conn, {"item": item_id})
    slot = None if row is None else free_slot(conn, row)
    if row is None or slot is None:
        return None
    is_extra = slot > row.slots - row.n_extra
    values: dict[str, Any] = {
        "id": new_id(),
        "item_id": item_id,
        "round_id": found.id,
        "rater_id": rater_id,
        "slot": slot,
        "stratum": "escalated" if is_extra else row.stratum,
        "state": "open",
        "lease_until": lease_end(conn, found),
        "version": 1,
        "reason": canonical({"sentence": choice.sentence, **choice.reason}),
        "skip_reason": None,
        "created_at": now(conn),
    }
    if not insert_unless_taken(conn, values):
        return None
    is_free = row.n_held + 1 < row.slots
    standing.CHANGE.run(conn, {"item": item_id, "n_held": row.n_held + 1, "is_free": int(is_free)})
    detail = {"item": item_id, "snapshot": row.snapshot_sha256, "step": choice.step}
    audit.append(conn, found.project_id, Actor(rater_id), "evidence_shown", f"assignment:{values['id']}", detail=detail)
    return Assignment(**{name: values[name] for name in FIELDS})


def insert_unless_taken(conn: Connection, values: dict[str, Any]) -> bool:
    """Inserts an assignment; the constraints, not this code, are what keeps two raters from one slot."""
    return GIVE[conn.dialect.name].first(conn, values) is not None


def free_slot(conn: Connection, row: Any) -> int | None:
    """The smallest slot of an item that nobody holds."""
    taken = {row.slot for row in TAKEN.rows(conn, {"item": row.id})}
    return next((slot for slot in range(1, row.slots + 1) if slot not in taken), None)


def lease_end(conn: Connection, found: Round) -> str:
    """When an item given now is free for others."""
    return timestamp(moment(now(conn)) + timedelta(minutes=found.settings.lease_min))


def open_of(conn: Connection, round_id: str, rater_id: str) -> Assignment | None:
    """What a rater has open in a round; a submission that they took back first."""
    held = [Assignment(*row) for row in HELD.rows(conn, {"rater": rater_id, "round": round_id})]
    return min(held, key=lambda one: (one.state == "open", one.id), default=None)


def prolong(conn: Connection, found: Round, held: Assignment) -> Assignment:
    """The lease of an open item begins anew."""
    CHANGE.run(conn, {"assignment": held.id, "lease_until": lease_end(conn, found)})
    return assignment_of(conn, held.id)


def take_back(conn: Connection, found: Round, rater_id: str, state: str) -> Assignment | None:
    """Gives a rater what they had begun and lost, where its slot is still free."""
    lost = LOST.first(conn, {"rater": rater_id, "round": found.id, "state": state})
    if lost is None:
        return None
    row = FREE_ITEM.first(conn, {"item": lost.item_id})
    slot = None if row is None else free_slot(conn, row)
    if slot is None:
        return None
    values = {"state": "open", "slot": slot, "lease_until": lease_end(conn, found)}
    CHANGE.run(conn, {"assignment": lost.id, **values})
    standing.hold(conn, lost.item_id)
    audit.append(
        conn, found.project_id, Actor(rater_id), "evidence_shown", f"assignment:{lost.id}", detail={"again": True}
    )
    return assignment_of(conn, lost.id)


def assignment_of(
    conn: Connection, assignment_id: str, actor: Actor | None = None, *, lock: bool = False
) -> Assignment:
    """An assignment; with an actor only their own.

    Raises:
        NotFound: There is none, or it is somebody else's.
    """
    row = (OWN_LOCKED if lock else OWN).first(conn, {"assignment": assignment_id})
    if row is None or (actor is not None and row.rater_id != actor.user_id):
        raise NotFound("There is no such task of yours, expected one that was given to you. Ask for the next one.")
    return Assignment(*row)


def refuse_version(found: Assignment, version: int) -> None:
    """Refuses a write that was made beside an older state."""
    if found.version != version:
        raise Conflict(
            f"The task is at version {found.version}, expected {version}: it was changed in another window. Reload it; nothing "
            "was overwritten.",
            state_of(found),
        )


def state_of(found: Assignment) -> dict[str, Any]:
    """What a rater may know of their assignment."""
    return {"assignment_id": found.id, "state": found.state, "version": found.version, "lease_until": found.lease_until}


def task_of(conn: Connection, actor: Actor, assignment_id: str) -> Task:
    """What is shown to the rater of an assignment."""
    found = assignment_of(conn, assignment_id, actor)
    round_row = round_of(conn, found.round_id)
    row = conn.execute(
        select(item.c.snapshot_sha256, item.c.detail, item.c.stratum, evidence_snapshot.c.body)
        .join(evidence_snapshot, evidence_snapshot.c.sha256 == item.c.snapshot_sha256)
        .where(item.c.id == found.item_id)
    ).one()
    saved = conn.execute(select(draft).where(draft.c.assignment_id == assignment_id)).one_or_none()
    last = conn.execute(
        select(judgement.c.body, judgement.c.revision)
        .where(judgement.c.assignment_id == assignment_id)
        .order_by(judgement.c.revision.desc())
        .limit(1)
    ).one_or_none()
    version = projects.codebook_of(conn, round_row.codebook_version_id)
    is_detection = row.stratum == "detection"
    snapshot = detection_view(row) if is_detection else json.loads(row.body)
    return Task(
        assignment_id=found.id,
        round_id=found.round_id,
        round_title=round_row.title,
        kind="detection" if is_detection else "feature",
        state=found.state,
        version=found.version,
        lease_until=found.lease_until,
        codebook=version,
        snapshot_sha256=row.snapshot_sha256,
        snapshot=snapshot,
        draft=well_formed(version.codebook, json.loads(saved.body)) if saved else None,
        draft_saved_at=saved.saved_at if saved else None,
        answers=json.loads(last.body) if last else None,
        revision=last.revision if last else 0,
        reason=NEUTRAL,
        n_submitted=n_submitted_by(conn, actor, found.round_id),
    )


def detection_view(row: Any) -> dict[str, Any]:
    """Label and contexts of a detection task, without anything that says which of them fire."""
    detail = json.loads(row.detail)
    return {"label": detail["label"], "contexts": detail["contexts"]}


def n_submitted_by(conn: Connection, actor: Actor, round_id: str) -> int:
    """How many items a rater has submitted in a round."""
    return conn.execute(
        select(func.count()).where(
            assignment.c.rater_id == actor.user_id,
            assignment.c.round_id == round_id,
            assignment.c.state.in_(("submitted", "surplus")),
        )
    ).scalar_one()


def save_draft(conn: Connection, actor: Actor, assignment_id: str, body: dict[str, Any]) -> str:
    """Keeps what a rater has typed so far; when. It survives an expired lease and is never analysed.

    Raises:
        UserError: It is larger than any form, or holds what no form of the codebook does.
    """
    found = assignment_of(conn, assignment_id, actor)
    version = projects.codebook_of(conn, round_of(conn, found.round_id).codebook_version_id)
    body = {key: answer for key, answer in body.items() if answer is not None}
    kept = well_formed(version.codebook, body)
    if len(kept) < len(body):
        raise UserError(
            f"{len(body) - len(kept)} answers of the draft have another form than their fields, expected texts, lists and passages "
            "as the page sends them. Reload the page; the draft before stands."
        )
    text = canonical(kept)
    if len(text) > MAX_DRAFT or any("\ud800" <= char <= "\udfff" for char in text):
        raise UserError(f"The draft is longer than {MAX_DRAFT} characters or no text, expected less. Shorten it.")
    values = {"body": text, "saved_at": now(conn)}
    if conn.execute(update(draft).where(draft.c.assignment_id == assignment_id).values(**values)).rowcount == 0:
        conn.execute(insert(draft), {"assignment_id": assignment_id, **values})
    conn.execute(
        update(assignment)
        .where(assignment.c.id == assignment_id, assignment.c.state == "open")
        .values(lease_until=renewed(conn, assignment_id))
    )
    return values["saved_at"]


def renewed(conn: Connection, assignment_id: str) -> str:
    """The end of a lease that begins now."""
    query = (
        select(round_).join(assignment, assignment.c.round_id == round_.c.id).where(assignment.c.id == assignment_id)
    )
    return lease_end(conn, from_row(conn.execute(query).one()))


def skip(
    conn: Connection, actor: Actor, assignment_id: str, reason: str, *, version: int, comment: str = ""
) -> Assignment:
    """Leaves an item to others for a reason; `possible_phi` takes its evidence away from everybody at once.

    A rater who had submitted and took it back may skip as well: the judgement stays stored, and counts no more.

    Raises:
        UserError: The reason is none of `SKIP_REASONS`.
        Conflict: It was changed in between.
        NotAllowed: It was submitted, and is not taken back or can no longer be changed.
    """
    if reason not in SKIP_REASONS:
        raise UserError(f"The reason is {reason!r}, expected one of {', '.join(SKIP_REASONS)}. Choose one of them.")
    found = assignment_of(conn, assignment_id, actor, lock=True)
    if (found.state, found.skip_reason) == ("skipped", reason):
        return found
    refuse_version(found, version)
    if found.state in ("submitted", "surplus") and found.lease_until is None:
        raise NotAllowed("The task is submitted, expected an open one. Undo the submission first.")
    had_judgement = found.state in ("submitted", "surplus")
    round_row = round_of(conn, found.round_id)
    if had_judgement:
        refuse_settled(standing.item_of(conn, found.item_id).state, round_row)
        withdraw_signatures(conn, actor, round_row.project_id, assignment_id, "the judgement was withdrawn")
    values = {"state": "skipped", "skip_reason": reason, "lease_until": None, "version": found.version + 1}
    conn.execute(update(assignment).where(assignment.c.id == assignment_id).values(**values))
    settle(conn, found, round_row, had_judgement=had_judgement)
    detail = {"reason": reason, "comment": comment[:500]}
    audit.append(conn, round_row.project_id, actor, "item_skipped", f"assignment:{assignment_id}", detail=detail)
    if reason == "possible_phi":
        quarantine(conn, actor, round_row.project_id, found.item_id)
    if round_row.kind == "calibration":
        calibration.refresh_gate(conn, round_row, found.rater_id)
    return assignment_of(conn, assignment_id)


def refuse_settled(item_state: str, round_row: Round) -> None:
    """Refuses to change a judgement that others have built on.

    Raises:
        NotAllowed: Its item is decided, or its round closed.
    """
    if item_state in ("adjudicated", "locked") or round_row.state == "closed":
        raise NotAllowed(
            "The item is decided or its round closed, expected an open one. Your judgement stays as it is."
        )


def withdraw_signatures(conn: Connection, actor: Actor, project_id: str, assignment_id: str, reason: str) -> None:
    """Makes the signatures of an assignment's judgements void."""
    query = select(judgement.c.id).where(judgement.c.assignment_id == assignment_id)
    for judgement_id in conn.execute(query).scalars().all():
        signatures.void(conn, actor, project_id, f"judgement:{judgement_id}", reason)


def settle(conn: Connection, found: Assignment, round_row: Round, *, had_judgement: bool) -> None:
    """Brings an item's counts up to date after an assignment ended."""
    if had_judgement:
        codebook = projects.codebook_of(conn, round_row.codebook_version_id).codebook
        standing.refresh(conn, standing.item_of(conn, found.item_id), round_row, codebook)
    else:
        standing.hold(conn, found.item_id)


def release(conn: Connection, actor: Actor, assignment_id: str, *, version: int) -> Assignment:
    """Gives an open item back without a reason; it may come again at the end."""
    found = assignment_of(conn, assignment_id, actor, lock=True)
    if found.state == "released":
        return found
    refuse_version(found, version)
    if found.state != "open":
        raise NotAllowed(f"The task is {found.state}, expected an open one. Nothing was changed.")
    conn.execute(update(assignment).where(assignment.c.id == assignment_id).values(state="released", lease_until=None))
    standing.hold(conn, found.item_id)
    project_id = round_of(conn, found.round_id).project_id
    audit.append(conn, project_id, actor, "item_released", f"assignment:{assignment_id}")
    return assignment_of(conn, assignment_id)


def quarantine(conn: Connection, actor: Actor, project_id: str, item_id: str) -> int:
    """Takes an item's evidence away from everybody, in every round of the project; how many items show it."""
    digest = conn.execute(select(item.c.snapshot_sha256).where(item.c.id == item_id)).scalar_one()
    running = select(round_.c.id).where(round_.c.project_id == project_id)
    n_items = conn.execute(
        update(item)
        .where(item.c.snapshot_sha256 == digest, item.c.round_id.in_(running))
        .values(state="quarantined", is_free=0)
    ).rowcount
    audit.append(conn, project_id, actor, "evidence_quarantined", f"snapshot:{digest}", detail={"n_items": n_items})
    calibrations = select(round_).where(round_.c.project_id == project_id, round_.c.kind == "calibration")
    for row in conn.execute(calibrations.where(round_.c.state != "closed").order_by(round_.c.id)).all():
        calibration.refresh_gates(conn, from_row(row))
    return n_items


def expire_leases(conn: Connection, round_id: str | None = None) -> int:
    """Frees the slots of items whose lease has ended; how many. Drafts stay, and a late submission is kept."""
    n_expired = 0
    here = {} if round_id is None else {"round": round_id}
    for row in (OVER_HERE if here else OVER).rows(conn, {"now": now(conn), **here}):
        locked = select(item.c.id).where(item.c.id == row.item_id).with_for_update(skip_locked=True)
        if conn.execute(locked).one_or_none() is None:
            continue
        is_open = row.state == "open"
        values = {"lease_until": None, "state": "expired"} if is_open else {"lease_until": None}
        CHANGE.run(conn, {"assignment": row.id, **values})
        if is_open:
            n_expired += 1
            standing.hold(conn, row.item_id)
            project_id = conn.execute(select(round_.c.project_id).where(round_.c.id == row.round_id)).scalar_one()
            audit.append(conn, project_id, PROGRAM, "lease_expired", f"assignment:{row.id}")
    return n_expired


def drop_draft(conn: Connection, assignment_id: str) -> None:
    """A submitted form needs no draft."""
    DROP_DRAFT.run(conn, {"assignment": assignment_id})
