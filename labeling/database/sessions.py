"""Web sessions: a random token that only its owner holds; the database knows its hash.

They end after 15 minutes without a sign of life and after 12 hours in any case (NIST SP 800-63B-4, AAL2; 45 CFR
164.312(a)(2)(iii)), when a password changes and when a person is disabled.
"""

import secrets
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update

from labeling.database import audit
from labeling.database.schema import session, user
from labeling.database.transaction import Actor, now
from labeling.identifiers import moment, sha256, timestamp

IDLE_MIN = 15
ABSOLUTE_H = 12
TOUCH_S = 30
"""A sign of life is written at most this often, so that reading pages does not write."""


class NewSession(NamedTuple):
    """What a person gets at sign-in."""

    token: str
    """For the cookie; it is not kept here."""
    csrf: str
    """For forms and headers."""
    actor: Actor
    expires_at: str


class Session(NamedTuple):
    """A session that is alive."""

    user_id: str
    csrf: str
    actor: Actor
    created_at: str
    seen_at: str
    idle_until: str
    expires_at: str
    agent: str
    needs_touch: bool
    """Whether `touch` would write."""


def open_session(conn: Connection, user_id: str, *, address: str, agent: str = "", old_token: str = "") -> NewSession:
    """A session for a person who has shown who they are; an older token of the same browser is void."""
    if old_token:
        end_session(conn, old_token)
    token, csrf, at = secrets.token_urlsafe(32), secrets.token_urlsafe(32), now(conn)
    expires = timestamp(moment(at) + timedelta(hours=ABSOLUTE_H))
    row = {
        "token_sha256": sha256(token.encode()),
        "user_id": user_id,
        "csrf": csrf,
        "created_at": at,
        "seen_at": at,
        "expires_at": expires,
        "address_sha256": sha256(address.encode()),
        "agent": agent[:80],
    }
    conn.execute(insert(session), row)
    actor = Actor(user_id, row["token_sha256"])
    audit.append(conn, audit.SYSTEM, actor, "signed_in", f"user:{user_id}")
    return NewSession(token, csrf, actor, expires)


def find_session(conn: Connection, token: str) -> Session | None:
    """The session of a token, if it is alive and its owner active."""
    row = conn.execute(
        select(session)
        .join(user, user.c.id == session.c.user_id)
        .where(
            session.c.token_sha256 == sha256(token.encode()), session.c.ended_at.is_(None), user.c.status == "active"
        )
    ).one_or_none()
    if row is None:
        return None
    idle_until = timestamp(moment(row.seen_at) + timedelta(minutes=IDLE_MIN))
    if min(idle_until, row.expires_at) <= now(conn):
        return None
    since_seen = (moment(now(conn)) - moment(row.seen_at)).total_seconds()
    actor = Actor(row.user_id, row.token_sha256)
    return Session(
        row.user_id, row.csrf, actor, row.created_at, row.seen_at, idle_until, row.expires_at, row.agent,
        since_seen >= TOUCH_S,
    )  # fmt: skip


def touch(conn: Connection, actor: Actor) -> None:
    """A sign of life."""
    conn.execute(update(session).where(session.c.token_sha256 == actor.session_sha256).values(seen_at=now(conn)))


def end_session(conn: Connection, token: str) -> None:
    """Signs out."""
    digest = sha256(token.encode())
    found = conn.execute(
        select(session.c.user_id).where(session.c.token_sha256 == digest, session.c.ended_at.is_(None))
    ).scalar_one_or_none()
    if found is not None:
        conn.execute(update(session).where(session.c.token_sha256 == digest).values(ended_at=now(conn)))
        audit.append(conn, audit.SYSTEM, Actor(found, digest), "signed_out", f"user:{found}")


def end_sessions(conn: Connection, actor: Actor, user_id: str, *, but: str | None = None) -> int:
    """Ends a person's sessions, all but one if asked; how many they were."""
    others = [session.c.user_id == user_id, session.c.ended_at.is_(None)]
    if but is not None:
        others.append(session.c.token_sha256 != but)
    n_ended = conn.execute(update(session).where(*others).values(ended_at=now(conn))).rowcount
    if n_ended:
        audit.append(conn, audit.SYSTEM, actor, "sessions_ended", f"user:{user_id}", detail={"n": n_ended})
    return n_ended


def sessions_of(conn: Connection, user_id: str) -> list[tuple[str, str, str]]:
    """A person's living sessions, so that they can see a stranger's: (begun, last seen, browser)."""
    query = (
        select(session.c.created_at, session.c.seen_at, session.c.agent)
        .where(session.c.user_id == user_id, session.c.ended_at.is_(None), session.c.expires_at > now(conn))
        .order_by(session.c.created_at)
    )
    return [(row.created_at, row.seen_at, row.agent) for row in conn.execute(query)]
