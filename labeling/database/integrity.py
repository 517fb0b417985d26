"""Verifying a database: the audit's chains, the facts beside their events, hashes computed anew, checkpoints.

Every problem is one sentence that names the place. None is hidden by another: all are listed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, func, select, text

from labeling.answers import labels_of
from labeling.database import audit, checkpoints, projects, rounds, schema
from labeling.database.checkpoints import Checkpoint
from labeling.database.signatures import Signature
from labeling.evidence import WITHHELD
from labeling.identifiers import canonical, sha256


class Problem(NamedTuple):
    """Something that is not as it was written."""

    project_id: str
    place: str
    """`event 17`, `judgement:<id>` …"""
    sentence: str


def verify(
    conn: Connection,
    project_id: str | None = None,
    *,
    checkpoint_file: Path | None = None,
    key_file: Path | None = None,
) -> list[Problem]:
    """All that was changed behind the program's back; an empty list is good.

    Args:
        conn: Of `Database.read`.
        project_id: One project's chain, or all chains.
        checkpoint_file: Signed checkpoints, outside the database.
        key_file: The key they were signed with, or its public half.
    """
    known = [audit.SYSTEM, *(project.id for project in projects.projects(conn))]
    chains = known if project_id is None else [project_id]
    marks = checkpoints.read(checkpoint_file, key_file) if checkpoint_file else []
    problems = [problem for chain in chains for problem in chain_problems(conn, chain, marks)]
    if project_id is None:
        found = conn.execute(select(schema.audit_event.c.project_id).distinct()).scalars()
        problems += [
            Problem(
                chain, "chain", "The chain belongs to no project: the project was taken away or the chain smuggled in."
            )
            for chain in sorted(set(found) - set(known))
        ]
        problems += [*fact_problems(conn), *hash_problems(conn), *link_problems(conn), *rater_problems(conn)]
        problems += [*stratum_problems(conn), *round_problems(conn), *signature_problems(conn)]
    return problems


def chain_problems(conn: Connection, project_id: str, marks: list[Checkpoint]) -> Iterator[Problem]:
    """What is wrong with one chain."""
    seq, previous = 0, audit.START
    wanted = {mark.seq: mark for mark in marks if mark.project_id == project_id}
    columns = [schema.audit_event.c[name] for name in (*audit.FIELDS, "hash")]
    at_previous, at_seq = audit.FIELDS.index("previous"), audit.FIELDS.index("seq")
    query = select(*columns).where(schema.audit_event.c.project_id == project_id).order_by(schema.audit_event.c.seq)
    for row in conn.execution_options(yield_per=10_000).execute(query):
        *fields, digest = row
        seq += 1
        if fields[at_seq] != seq:
            yield Problem(project_id, f"event {seq}", f"Event {seq} is missing; the next one is {fields[at_seq]}.")
            seq = fields[at_seq]
        if fields[at_previous] != previous:
            yield Problem(project_id, f"event {seq}", f"Event {seq} does not follow from the one before it.")
        if audit.hash_of(fields) != digest:
            yield Problem(project_id, f"event {seq}", f"Event {seq} was changed: its hash is another one.")
        mark = wanted.pop(seq, None)
        if mark is not None and mark.hash != digest:
            yield Problem(project_id, f"event {seq}", f"Event {seq} is not the one of the checkpoint of {mark.at}.")
        previous = digest
    for mark in wanted.values():
        yield Problem(
            project_id,
            f"event {mark.seq}",
            f"The chain ends at event {seq}; the checkpoint of {mark.at} saw event {mark.seq}.",
        )


def fact_problems(conn: Connection) -> Iterator[Problem]:
    """Rows that never change, beside the events of their making."""
    event = schema.audit_event.c
    for table in audit.PROVEN:
        query = select(event.object, event.after_sha256, event.project_id).where(
            event.object.like(f"{table.name}:%"), event.after_sha256.is_not(None)
        )
        made = {row.object: (row.after_sha256, row.project_id) for row in conn.execute(query)}
        for row in conn.execution_options(yield_per=10_000).execute(select(table)).mappings():
            name = audit.object_of(table, row)
            digest, project_id = made.pop(name, (None, ""))
            if digest is None:
                yield Problem("", name, "The row has no event: it was put in behind the program's back.")
            elif digest != sha256(dict(row)):
                yield Problem(project_id, name, "The row was changed: its hash is not the one in its event.")
        for name, (_, project_id) in made.items():
            yield Problem(project_id, name, "The row is missing; its event is there.")


def hash_problems(conn: Connection) -> Iterator[Problem]:
    """Rows whose id or hash follows from their body, and labels that follow from judgements."""
    hashed: tuple[tuple[Table, str, str], ...] = (
        (schema.codebook_version, "body", "sha256"),
        (schema.sae_ref, "body", "sha256"),
        (schema.evidence_snapshot, "body", "sha256"),
        (schema.judgement, "body", "body_sha256"),
    )
    for table, body, digest in hashed:
        for row in conn.execution_options(yield_per=1000).execute(select(table)).mappings():
            if row[body] != WITHHELD and sha256(row[body].encode()) != row[digest]:
                yield Problem("", audit.object_of(table, row), f"The row's {body} is not the one of its hash.")
    yield from label_problems(conn)


def label_problems(conn: Connection) -> Iterator[Problem]:
    """Derived labels that are not those of the judgement."""
    label = schema.judgement_label.c
    stored: dict[str, set[tuple[str, str]]] = {}
    for row in conn.execute(select(label.judgement_id, label.key, label.value)):
        stored.setdefault(row.judgement_id, set()).add((row.key, row.value))
    books: dict[str, Any] = {}
    judgement = schema.judgement.c
    query = select(judgement.id, judgement.body, judgement.codebook_version_id)
    for row in conn.execution_options(yield_per=10_000).execute(query):
        if row.codebook_version_id not in books:
            books[row.codebook_version_id] = projects.codebook_of(conn, row.codebook_version_id).codebook
        answers = json.loads(row.body)
        said = set() if "fires" in answers else set(labels_of(books[row.codebook_version_id], answers))
        if stored.pop(row.id, set()) != said:
            yield Problem("", f"judgement:{row.id}", "The judgement's labels are not those of its answers.")
    for judgement_id in stored:
        yield Problem("", f"judgement:{judgement_id}", "There are labels of a judgement that is not there.")


def link_problems(conn: Connection) -> Iterator[Problem]:
    """References to rows that are not there; PostgreSQL refuses them, SQLite only where it is told to."""
    if conn.dialect.name == "sqlite":
        for table, row, parent, _ in conn.execute(text("PRAGMA foreign_key_check")):
            yield Problem("", f"{table} row {row}", f"The row refers to a {parent} that is not there.")


def rater_problems(conn: Connection) -> Iterator[Problem]:
    """Assignments that are another rater's, or of another item, than the events of their showing and judging say.

    What was imported has no such event: who rated it stands in the other house's audit.
    """
    event, held = schema.audit_event.c, schema.assignment.c
    rater, place = "Its rater is another one than in its event.", "Its item is another one than in its event."
    shown, judged = event.action == "evidence_shown", event.action == "judgement_submitted"
    with_events = select(held.id).select_from(schema.audit_event)
    id_of_shown = func.substr(event.object, len("assignment:") + 1)
    id_of_judged = func.substr(event.object, len("judgement:") + 1)
    by_shown = with_events.join(schema.assignment, held.id == id_of_shown)
    by_judged = with_events.join(schema.judgement, schema.judgement.c.id == id_of_judged).join(
        schema.assignment, held.id == schema.judgement.c.assignment_id
    )
    is_elsewhere = event.detail.like(ITEM_FIRST + "%") & (
        func.substr(event.detail, len(ITEM_FIRST) + 1, 36) != held.item_id
    )
    queries = (
        (by_shown.where(shown, event.actor_id != held.rater_id), rater),
        (by_judged.where(judged, event.actor_id != held.rater_id), rater),
        (by_shown.where(shown, is_elsewhere), place),
    )
    found = {(row.id, said) for query, said in queries for row in conn.execute(query)}
    for assignment_id, said in sorted(found):
        yield Problem("", f"assignment:{assignment_id}", said)


ITEM_FIRST = '{"item":"'
"""How the detail of an event begins that names the item shown."""


def stratum_problems(conn: Connection) -> Iterator[Problem]:
    """Items of another stratum than that in which they were given; a slot that was added says `escalated`."""
    held, asked = schema.assignment.c, schema.item.c
    query = select(asked.id).join(schema.assignment, held.item_id == asked.id)
    query = query.where(held.stratum != asked.stratum, held.stratum != "escalated").distinct().order_by(asked.id)
    for item_id in conn.execute(query).scalars():
        yield Problem("", f"item:{item_id}", "The item's stratum is another one than that in which it was given.")


def round_problems(conn: Connection) -> Iterator[Problem]:
    """Rounds whose items are not those of their opening, where that can be told.

    What is added later, repetitions, has no place in the order. Slots that were added for a dispute are taken off; slots
    of adaptive items, of a round that another house rated too, and of a calibration that somebody joined, grow without a
    count: such rounds are left out.
    """
    event, asked, held = schema.audit_event.c, schema.item.c, schema.assignment.c
    grown = set(conn.execute(select(asked.round_id).where(asked.stratum == "adaptive").distinct()).scalars())
    grown |= set(conn.execute(select(held.round_id).where(held.reason == IMPORTED).distinct()).scalars())
    joined = select(event.object).where(event.action == "raters_added").distinct()
    calibrations = set(conn.execute(select(schema.round_.c.id).where(schema.round_.c.kind == "calibration")).scalars())
    grown |= calibrations & {name.partition(":")[2] for name in conn.execute(joined).scalars()}
    seeds = {row.id: row.seed for row in conn.execute(select(schema.round_.c.id, schema.round_.c.seed))}
    opened = select(event.project_id, event.object, event.detail).where(event.action == "round_opened")
    for row in conn.execute(opened).all():
        round_id, detail = row.object.partition(":")[2], json.loads(row.detail)
        if round_id not in seeds:
            yield Problem(row.project_id, row.object, "The round is missing; its event is there.")
        elif round_id not in grown and items_digest(conn, round_id, detail) != detail["items_sha256"]:
            yield Problem(row.project_id, row.object, "The round's items are not those of its opening.")


IMPORTED = canonical({"rule": "imported"})
"""Reason of an assignment that came with another house's export."""


def items_digest(conn: Connection, round_id: str, detail: dict[str, Any]) -> str | None:
    """The hash of a round's items as its opening wrote it down; none where some are missing or too many."""
    asked = schema.item.c
    query = select(asked.place, asked.id, asked.snapshot_sha256, asked.stratum, asked.slots - asked.n_extra)
    rows = {
        row[0]: list(row[1:]) for row in conn.execute(query.where(asked.round_id == round_id)) if row[0] is not None
    }
    places = rounds.places_of(detail["n_items"], detail["seed"])
    if rows.keys() != set(places):
        return None
    return rounds.items_sha256([*rows[place], place] for place in places)


def signature_problems(conn: Connection) -> Iterator[Problem]:
    """Signatures that are not what was signed; that one became void later is another event."""
    event = schema.audit_event.c
    query = select(event.object, event.after_sha256, event.project_id).where(event.action == "signed")
    made = {row.object: (row.after_sha256, row.project_id) for row in conn.execute(query)}
    for row in conn.execute(select(schema.signature)).mappings():
        name = audit.object_of(schema.signature, row)
        digest, project_id = made.pop(name, (None, row["project_id"]))
        signed = {field: row[field] for field in Signature._fields} | {"voided_at": None, "void_reason": None}
        if digest is None:
            yield Problem(project_id, name, "The signature has no event: it was put in behind the program's back.")
        elif (digest, project_id) != (sha256(signed), row["project_id"]):
            yield Problem(project_id, name, "The signature was changed: its hash is not the one in its event.")
    for name, (_, project_id) in made.items():
        yield Problem(project_id, name, "The signature is missing; its event is there.")
