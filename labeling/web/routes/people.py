"""Accounts, institutions and invitations: for administrators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from labeling.database import accounts
from labeling.web.access import Allow
from labeling.web.pages import page
from labeling.web.replies import KeptRoute
from labeling.web.visit import Visit
from sae.config import Settings
from sae.errors import UserError

pages = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api/v1", route_class=KeptRoute)
ROUTERS = (pages, api)
Administrator = Annotated[Visit, Depends(Allow("administrator"))]
PROPERTIES = ("login", "display_name", "institution", "specialty", "seniority")


class NewPerson(Settings, frozen=True):
    """Somebody to be invited."""

    login: str = Field(min_length=3, max_length=80, description="Name to sign in with; one person's alone.")
    display_name: str = Field(min_length=1, max_length=80, description="As it is printed.")
    institution: str = Field(min_length=1, max_length=80, description="Made if there is none of that name.")
    specialty: str = Field(default="", max_length=80, description="Such as cardiology.")
    seniority: str = Field(default="", max_length=80, description="Such as resident, consultant.")
    is_administrator: bool = Field(default=False, description="Whether they manage accounts.")


class Invitation(Settings, frozen=True):
    """A one-time link."""

    user_id: str = Field(description="Whom it is for.")
    address: str = Field(description="Where they set their password; shown this once, works once, for 72 h.")


def invite(visit: Visit, person: NewPerson) -> Invitation:
    """Adds a person and gives their link."""
    with visit.database.write() as conn:
        house = accounts.add_institution(conn, visit.actor, person.institution)
        user = accounts.add_user(
            conn, visit.actor, login=person.login, display_name=person.display_name, institution_id=house.id,
            specialty=person.specialty, seniority=person.seniority, is_administrator=person.is_administrator,
        )  # fmt: skip
        token = accounts.invite(conn, visit.actor, user.id)
    return Invitation(user_id=user.id, address=f"/invitations/{token}")


def shown(visit: Visit, request: Request, made: Invitation | None = None, problem: str | None = None) -> Response:
    """The list, with what was just done."""
    with visit.database.read() as conn:
        people, houses = accounts.users(conn), accounts.institutions(conn)
    names = {house.id: house.name for house in houses}
    link = f"{request.url.scheme}://{request.url.netloc}{made.address}" if made else None
    response = page(
        request, "people.html", people=people, houses=names, link=link, problem=problem,
        given=request.state.form if problem and request.state.form else {},
    )  # fmt: skip
    response.status_code = 422 if problem else 200
    return response


@pages.get("/people")
def people_page(visit: Administrator, request: Request) -> Response:
    """Everybody with an account."""
    return shown(visit, request)


@pages.post("/people")
def add(visit: Administrator, request: Request) -> Response:
    """Adds a person and shows the link once."""
    form = request.state.form
    given = {name: str(form.get(name, "")).strip() for name in PROPERTIES}
    if not all(given[name] for name in PROPERTIES[:3]):
        return shown(
            visit, request, problem="Login, name or institution are missing, expected all three. Fill them in."
        )
    try:
        made = invite(visit, NewPerson(**given, is_administrator=form.get("is_administrator") == "on"))
    except UserError as error:
        return shown(visit, request, problem=str(error))
    except ValueError:
        return shown(
            visit, request, problem="A field is too long or too short, expected 3 to 80 characters. Correct it."
        )
    return shown(visit, request, made)


@pages.post("/people/{user_id}/invitation")
def invite_again(visit: Administrator, request: Request, user_id: str) -> Response:
    """A new link for somebody who lost theirs, or their password; the old one is void."""
    with visit.database.write() as conn:
        token = accounts.invite(conn, visit.actor, user_id)
    return shown(visit, request, Invitation(user_id=user_id, address=f"/invitations/{token}"))


@pages.post("/people/{user_id}/status")
def set_status(visit: Administrator, request: Request, user_id: str) -> Response:
    """Keeps a person out at once, or lets them in again."""
    form = request.state.form
    with visit.database.write() as conn:
        if form.get("status") == "disabled":
            refuse_oneself(visit, user_id)
            accounts.disable_user(conn, visit.actor, user_id, str(form.get("reason", ""))[:200])
        else:
            accounts.enable_user(conn, visit.actor, user_id)
    return RedirectResponse("/people?said=saved", 303)


def refuse_oneself(visit: Visit, user_id: str) -> None:
    """Keeps an administrator from locking themselves out.

    Raises:
        UserError: It is their own account.
    """
    if user_id == visit.user.id:
        raise UserError("This is your own account, expected somebody else's. Ask another administrator.")


@api.post("/people", status_code=201)
def add_by_program(visit: Administrator, person: NewPerson) -> Invitation:
    """Adds a person and gives their one-time link."""
    return invite(visit, person)
