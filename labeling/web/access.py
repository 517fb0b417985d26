"""Who may use an address. Every route names its roles; one that does not keeps the application from starting.

- `public`: anybody, signed in or not.
- `anyone`: whoever is signed in.
- `administrator`: accounts, invitations, projects; no role in a project comes with it.
- `desk`: who is analyst, lead or senior in some project, or administrator; anybody on loopback while nobody has an account.
- `lead`, `rater`, `senior`, `analyst`: in the project that the path leads to. A round, an item, an assignment and a codebook
  lead to theirs; an assignment only to its own rater.

Pages with others' judgements (`unblinds`) are closed to whoever rates in a round that is still open, whatever else they are.

Who has no role at all in a project is told that there is no such thing; who has another one, that it is not for them.
"""

import hmac
from collections.abc import Iterable
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute
from sqlalchemy import Connection, select
from starlette.datastructures import FormData
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute

from labeling.database import accounts, roles, schema, sessions
from labeling.web.errors import Refusal
from labeling.web.gate import SAFE
from labeling.web.replies import Reply, key_of
from labeling.web.state import State
from labeling.web.visit import AT_THE_DESK, Visit

Right = Literal["public", "anyone", "administrator", "desk", "lead", "rater", "senior", "analyst"]
Kind = Literal["project", "round", "item", "assignment", "codebook"]
IN_A_PROJECT = frozenset({"lead", "rater", "senior", "analyst"})
UNKNOWN = "There is no such thing, or none that you may know of."


class Allow:
    """The dependency that lets some roles pass."""

    def __init__(self, *rights: Right, of: Kind | None = None, unblinds: bool = False) -> None:
        if not rights or (of is None) != IN_A_PROJECT.isdisjoint(rights):
            raise TypeError(f"a route for {rights} of {of}: roles in a project need a kind of object, others have none")
        self.rights, self.unblinds = frozenset(rights), unblinds
        self.of: Kind | None = of

    def __call__(self, request: HTTPConnection) -> Visit | None:
        """The visit; None of somebody who is not signed in, where that is allowed.

        Raises:
            Refusal: This person, or nobody in particular, may not.
        """
        state: State = request.app.state.clinlens
        visit = find_visit(request, state)
        request.state.visit = visit
        if "public" not in self.rights:
            if visit is None and "desk" in self.rights and state.is_open_house:
                return None
            if visit is None:
                raise Refusal(401, "not_signed_in", "You are not signed in, or your session has ended. Sign in.")
            refuse_without_token(request, visit)
            visit = self.let_in(request, visit, state)
            request.state.visit = visit
            refuse_without_second_factor(request, visit, state)
            if "desk" not in self.rights:  # its writes have a key of their own, or may be repeated
                refuse_repeat(request, visit, state)
        return visit

    def let_in(self, request: HTTPConnection, visit: Visit, state: State) -> Visit:
        """The visit with its project and roles, if one of them is allowed."""
        if self.of is not None:
            visit = in_project(visit, self.of, request.path_params[f"{self.of}_id"])
        if "desk" in self.rights and is_at_the_desk(visit):
            return visit
        mine = {"anyone", *visit.roles, *(["administrator"] if visit.user.is_administrator else [])}
        if mine.isdisjoint(self.rights):
            raise Refusal(403, "not_allowed", "This is not for your role. Ask the lead of the project.")
        if self.unblinds:
            refuse_who_still_rates(visit)
        return visit


def find_visit(request: HTTPConnection, state: State) -> Visit | None:
    """The visit of a session's cookie."""
    token = request.cookies.get(state.config.cookie)
    if not token or state.database is None:
        return None
    with state.database.read() as conn:
        session = sessions.find_session(conn, token)
        if session is None:
            return None
        user = accounts.user_of(conn, session.user_id)
    if session.needs_touch:
        with state.database.write() as conn:
            sessions.touch(conn, session.actor)
            session = sessions.find_session(conn, token) or session
    return Visit(user, session, state.database, state.report is not None, state.database.now())


def is_at_the_desk(visit: Visit) -> bool:
    """Whether somebody analyses, leads or adjudicates somewhere, or administers the server."""
    if visit.user.is_administrator:
        return True
    with visit.database.read() as conn:
        return not AT_THE_DESK.isdisjoint(roles.roles_anywhere(conn, visit.user.id))


def still_rates(visit: Visit) -> bool:
    """Whether somebody rates in a round of any project that is not closed, so that labels must not be shown to them."""
    round_, rater = schema.round_, schema.round_rater
    query = (
        select(round_.c.id)
        .join(rater, rater.c.round_id == round_.c.id)
        .where(rater.c.user_id == visit.user.id, round_.c.state != "closed")
    )
    with visit.database.read() as conn:
        return conn.execute(query.limit(1)).first() is not None


def in_project(visit: Visit, kind: Kind, object_id: str) -> Visit:
    """The visit in the project that an object belongs to.

    Raises:
        Refusal: There is none, or the person has no part in it.
    """
    with visit.database.read() as conn:
        project_id = project_of(conn, kind, object_id, visit.user.id)
        mine = roles.roles_of(conn, visit.user.id, project_id) if project_id else frozenset()
    if not project_id or not mine:
        raise Refusal(404, "not_found", UNKNOWN)
    return Visit(visit.user, visit.session, visit.database, visit.has_report, visit.now, project_id, mine)


def refuse_who_still_rates(visit: Visit) -> None:
    """Keeps others' answers from whoever is still to give their own, whatever else they are in the project.

    Raises:
        Refusal: They rate in a round that is not closed.
    """
    round_, rater = schema.round_, schema.round_rater
    query = (
        select(round_.c.title)
        .join(rater, rater.c.round_id == round_.c.id)
        .where(round_.c.project_id == visit.project, rater.c.user_id == visit.user.id, round_.c.state != "closed")
    )
    with visit.database.read() as conn:
        title = conn.execute(query.limit(1)).scalar_one_or_none()
    if title is not None:
        raise Refusal(
            403, "still_blind", f"You rate in “{title}”: what others said is shown to you when that round is closed."
        )


def project_of(conn: Connection, kind: Kind, object_id: str, user_id: str) -> str | None:
    """The project of an object; an assignment has one for its own rater only."""
    project, round_, item, assignment, codebook = (
        schema.project, schema.round_, schema.item, schema.assignment, schema.codebook_version,
    )  # fmt: skip
    match kind:
        case "project":
            query = select(project.c.id).where(project.c.id == object_id)
        case "codebook":
            query = select(codebook.c.project_id).where(codebook.c.id == object_id)
        case "round":
            query = select(round_.c.project_id).where(round_.c.id == object_id)
        case "item":
            query = select(round_.c.project_id).join(item, item.c.round_id == round_.c.id).where(item.c.id == object_id)
        case "assignment":
            query = (
                select(round_.c.project_id)
                .join(assignment, assignment.c.round_id == round_.c.id)
                .where(assignment.c.id == object_id, assignment.c.rater_id == user_id)
            )
    return conn.execute(query).scalar_one_or_none()


def refuse_without_token(request: HTTPConnection, visit: Visit) -> None:
    """Refuses a change that comes without the session's token, in a header or in the form.

    Raises:
        Refusal: It is missing or another session's.
    """
    if request.scope.get("method", "GET") in SAFE:  # a socket's origin was looked at by the gate
        return
    given = request.headers.get("x-csrf-token") or str(request.state.form.get("csrf", ""))
    if not hmac.compare_digest(given.encode(), visit.session.csrf.encode()):
        raise Refusal(403, "csrf", "The page is older than your session. Go back, load it again and repeat.")


def refuse_without_second_factor(request: HTTPConnection, visit: Visit, state: State) -> None:
    """Where one-time codes are required, leads to their setting-up first.

    Raises:
        Refusal: They are not set up yet.
    """
    if (
        state.config.requires_totp
        and not visit.user.has_totp
        and not request.url.path.startswith(("/account", "/sign-out"))
    ):
        raise Refusal(403, "second_factor", "Set up one-time codes first: see your account page at /account.")


def refuse_repeat(request: HTTPConnection, visit: Visit, state: State) -> None:
    """Asks every write by the API for a key, and answers a repeat as before.

    Raises:
        Refusal: The key is missing, or was used for another request.
        Reply: The same was asked before.
    """
    if not isinstance(request, Request) or request.method in SAFE or not request.url.path.startswith("/api/"):
        return
    key = key_of(request)
    if key is None:
        raise Refusal(428, "key_missing", "The header Idempotency-Key is missing or no UUID. Send a fresh one.")
    whole = (visit.user.id, f"{request.method} {request.url.path}", key)
    found = state.replies.find(whole)
    if found is None:
        request.state.reply_key = whole
    elif found[0] == request.state.asked:
        raise Reply(found[1], found[2])
    else:
        raise Refusal(422, "key_used", "The Idempotency-Key was used for another request. Send a fresh one.")


def version_of(request: Request) -> int:
    """The version that a write was made for, from `If-Match: "3"`.

    Raises:
        Refusal: It is missing or no number.
    """
    given = request.headers.get("if-match", "").strip().strip('"')
    if not given.isdecimal() or len(given) > 9:
        raise Refusal(
            428, "version_missing", 'The header If-Match is missing or no version. Send the one you saw: "3".'
        )
    return int(given)


def rights_of(route: BaseRoute) -> Allow | None:
    """Who may use a route; None if nobody said."""
    return allow_in(route.dependant) if isinstance(route, APIRoute | APIWebSocketRoute) else None


def allow_in(dependant: Dependant) -> Allow | None:
    """The `Allow` among a route's dependencies."""
    for inner in dependant.dependencies:
        found = inner.call if isinstance(inner.call, Allow) else allow_in(inner)
        if found is not None:
            return found
    return None


def refuse_unguarded(routers: Iterable[APIRouter]) -> None:
    """Keeps an application with an open route from starting.

    Raises:
        RuntimeError: A route says not who may use it.
    """
    routes = [route for router in routers for route in router.routes]
    unguarded = [str(getattr(route, "path", route)) for route in routes if rights_of(route) is None]
    if unguarded:
        raise RuntimeError(f"routes without Allow: {unguarded}")


async def read_form(request: HTTPConnection) -> Any:
    """Reads a posted form once, before it is known who sent it: its token is among the fields."""
    if not isinstance(request, Request):
        return None
    kind = request.headers.get("content-type", "")
    is_form = kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data"))
    has_form = is_form and request.method == "POST"
    request.state.form = await request.form(max_fields=2000, max_files=1) if has_form else FormData()
    return request.state.form
