"""What people may do in a project."""

from typing import Literal, get_args

from sqlalchemy import Connection, func, insert, or_, select, update

from labeling.database import audit
from labeling.database.errors import NotAllowed
from labeling.database.schema import role_grant, user
from labeling.database.transaction import Actor, now
from labeling.identifiers import new_id
from sae.errors import UserError

Role = Literal["lead", "rater", "senior", "analyst"]


def grant_role(conn: Connection, actor: Actor, project_id: str, user_id: str, role: Role) -> None:
    """Lets a person be something in a project from now on."""
    if role not in get_args(Role):
        raise UserError(f"The role is {role!r}, expected one of {', '.join(get_args(Role))}. Choose one of them.")
    if role in roles_of(conn, user_id, project_id):
        return
    row = {"id": new_id(), "project_id": project_id, "user_id": user_id, "role": role, "valid_from": now(conn)}
    conn.execute(insert(role_grant), {**row, "granted_by": actor.user_id})
    audit.append(conn, project_id, actor, "role_granted", f"user:{user_id}", after=role, detail={"role": role})


def revoke_role(conn: Connection, actor: Actor, project_id: str, user_id: str, role: Role) -> None:
    """Ends it."""
    conn.execute(
        update(role_grant)
        .where(
            role_grant.c.project_id == project_id,
            role_grant.c.user_id == user_id,
            role_grant.c.role == role,
            role_grant.c.valid_to.is_(None),
        )
        .values(valid_to=now(conn))
    )
    audit.append(conn, project_id, actor, "role_revoked", f"user:{user_id}", before=role, detail={"role": role})


def valid(conn: Connection) -> tuple[object, ...]:
    """Of a grant: it has begun and not ended."""
    at = now(conn)
    return role_grant.c.valid_from <= at, or_(role_grant.c.valid_to.is_(None), role_grant.c.valid_to > at)


def roles_of(conn: Connection, user_id: str, project_id: str) -> frozenset[str]:
    """What a person is in a project now."""
    return frozenset(
        conn.execute(
            select(role_grant.c.role).where(
                role_grant.c.user_id == user_id,
                role_grant.c.project_id == project_id,
                *valid(conn),  # type: ignore[arg-type]
            )
        ).scalars()
    )


def roles_anywhere(conn: Connection, user_id: str) -> frozenset[str]:
    """What a person is now in one project or another."""
    query = select(role_grant.c.role).where(role_grant.c.user_id == user_id, *valid(conn))  # type: ignore[arg-type]
    return frozenset(conn.execute(query).scalars())


def members(conn: Connection, project_id: str) -> dict[str, frozenset[str]]:
    """Everybody in a project: user id → roles."""
    found: dict[str, set[str]] = {}
    query = select(role_grant.c.user_id, role_grant.c.role).where(
        role_grant.c.project_id == project_id,
        *valid(conn),  # type: ignore[arg-type]
    )
    for user_id, role in conn.execute(query.order_by(role_grant.c.user_id)):
        found.setdefault(user_id, set()).add(role)
    return {user_id: frozenset(roles) for user_id, roles in found.items()}


def require(conn: Connection, actor: Actor, project_id: str, *roles: Role) -> None:
    """Lets only some roles, administrators and the program itself pass.

    Raises:
        NotAllowed: The person has none of the roles in this project.
    """
    if actor.user_id is None or not roles_of(conn, actor.user_id, project_id).isdisjoint(roles):
        return
    query = select(user.c.is_administrator).where(user.c.id == actor.user_id)
    if not conn.execute(query).scalar_one_or_none():
        raise NotAllowed(
            f"You are not {' or '.join(roles)} of this project, expected for this. Ask its lead to be made one."
        )


def n_administrators(conn: Connection) -> int:
    """How many people may administer; a database with none is fresh."""
    return conn.execute(select(func.count()).select_from(user).where(user.c.is_administrator == 1)).scalar_one()
