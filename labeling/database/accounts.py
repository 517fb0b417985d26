"""People: institutions, users, one-time invitations, signing in with password and second factor.

Nobody shares an account; nobody but a person themselves ever knows their password. Functions that hash take the
database and not a connection, so that no transaction waits for Argon2.
"""

import json
import re
import secrets
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection, func, insert, select, update

from labeling.database import audit, passwords, sessions
from labeling.database.connection import Database
from labeling.database.errors import NotAllowed, NotFound
from labeling.database.schema import credential, institution, invitation, user
from labeling.database.transaction import Actor, now
from labeling.identifiers import moment, new_id, sha256, timestamp
from sae.errors import UserError

LOGIN = re.compile(r"[a-z0-9][a-z0-9._@+-]{2,79}")
SHARED = frozenset(
    "admin administrator doctor doctors guest nurse office physician rater raters root "  # noqa: SIM905 - words read better than a column of texts
    "shared staff team test user ward".split()
)
"""Names of nobody in particular (45 CFR 164.312(a)(2)(i): a unique name for every user)."""
FREE_FAILURES = 3
MAX_WAIT_S = 300
WRONG = (
    "The name, password or code is wrong, expected those of an active account. Try again, or ask for a new invitation."
)


class Institution(NamedTuple):
    """A hospital or department."""

    id: str
    name: str


class User(NamedTuple):
    """A person."""

    id: str
    login: str
    display_name: str
    institution_id: str
    specialty: str
    seniority: str
    status: str
    is_administrator: bool
    has_totp: bool
    """Whether a second factor is asked for."""


class Proof(NamedTuple):
    """That a person has just shown who they are; a signature asks for it."""

    user_id: str
    method: str
    """`password`, `password+totp` or `oidc`."""
    at: str


def add_institution(conn: Connection, actor: Actor, name: str) -> Institution:
    """Adds an institution, or gives the one of that name."""
    found = conn.execute(select(institution.c.id).where(institution.c.name == name)).scalar_one_or_none()
    if found is not None:
        return Institution(found, name)
    made = Institution(new_id(), name)
    conn.execute(insert(institution), {**made._asdict(), "created_at": now(conn)})
    audit.append(conn, audit.SYSTEM, actor, "institution_added", f"institution:{made.id}", after=name)
    return made


def add_user(  # noqa: PLR0913 - a person has these properties
    conn: Connection,
    actor: Actor,
    *,
    login: str,
    display_name: str,
    institution_id: str,
    specialty: str = "",
    seniority: str = "",
    is_administrator: bool = False,
) -> User:
    """Adds a person, who signs in for the first time with an invitation.

    Raises:
        UserError: The login is malformed, taken, or nobody's in particular.
    """
    login = login.strip().casefold()
    if not LOGIN.fullmatch(login) or login in SHARED:
        raise UserError(
            f"The login {login!r} is malformed or nobody's in particular, expected 3 to 80 letters, digits and . _ @ + - that name "
            "one person. Choose another one."
        )
    if conn.execute(select(user.c.id).where(user.c.login == login)).first() is not None:
        raise UserError(f"The login {login!r} is taken, expected one for each person. Choose another one.")
    row = {
        "id": new_id(),
        "login": login,
        "display_name": display_name,
        "institution_id": institution_id,
        "specialty": specialty,
        "seniority": seniority,
        "status": "invited",
        "is_administrator": int(is_administrator),
        "created_at": now(conn),
    }
    conn.execute(insert(user), row)
    audit.append(conn, audit.SYSTEM, actor, "user_added", f"user:{row['id']}", after=row)
    return user_of(conn, row["id"])


def user_of(conn: Connection, user_id: str) -> User:
    """A person.

    Raises:
        NotFound: There is none of that id.
    """
    return only_user(conn, user.c.id == user_id)


def user_named(conn: Connection, login: str) -> User:
    """A person by login.

    Raises:
        NotFound: There is none of that login.
    """
    return only_user(conn, user.c.login == login.strip().casefold())


def only_user(conn: Connection, condition: object) -> User:
    """The person a condition names."""
    found = users(conn, condition)
    if not found:
        raise NotFound("There is no such person, expected a known one. Check the name.")
    return found[0]


def users(conn: Connection, *conditions: object) -> list[User]:
    """All people, by login."""
    query = (
        select(user, func.coalesce(credential.c.totp_confirmed, 0).label("has_totp"))
        .outerjoin(credential, credential.c.user_id == user.c.id)
        .where(*conditions)  # type: ignore[arg-type]
        .order_by(user.c.login)
    )
    return [
        User(
            row.id, row.login, row.display_name, row.institution_id, row.specialty, row.seniority, row.status,
            bool(row.is_administrator), bool(row.has_totp),
        )
        for row in conn.execute(query)
    ]  # fmt: skip


def institutions(conn: Connection) -> list[Institution]:
    """All institutions, by name."""
    return [Institution(*row) for row in conn.execute(select(institution.c.id, institution.c.name).order_by("name"))]


def invite(conn: Connection, actor: Actor, user_id: str, *, valid_h: float = 72) -> str:
    """A token with which a person sets their password, once; only its hash is kept. An older one is void."""
    person = user_of(conn, user_id)
    if person.status in ("disabled", "foreign"):
        raise NotAllowed(f"{person.login} is {person.status}, expected an invited or active person. Enable them first.")
    token = secrets.token_urlsafe(32)
    conn.execute(
        update(invitation)
        .where(invitation.c.user_id == user_id, invitation.c.used_at.is_(None))
        .values(used_at=now(conn))
    )
    expires = timestamp(moment(now(conn)) + timedelta(hours=valid_h))
    conn.execute(
        insert(invitation), {"token_sha256": sha256(token.encode()), "user_id": user_id, "expires_at": expires}
    )
    audit.append(conn, audit.SYSTEM, actor, "user_invited", f"user:{user_id}", detail={"expires_at": expires})
    return token


def invited_user(conn: Connection, token: str) -> User:
    """Whom an invitation is for.

    Raises:
        NotFound: It is unknown, used or too old.
    """
    found = conn.execute(
        select(invitation.c.user_id).where(
            invitation.c.token_sha256 == sha256(token.encode()),
            invitation.c.used_at.is_(None),
            invitation.c.expires_at > now(conn),
        )
    ).scalar_one_or_none()
    if found is None:
        raise NotFound("The invitation is unknown, used or too old, expected a fresh one. Ask for another one.")
    return user_of(conn, found)


def accept_invitation(database: Database, token: str, password: str) -> User:
    """Sets a person's first or new password, and uses the invitation up.

    Raises:
        NotFound: The invitation is not valid.
        UserError: The password is weak.
    """
    with database.read() as conn:
        person = invited_user(conn, token)
    phc = checked_hash(person, password)
    with database.write() as conn:
        person = invited_user(conn, token)
        conn.execute(
            update(invitation).where(invitation.c.token_sha256 == sha256(token.encode())).values(used_at=now(conn))
        )
        conn.execute(update(user).where(user.c.id == person.id).values(status="active"))
        keep(conn, person.id, password=phc, failures=0, retry_after=None)
        sessions.end_sessions(conn, Actor(person.id), person.id)
        audit.append(conn, audit.SYSTEM, Actor(person.id), "invitation_accepted", f"user:{person.id}")
        return user_of(conn, person.id)


def set_password(database: Database, actor: Actor, user_id: str, password: str) -> None:
    """Changes a password and ends the person's other sessions.

    Raises:
        UserError: The password is weak.
    """
    with database.read() as conn:
        person = user_of(conn, user_id)
    phc = checked_hash(person, password)
    with database.write() as conn:
        keep(conn, user_id, password=phc, failures=0, retry_after=None)
        sessions.end_sessions(conn, actor, user_id, but=actor.session_sha256)
        audit.append(conn, audit.SYSTEM, actor, "password_changed", f"user:{user_id}")


def checked_hash(person: User, password: str) -> str:
    """The hash of a password that is not weak."""
    passwords.refuse_weak(password, person.login, person.display_name)
    return passwords.new_hash(password)


def keep(conn: Connection, user_id: str, **values: object) -> None:
    """Writes some of a person's credentials."""
    values["changed_at"] = now(conn)
    if conn.execute(update(credential).where(credential.c.user_id == user_id).values(**values)).rowcount == 0:
        conn.execute(insert(credential), {"user_id": user_id, **values})


def check_password(database: Database, login: str, password: str) -> User:
    """Who signs in; the second factor, where `has_totp`, is still to be checked.

    After three failures every further try has to wait, twice as long each time up to five minutes; nobody is locked
    out by a stranger for longer.

    Raises:
        NotAllowed: Name or password are wrong, or it is too early.
    """
    with database.read() as conn:
        row = conn.execute(
            select(user.c.id, user.c.status, credential.c.password, credential.c.retry_after)
            .outerjoin(credential, credential.c.user_id == user.c.id)
            .where(user.c.login == login.strip().casefold())
        ).one_or_none()
        refuse_early(conn, row.retry_after if row else None)
    is_right = passwords.matches(row.password if row else None, password)
    if row is None:
        raise NotAllowed(WRONG)
    if not is_right or row.status != "active":
        fail(database, row.id)
        raise NotAllowed(WRONG)
    phc = passwords.new_hash(password) if passwords.is_outdated(row.password) else row.password
    with database.write() as conn:
        keep(conn, row.id, password=phc, failures=0, retry_after=None)
        return user_of(conn, row.id)


def refuse_early(conn: Connection, retry_after: str | None) -> None:
    """Refuses a try before its time."""
    if retry_after is not None and retry_after > now(conn):
        wait = (moment(retry_after) - moment(now(conn))).total_seconds()
        raise NotAllowed(
            f"There were several wrong tries, expected the next one in {wait:.0f} s or later. Wait, then try again."
        )


def fail(database: Database, user_id: str) -> None:
    """Counts a failed try, and sets when the next may come."""
    with database.write() as conn:
        failures = 1 + (
            conn.execute(select(credential.c.failures).where(credential.c.user_id == user_id)).scalar_one_or_none() or 0
        )
        wait_s = min(2 ** min(failures - FREE_FAILURES, 20), MAX_WAIT_S) if failures >= FREE_FAILURES else 0
        until = timestamp(moment(now(conn)) + timedelta(seconds=wait_s))
        keep(conn, user_id, failures=failures, retry_after=until)
        audit.append(
            conn, audit.SYSTEM, Actor(user_id), "sign_in_failed", f"user:{user_id}", detail={"failures": failures}
        )


def reauthenticate(database: Database, user_id: str, password: str, code: str | None = None) -> Proof:
    """Shows once more who somebody is, for a signature.

    Raises:
        NotAllowed: Password or code are wrong.
    """
    from labeling.database import second_factor

    with database.read() as conn:
        login = user_of(conn, user_id).login
    person = check_password(database, login, password)
    if person.has_totp:
        second_factor.check(database, user_id, code or "")
    return Proof(user_id, "password+totp" if person.has_totp else "password", database.now())


def disable_user(conn: Connection, actor: Actor, user_id: str, reason: str) -> None:
    """Keeps a person out, at once; what they judged stays."""
    person = user_of(conn, user_id)
    conn.execute(update(user).where(user.c.id == user_id).values(status="disabled"))
    sessions.end_sessions(conn, actor, user_id)
    audit.append(
        conn, audit.SYSTEM, actor, "user_disabled", f"user:{user_id}",
        before=person.status, after="disabled", detail={"reason": reason},
    )  # fmt: skip


def enable_user(conn: Connection, actor: Actor, user_id: str) -> None:
    """Lets a disabled person in again, with a new invitation."""
    person = user_of(conn, user_id)
    if person.status != "disabled":
        raise NotAllowed(f"{person.login} is {person.status}, expected a disabled person. Nothing needs doing.")
    conn.execute(update(user).where(user.c.id == user_id).values(status="invited"))
    audit.append(conn, audit.SYSTEM, actor, "user_enabled", f"user:{user_id}", before="disabled", after="invited")


def recovery_hashes(conn: Connection, user_id: str) -> list[str]:
    """What is kept of a person's unused recovery codes."""
    return json.loads(
        conn.execute(select(credential.c.recovery_hashes).where(credential.c.user_id == user_id)).scalar_one()
    )
