"""Calibration: a rater's answers beside the known ones, and the gate before the main round.

The gate opens when there is no item left that the rater may have, and their accuracy on the primary field reaches the
target (`labeling.gates`); else the calibration is to be repeated. An item with a known answer that they skipped for want of
expertise or evidence counts as not right: skipping what is hard is no way past the gate. They see how they did only when
everybody has finished, or the round is closed.
"""

import json
from typing import NamedTuple

from sqlalchemy import Connection, exists, func, or_, select, update

from labeling.database import audit, projects, roles
from labeling.database.bars import bars_of, unbarred
from labeling.database.errors import NotAllowed, NotFound
from labeling.database.rounds import Round, round_of
from labeling.database.schema import assignment, feature, gold, item, judgement, judgement_label, round_rater
from labeling.database.transaction import PROGRAM, Actor
from labeling.identifiers import canonical

GATES = ("passed", "repeat", "pending")
LEAST_REASON = 5
SHRUNK = ("outside_expertise", "evidence_insufficient")
"""Reasons of a skip that say of the rater what a wrong answer would."""


class Against(NamedTuple):
    """A rater beside known answers."""

    n: int
    """Items with a known answer that they judged, or skipped for want of expertise or evidence."""
    n_right: int
    sentence: str
    """The gate's, with accuracy and interval."""
    is_passed: bool


class Feedback(NamedTuple):
    """One calibration item after everybody has answered it."""

    item_id: str
    snapshot_sha256: str
    yours: str | None
    known: str | None
    source: str
    distribution: dict[str, int]
    """Everybody's answers, without names."""


def refresh_gate(conn: Connection, round_row: Round, rater_id: str) -> None:
    """Decides a rater's gate, if it is not decided, when there is no item of a calibration round left that they may have."""
    mine = (round_rater.c.round_id == round_row.id, round_rater.c.user_id == rater_id)
    if conn.execute(select(round_rater.c.gate).where(*mine)).scalar_one() != "pending":
        return
    had = exists().where(
        assignment.c.item_id == item.c.id,
        assignment.c.rater_id == rater_id,
        assignment.c.state.in_(("submitted", "surplus", "skipped")),
    )
    left = (
        select(item.c.id)
        .join(feature, feature.c.id == item.c.feature_id)
        .where(item.c.round_id == round_row.id, item.c.state == "open", ~had)
    )
    bars = bars_of(conn, round_row.project_id, rater_id)
    if conn.execute(unbarred(left, bars).limit(1), bars).first() is not None:
        return
    found = against_gold(conn, round_row, rater_id)
    gate = "passed" if found.is_passed or not has_gold(conn, round_row) else "repeat"
    conn.execute(update(round_rater).where(*mine).values(gate=gate, gate_detail=canonical(found._asdict())))
    audit.append(
        conn, round_row.project_id, PROGRAM, "gate_decided", f"user:{rater_id}",
        after=gate, detail={"round": round_row.id, "gate": gate, **found._asdict()},
    )  # fmt: skip


def refresh_gates(conn: Connection, round_row: Round) -> None:
    """The same for every rater, where items were taken away."""
    query = select(round_rater.c.user_id).where(round_rater.c.round_id == round_row.id)
    for rater_id in conn.execute(query.order_by(round_rater.c.user_id)).scalars().all():
        refresh_gate(conn, round_row, rater_id)


def has_gold(conn: Connection, round_row: Round) -> bool:
    """Whether a round has a known answer to the primary field that a rater could meet."""
    primary = projects.codebook_of(conn, round_row.codebook_version_id).codebook.primary
    query = (
        select(gold.c.body)
        .join(item, item.c.id == gold.c.item_id)
        .where(item.c.round_id == round_row.id, item.c.state != "quarantined")
    )
    return any(primary in json.loads(body) for body in conn.execute(query).scalars())


def set_gate(conn: Connection, actor: Actor, round_id: str, rater_id: str, gate: str, reason: str) -> None:
    """A lead's own decision on a rater's gate, with a reason for the audit.

    Raises:
        NotAllowed: They are no lead, the round is no calibration, or a reason is missing.
        NotFound: The rater has no part in the round.
    """
    round_row = round_of(conn, round_id)
    roles.require(conn, actor, round_row.project_id, "lead")
    if gate not in GATES or round_row.kind != "calibration":
        raise NotAllowed(
            f"The gate of a {round_row.kind} round is to be {gate!r}, expected {', '.join(GATES)} of a calibration. Choose again."
        )
    if len(reason.strip()) < LEAST_REASON:
        raise NotAllowed(
            f"The reason has {len(reason.strip())} characters, expected {LEAST_REASON} or more: the audit keeps it. Write one."
        )
    mine = (round_rater.c.round_id == round_id, round_rater.c.user_id == rater_id)
    before = conn.execute(select(round_rater.c.gate).where(*mine)).scalar_one_or_none()
    if before is None:
        raise NotFound("This person has no part in the round, expected one of its raters. Choose one from the list.")
    conn.execute(update(round_rater).where(*mine).values(gate=gate))
    detail = {"round": round_id, "reason": reason.strip(), "gate": gate}
    audit.append(
        conn, round_row.project_id, actor, "gate_set", f"user:{rater_id}", before=before, after=gate, detail=detail
    )


def against_gold(conn: Connection, round_row: Round, rater_id: str) -> Against:
    """A rater's first answers in a round beside the known ones, on the primary field; none where they shrank from it."""
    primary = projects.codebook_of(conn, round_row.codebook_version_id).codebook.primary
    query = (
        select(gold.c.body, judgement_label.c.value, assignment.c.state)
        .join(item, item.c.id == gold.c.item_id)
        .join(assignment, assignment.c.item_id == item.c.id)
        .outerjoin(judgement, (judgement.c.assignment_id == assignment.c.id) & (judgement.c.revision == 1))
        .outerjoin(
            judgement_label, (judgement_label.c.judgement_id == judgement.c.id) & (judgement_label.c.key == primary)
        )
        .where(
            item.c.round_id == round_row.id,
            assignment.c.rater_id == rater_id,
            or_(assignment.c.state.in_(("submitted", "surplus")), assignment.c.skip_reason.in_(SHRUNK)),
        )
    )
    known = [
        (json.loads(row.body).get(primary), None if row.state == "skipped" else row.value)
        for row in conn.execute(query)
    ]
    pairs = [(right, said) for right, said in known if right is not None]
    n_right = sum(right == said for right, said in pairs)
    from labeling.gates import rater_gate  # its scipy.stats takes longer to import than all the rest

    said = rater_gate(n_right, len(pairs), round_row.settings.queue)
    return Against(len(pairs), n_right, said.sentence, said.is_passed)


def is_over(conn: Connection, round_id: str) -> bool:
    """Whether every rater of a calibration has had every item they may have, or the round is closed."""
    pending = select(func.count()).where(round_rater.c.round_id == round_id, round_rater.c.gate == "pending")
    return round_of(conn, round_id).state == "closed" or conn.execute(pending).scalar_one() == 0


def feedback(conn: Connection, actor: Actor, round_id: str) -> list[Feedback]:
    """A rater's answers beside the known ones and everybody's distribution, once nobody can be swayed by it.

    Raises:
        NotAllowed: Somebody has not finished.
    """
    round_row = round_of(conn, round_id)
    if not is_over(conn, round_id):
        raise NotAllowed("Not everybody has finished the calibration, expected all before anybody sees answers. Wait.")
    primary = projects.codebook_of(conn, round_row.codebook_version_id).codebook.primary
    query = (
        select(
            item.c.id, item.c.snapshot_sha256, item.c.place, assignment.c.rater_id, judgement_label.c.value, gold.c.body,
            gold.c.source,
        )
        .join(assignment, assignment.c.item_id == item.c.id)
        .join(judgement, (judgement.c.assignment_id == assignment.c.id) & (judgement.c.revision == 1))
        .join(judgement_label, (judgement_label.c.judgement_id == judgement.c.id) & (judgement_label.c.key == primary))
        .outerjoin(gold, gold.c.item_id == item.c.id)
        .where(item.c.round_id == round_id)
        .order_by(item.c.place)
    )  # fmt: skip
    found: dict[str, Feedback] = {}
    for row in conn.execute(query):
        known = json.loads(row.body).get(primary) if row.body else None
        one = found.setdefault(row.id, Feedback(row.id, row.snapshot_sha256, None, known, row.source or "", {}))
        one.distribution[row.value] = one.distribution.get(row.value, 0) + 1
        if row.rater_id == actor.user_id:
            found[row.id] = one._replace(yours=row.value)
    return list(found.values())
