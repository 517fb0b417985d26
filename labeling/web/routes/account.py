"""Signing in and out, and what a person does with their own account."""

from typing import Annotated

import segno
from fastapi import APIRouter, Depends, Request
from markupsafe import Markup
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from labeling.database import accounts, second_factor, sessions
from labeling.database.errors import NotAllowed
from labeling.web.access import Allow
from labeling.web.errors import Refusal
from labeling.web.pages import page
from labeling.web.replies import KeptRoute
from labeling.web.state import State
from labeling.web.visit import Visit
from sae.config import Settings
from sae.errors import UserError

pages = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api/v1", route_class=KeptRoute)
ROUTERS = (pages, api)
Anybody = Annotated[Visit | None, Depends(Allow("public"))]
Mine = Annotated[Visit, Depends(Allow("anyone"))]


def local(address: str) -> str:
    """An address of this server, or its start: a link to the sign-in page must not lead elsewhere."""
    is_local = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_local and "\\" not in address else "/"


def sign_in_as(request: Request, user: accounts.User, following: str) -> Response:
    """A new session in the browser, which voids the one it had."""
    state: State = request.app.state.clinlens
    assert state.database is not None  # noqa: S101 - somebody signs in
    with state.database.write() as conn:
        new = sessions.open_session(
            conn,
            user.id,
            address=request.client.host if request.client else "",
            agent=request.headers.get("user-agent", ""),
            old_token=request.cookies.get(state.config.cookie, ""),
        )
    response = RedirectResponse(local(following), 303)
    response.set_cookie(
        state.config.cookie, new.token, path="/", secure=state.config.is_secure, httponly=True, samesite="strict"
    )
    return response


@pages.get("/sign-in")
def sign_in_page(visit: Anybody, request: Request) -> Response:
    """The form; whom a declared proxy names is signed in at once."""
    following = local(request.query_params.get("next", "/"))
    if visit is not None:
        return RedirectResponse(following, 303)
    user = proxied_user(request)
    if user is not None:
        return sign_in_as(request, user, following)
    return page(request, "sign_in.html", following=following, problem=None, login="")


def proxied_user(request: Request) -> accounts.User | None:
    """Whom the declared proxy says has signed in at the hospital's provider; it must be an active account here."""
    state: State = request.app.state.clinlens
    login = request.scope.get("proxy_user")
    if not login or state.database is None:
        return None
    try:
        with state.database.read() as conn:
            user = accounts.user_named(conn, login)
    except accounts.NotFound:
        return None
    return user if user.status == "active" else None


@pages.post("/sign-in")
def sign_in(_: Anybody, request: Request) -> Response:
    """Name, password and, where it is set up, a one-time code."""
    state: State = request.app.state.clinlens
    form = request.state.form
    login, following = str(form.get("login", "")), local(str(form.get("next", "/")))
    wait_s = state.sign_ins.wait_s(request.client.host if request.client else "")
    if wait_s:
        raise Refusal(429, "too_many_requests", f"Too many tries from here; wait {wait_s} s.", retry_after_s=wait_s)
    try:
        user = who(state, login, str(form.get("password", "")), str(form.get("code", "")))
    except NotAllowed as error:
        shown = page(request, "sign_in.html", following=following, problem=str(error), login=login)
        shown.status_code = 403
        return shown
    return sign_in_as(request, user, following)


def who(state: State, login: str, password: str, code: str) -> accounts.User:
    """The person, once both factors are right.

    Raises:
        NotAllowed: They are not.
    """
    if state.database is None:
        raise NotAllowed(accounts.WRONG)
    user = accounts.check_password(state.database, login, password)
    if user.has_totp:
        second_factor.check(state.database, user.id, code)
    return user


@pages.post("/sign-out")
def sign_out(visit: Mine, request: Request) -> Response:
    """Ends the session."""
    state: State = request.app.state.clinlens
    with visit.database.write() as conn:
        sessions.end_session(conn, request.cookies[state.config.cookie])
    response = RedirectResponse("/sign-in?said=goodbye", 303)
    response.delete_cookie(
        state.config.cookie, path="/", secure=state.config.is_secure, httponly=True, samesite="strict"
    )
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


@pages.get("/account")
def account_page(visit: Mine, request: Request) -> Response:
    """One's own account."""
    return account(visit, request)


def account(visit: Visit, request: Request, problem: str | None = None) -> Response:
    """The page, with what was wrong with the last thing tried."""
    with visit.database.read() as conn:
        mine = sessions.sessions_of(conn, visit.user.id)
    shown = page(request, "account.html", sessions=mine, problem=problem)
    shown.status_code = 422 if problem else 200
    return shown


@pages.post("/account/password")
def change_password(visit: Mine, request: Request) -> Response:
    """A new password, given the old one."""
    form = request.state.form
    try:
        code = str(form.get("code", "")) or None
        accounts.reauthenticate(visit.database, visit.user.id, str(form.get("password", "")), code)
        accounts.set_password(visit.database, visit.actor, visit.user.id, str(form.get("new_password", "")))
    except UserError as error:
        return account(visit, request, str(error))
    return RedirectResponse("/account?said=password", 303)


@pages.post("/account/sessions")
def end_others(visit: Mine) -> Response:
    """Ends all sessions but this one."""
    with visit.database.write() as conn:
        sessions.end_sessions(conn, visit.actor, visit.user.id, but=visit.actor.session_sha256)
    return RedirectResponse("/account?said=ended", 303)


@pages.post("/account/second-factor")
def enrol(visit: Mine, request: Request) -> Response:
    """A new secret, to be scanned or typed; asks for the password, so that an open desk does not suffice."""
    form = request.state.form
    try:
        code = str(form.get("code", "")) or None
        accounts.reauthenticate(visit.database, visit.user.id, str(form.get("password", "")), code)
    except UserError as error:
        return account(visit, request, str(error))
    with visit.database.write() as conn:
        made = second_factor.enrol(conn, visit.actor, visit.user.id)
    return page(request, "second_factor.html", enrolment=made, picture=picture_of(made.uri))


def picture_of(uri: str) -> Markup:
    """A QR code as SVG, drawn here; made of squares alone."""
    return Markup(segno.make(uri, error="m").svg_inline(scale=4, svgclass="qr", omitsize=True))  # noqa: S704 - no text in it


@pages.post("/account/second-factor/confirmation")
def confirm(visit: Mine, request: Request) -> Response:
    """Turns one-time codes on, and shows the recovery codes this once."""
    try:
        with visit.database.write() as conn:
            codes = second_factor.confirm(conn, visit.actor, visit.user.id, str(request.state.form.get("code", "")))
    except UserError:
        return account(visit, request, "The code was wrong. Begin again, and type the newest one.")
    return page(request, "recovery_codes.html", codes=codes)


@pages.get("/invitations/{token}")
def invitation_page(_: Anybody, request: Request, token: str) -> Response:
    """Where an invited person sets their password."""
    return page(request, "invitation.html", token=token, user=invited(request, token), problem=None)


@pages.post("/invitations/{token}")
def accept(_: Anybody, request: Request, token: str) -> Response:
    """Sets it, and signs the person in."""
    state: State = request.app.state.clinlens
    user = invited(request, token)
    try:
        assert state.database is not None  # noqa: S101 - `invited` found it
        accounts.accept_invitation(state.database, token, str(request.state.form.get("password", "")))
    except UserError as error:
        shown = page(request, "invitation.html", token=token, user=user, problem=str(error))
        shown.status_code = 422
        return shown
    return sign_in_as(request, user, "/")


def invited(request: Request, token: str) -> accounts.User:
    """Whom an invitation is for.

    Raises:
        Refusal: There is no database yet.
        NotFound: It is unknown, used or too old.
    """
    state: State = request.app.state.clinlens
    if state.database is None:
        raise Refusal(404, "not_found", "There is no such invitation.")
    with state.database.read() as conn:
        return accounts.invited_user(conn, token)


class Me(Settings, frozen=True):
    """Who is signed in."""

    login: str = Field(description="The name to sign in with.")
    display_name: str = Field(description="The printed name.")
    is_administrator: bool = Field(description="Whether they manage accounts.")
    idle_s: int = Field(description="Seconds until the session ends without a sign of life.")
    absolute_s: int = Field(description="Seconds until it ends in any case.")


@api.get("/me")
def me(visit: Mine) -> Me:
    """Oneself."""
    user = visit.user
    return Me(
        login=user.login, display_name=user.display_name, is_administrator=user.is_administrator,
        idle_s=visit.idle_s, absolute_s=visit.absolute_s,
    )  # fmt: skip


@api.post("/session/extension")
def extend(visit: Mine) -> Me:
    """A sign of life: the idle time begins anew."""
    with visit.database.write() as conn:
        sessions.touch(conn, visit.actor)
    return me(visit)
