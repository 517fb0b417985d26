"""Verifying a database: the audit's chains, the facts beside their events, hashes computed anew, checkpoints.

Every problem is one sentence that names the place. None is hidden by another: all are listed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, select, text

from labeling.answers import labels_of
from labeling.database import audit, checkpoints, projects, schema
from labeling.database.checkpoints import Checkpoint
from labeling.evidence import WITHHELD
from labeling.identifiers import sha256


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
        problems += [*fact_problems(conn), *hash_problems(conn), *link_problems(conn)]
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
