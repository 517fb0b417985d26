"""The audit: who did what, when, to what, in a chain that shows every change made to it afterwards.

1. One chain per project, and one called `system` for accounts. An event's hash covers all its fields and the hash
   before it, so that an edit, a deletion, an insertion or an exchange breaks the chain at that place.
2. Events of a transaction are added at its end, under one lock per chain, so that a chain is held for microseconds.
3. A row that never changes has its hash in the event that speaks of its making: an edited, a deleted and a smuggled-in
   judgement are found by comparing rows with events (`labeling.database.integrity`).
4. What a chain alone cannot show, that its end was cut off or that all of it was written anew, is shown by checkpoints:
   its length and last hash, signed with a key that lies elsewhere, in a file outside the database.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, bindparam, insert, select, text

from labeling.database import schema
from labeling.database.prepared import Prepared
from labeling.database.transaction import Actor, Event, of
from labeling.identifiers import canonical, sha256

SYSTEM = "system"
"""The chain of what belongs to no project."""
FIELDS = tuple(column.name for column in schema.audit_event.columns if column.name != "hash")
START = "0" * 64
"""What stands before the first event."""


def append(  # noqa: PLR0913 - an event has these parts
    conn: Connection,
    project_id: str,
    actor: Actor,
    action: str,
    object: str,  # noqa: A002 - the column's name
    *,
    before: Any = None,
    after: Any = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Remembers an event; it is written with the transaction, or not at all.

    Args:
        conn: Of `Database.write`.
        project_id: Whose chain, or `SYSTEM`.
        actor: Who did it.
        action: What, in the past tense: `judgement_submitted`.
        object: To what: `kind:id`.
        before: What there was; its hash is kept.
        after: What there is now; its hash is kept.
        detail: What helps a reader of the audit; never patient text, an answer or a secret.
    """
    events = of(conn).events
    if events is None:
        raise RuntimeError(f"{action} in a transaction that only reads")
    events.append(Event(project_id, actor, action, object, hash_or_none(before), hash_or_none(after), detail or {}))


def hash_or_none(value: Any) -> str | None:
    """The hash of a value, if there is one."""
    return None if value is None else sha256(value)


def record(
    conn: Connection,
    table: Table,
    row: Mapping[str, Any],
    project_id: str,
    actor: Actor,
    action: str,
    detail: dict[str, Any] | None = None,
) -> None:
    """Inserts a row that will never change, with the event that holds its hash.

    Args:
        conn: Of `Database.write`.
        table: One of `PROVEN`.
        row: Every column.
        project_id: Whose chain.
        actor: Who made it.
        action: What that was.
        detail: See `append`.
    """
    whole = {column.name: row[column.name] for column in table.columns}
    INSERT[table.name].run(conn, whole)
    append(conn, project_id, actor, action, object_of(table, whole), after=whole, detail=detail)


def object_of(table: Table, row: Mapping[str, Any] | RowMapping) -> str:
    """The name of a row in events."""
    return f"{table.name}:{row[next(iter(table.primary_key.columns)).name]}"


PROVEN = (
    schema.codebook_version,
    schema.judgement,
    schema.gold,
    schema.note,
    schema.adjudication,
    schema.consensus,
    schema.report,
    schema.imported,
)
"""Tables whose every row has an event with its hash."""
INSERT = {table.name: Prepared(insert(table)) for table in (*PROVEN, schema.audit_event)}


def flush(conn: Connection) -> None:
    """Adds the transaction's events to their chains."""
    transaction = of(conn)
    events = transaction.events or []
    if events:
        events += [event._replace(project_id=events[0].project_id) for event in transaction.after_events]
    for project_id in sorted({event.project_id for event in events}):
        lock(conn, project_id)
        seq, previous = head(conn, project_id)
        for event in events:
            if event.project_id == project_id:
                seq += 1
                row = row_of(event, seq, transaction.now, previous)
                previous = row["hash"]
                INSERT[schema.audit_event.name].run(conn, row)
    events.clear()


LOCK = Prepared(text("SELECT pg_advisory_xact_lock(:key)"))


def lock(conn: Connection, project_id: str) -> None:
    """Keeps other transactions from the chain until this one ends; SQLite has but one writer anyway."""
    if conn.dialect.name == "postgresql":
        key = int.from_bytes(hashlib.sha256(f"audit {project_id}".encode()).digest()[:8], "big", signed=True)
        LOCK.run(conn, {"key": key})


EVENT = schema.audit_event.c
HEAD = Prepared(
    select(EVENT.seq, EVENT.hash).where(EVENT.project_id == bindparam("chain")).order_by(EVENT.seq.desc()).limit(1)
)


def head(conn: Connection, project_id: str) -> tuple[int, str]:
    """Number and hash of a chain's last event."""
    last = HEAD.first(conn, {"chain": project_id})
    return (0, START) if last is None else (last.seq, last.hash)


def row_of(event: Event, seq: int, at: str, previous: str) -> dict[str, Any]:
    """An event as it is stored."""
    row = {
        "project_id": event.project_id,
        "seq": seq,
        "at": at,
        "actor_id": event.actor.user_id,
        "session_sha256": event.actor.session_sha256,
        "action": event.action,
        "object": event.object,
        "before_sha256": event.before_sha256,
        "after_sha256": event.after_sha256,
        "detail": canonical(event.detail),
        "previous": previous,
    }
    return {**row, "hash": hash_of([row[name] for name in FIELDS])}


def hash_of(values: list[Any]) -> str:
    """The hash of an event's fields, in the order of `FIELDS`."""
    return hashlib.sha256(canonical(values).encode()).hexdigest()


def events_of(conn: Connection, project_id: str, *, after: int = 0) -> Iterator[RowMapping]:
    """The events of a chain, in order."""
    event = schema.audit_event
    rows = conn.execution_options(yield_per=10_000).execute(
        select(event).where(event.c.project_id == project_id, event.c.seq > after).order_by(event.c.seq)
    )
    return iter(rows.mappings())
