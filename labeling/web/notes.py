"""The thread of an item: what raters tell whoever adjudicates. Hidden from other raters until the item is closed."""

from typing import NamedTuple

from sqlalchemy import Connection, select

from labeling.database import audit, schema
from labeling.database.transaction import Actor, now
from labeling.identifiers import new_id


class Note(NamedTuple):
    """One note, without its author's name."""

    body: str
    created_at: str


def add_note(conn: Connection, actor: Actor, item_id: str, body: str) -> str:
    """Keeps a note with an item; when."""
    query = select(schema.round_.c.project_id).join(schema.item, schema.item.c.round_id == schema.round_.c.id)
    project_id = conn.execute(query.where(schema.item.c.id == item_id)).scalar_one()
    row = {
        "id": new_id(),
        "item_id": item_id,
        "author_id": actor.user_id,
        "body": body.strip(),
        "created_at": now(conn),
    }
    audit.record(conn, schema.note, row, project_id, actor, "note_added", {"item": item_id})
    return row["created_at"]


def notes_of(conn: Connection, item_id: str) -> list[Note]:
    """An item's notes, oldest first."""
    note = schema.note.c
    query = select(note.body, note.created_at).where(note.item_id == item_id).order_by(note.id)
    return [Note(row.body, row.created_at) for row in conn.execute(query)]
