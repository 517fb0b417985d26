"""What belongs to one transaction: its time, who acts, and the events that it will add to the audit."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection


class Actor(NamedTuple):
    """Who does something."""

    user_id: str | None
    """None is the program itself, or the person at its command line."""
    session_sha256: str | None = None
    """Of the web session."""


PROGRAM = Actor(None)


class Event(NamedTuple):
    """Something to be remembered; its place in the chain is given at the transaction's end."""

    project_id: str
    actor: Actor
    action: str
    object: str
    before_sha256: str | None
    after_sha256: str | None
    detail: dict[str, Any]


@dataclass
class Transaction:
    """The state of one transaction."""

    now: str
    """One time for all that it writes."""
    events: list[Event] | None
    """None where it only reads."""
    after_events: list[Event] = field(default_factory=list)
    """What the database itself adds, once the project is known: a clock that jumped."""


def now(conn: Connection) -> str:
    """The transaction's time."""
    return of(conn).now


def of(conn: Connection) -> Transaction:
    """The transaction of a connection that `Database.read` or `Database.write` gave."""
    return conn.info["transaction"]
