"""Signatures: a printed name, a time and a meaning, bound to the hash of what was signed; void when that changes.

Source: 21 CFR 11.50 (name, time, meaning), 11.70 (bound to the record), 11.200 (asked for again at signing).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, update

from labeling.database import accounts, audit
from labeling.database.errors import NotAllowed, NotFound
from labeling.database.schema import (
    adjudication,
    assignment,
    codebook_version,
    item,
    judgement,
    report,
    round_,
    signature,
)
from labeling.database.transaction import Actor, now
from labeling.identifiers import moment, new_id, sha256

PROOF_S = 120
MEANINGS = ("rated", "reviewed", "adjudicated", "approved")


class Signature(NamedTuple):
    """One signature."""

    id: str
    user_id: str
    printed_name: str
    meaning: str
    object: str
    record_sha256: str
    auth_method: str
    signed_at: str
    voided_at: str | None
    void_reason: str | None


def sign(
    conn: Connection,
    actor: Actor,
    project_id: str,
    object: str,  # noqa: A002 - the column's name
    meaning: str,
    proof: accounts.Proof,
) -> Signature:
    """Signs a record.

    Args:
        conn: Of `Database.write`.
        actor: Who signs.
        project_id: Whose record.
        object: `judgement:<id>`, `adjudication:<id>`, `report:<id>` or `codebook:<id>`.
        meaning: rated, reviewed, adjudicated or approved.
        proof: Of `accounts.reauthenticate`, at most two minutes old.

    Raises:
        NotAllowed: The proof is somebody else's or too old; the judgement or decision is not theirs to sign as rated or
            adjudicated, or was superseded.
        NotFound: There is no such record in the project.
    """
    if meaning not in MEANINGS or proof.user_id != actor.user_id:
        raise NotAllowed(
            f"A signature that means {meaning!r}, expected {', '.join(MEANINGS)} by yourself. Sign in again."
        )
    if moment(now(conn)) - moment(proof.at) > timedelta(seconds=PROOF_S):
        raise NotAllowed(f"The password was given more than {PROOF_S} s ago, expected it at signing. Give it again.")
    record = record_of(conn, project_id, object)
    refuse_meaning(conn, actor, object, meaning, record)
    person = accounts.user_of(conn, proof.user_id)
    signed = Signature(
        new_id(), person.id, person.display_name, meaning, object, sha256(record), proof.method, now(conn), None, None
    )
    conn.execute(insert(signature), {**signed._asdict(), "project_id": project_id})
    audit.append(
        conn, project_id, actor, "signed", f"signature:{signed.id}", after=signed._asdict(), detail={"of": object}
    )
    return signed


def refuse_meaning(
    conn: Connection,
    actor: Actor,
    object: str,  # noqa: A002 - the column's name
    meaning: str,
    record: Mapping[str, Any],
) -> None:
    """Lets `rated` and `adjudicated` be said by those alone who did it, and nothing of a judgement that stands no more."""
    kind = object.partition(":")[0]
    authored = {"rated": "judgement", "adjudicated": "adjudication"}
    articled = {"judgement": "a judgement", "adjudication": "a senior's decision"}
    if meaning in authored and kind != authored[meaning]:
        raise NotAllowed(
            f"A {kind} is to be signed as {meaning}, expected {articled[authored[meaning]]}. Say reviewed or approved instead."
        )
    author = record.get("adjudicator_id")
    if kind == "judgement":
        query = select(assignment.c.rater_id, assignment.c.state).where(assignment.c.id == record["assignment_id"])
        author, state = conn.execute(query).one()
        later = select(judgement.c.id).where(
            judgement.c.assignment_id == record["assignment_id"], judgement.c.revision > record["revision"]
        )
        if state == "skipped" or conn.execute(later).first() is not None:
            raise NotAllowed("The judgement was revised or withdrawn, expected one that stands. Sign the last one.")
    if meaning in authored and author != actor.user_id:
        raise NotAllowed(f"The {kind} is somebody else's, expected your own to be signed as {meaning}. Say reviewed.")


TABLES = {
    "judgement": (
        judgement,
        select(judgement)
        .join(assignment, assignment.c.id == judgement.c.assignment_id)
        .join(round_, round_.c.id == assignment.c.round_id),
        round_.c.project_id,
    ),
    "adjudication": (
        adjudication,
        select(adjudication)
        .join(item, item.c.id == adjudication.c.item_id)
        .join(round_, round_.c.id == item.c.round_id),
        round_.c.project_id,
    ),
    "report": (report, select(report), report.c.project_id),
    "codebook": (codebook_version, select(codebook_version), codebook_version.c.project_id),
}


def record_of(conn: Connection, project_id: str, object: str) -> dict[str, Any]:  # noqa: A002
    """The row that an object's name stands for."""
    kind, _, name = object.partition(":")
    if kind not in TABLES:
        raise NotFound(f"A {kind!r} cannot be signed, expected one of {', '.join(TABLES)}. Choose one of them.")
    table, query, project = TABLES[kind]
    row = conn.execute(query.where(table.c.id == name, project == project_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no such {kind} in this project, expected a stored one. Check its id.")
    return dict(row)


def void(conn: Connection, actor: Actor, project_id: str, object: str, reason: str) -> int:  # noqa: A002
    """Makes every signature of a record void, since the record was superseded; how many."""
    query = (
        update(signature)
        .where(signature.c.project_id == project_id, signature.c.object == object, signature.c.voided_at.is_(None))
        .values(voided_at=now(conn), void_reason=reason)
    )
    n_voided = conn.execute(query).rowcount
    if n_voided:
        audit.append(conn, project_id, actor, "signatures_voided", object, detail={"n": n_voided, "reason": reason})
    return n_voided


def signatures_of(conn: Connection, project_id: str, object: str | None = None) -> list[Signature]:  # noqa: A002
    """The signatures of a project or of one record, void ones included."""
    columns = [signature.c[name] for name in Signature._fields]
    query = select(*columns).where(signature.c.project_id == project_id).order_by(signature.c.id)
    return [Signature(*row) for row in conn.execute(query.where(signature.c.object == object) if object else query)]


def is_valid(conn: Connection, project_id: str, signed: Signature) -> bool:
    """Whether a signature stands, and the record still has the hash that was signed."""
    return signed.voided_at is None and sha256(record_of(conn, project_id, signed.object)) == signed.record_sha256
