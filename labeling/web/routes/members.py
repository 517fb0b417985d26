"""Who is what in a project, and what a rater shall not judge: for its lead."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from labeling.database import accounts, conflicts, roles
from labeling.database.bars import coi_rules
from labeling.web.access import Allow
from labeling.web.pages import page
from labeling.web.visit import Visit
from sae.errors import UserError

pages = APIRouter(include_in_schema=False)
ROUTERS = (pages,)
Lead = Annotated[Visit, Depends(Allow("lead", of="project"))]
ROLES: tuple[roles.Role, ...] = ("lead", "rater", "senior", "analyst")


def shown(visit: Visit, request: Request, problem: str | None = None) -> Response:
    """The members, with what was wrong with the last thing tried."""
    with visit.database.read() as conn:
        what = roles.members(conn, visit.project)
        people = [one for one in accounts.users(conn) if one.status in ("active", "invited")]
        houses = {house.id: house.name for house in accounts.institutions(conn)}
        rules = {one.id: coi_rules(conn, visit.project, one.id) for one in people}
    response = page(
        request, "members.html", people=people, what=what, houses=houses, rules=rules, roles=ROLES, problem=problem
    )
    response.status_code = 422 if problem else 200
    return response


@pages.get("/projects/{project_id}/members")
def members_page(visit: Lead, request: Request) -> Response:
    """Members, their roles and conflicts of interest."""
    return shown(visit, request)


@pages.post("/projects/{project_id}/members/{user_id}/roles")
def set_roles(visit: Lead, request: Request, user_id: str) -> Response:
    """Gives and takes roles as ticked; a lead cannot take their own lead away."""
    wanted = set(map(str, request.state.form.getlist("role")))
    with visit.database.write() as conn:
        person = accounts.user_of(conn, user_id)
        now = roles.roles_of(conn, person.id, visit.project)
        if person.id == visit.user.id and "lead" not in wanted:
            return shown(visit, request, "You lead this project, expected another lead to take that away. Ask one.")
        for role in ROLES:
            if role in wanted - now:
                roles.grant_role(conn, visit.actor, visit.project, person.id, role)
            elif role in now - wanted:
                roles.revoke_role(conn, visit.actor, visit.project, person.id, role)
    return RedirectResponse(f"/projects/{visit.project}/members?said=saved", 303)


@pages.post("/projects/{project_id}/members/{user_id}/conflicts")
def add_conflict(visit: Lead, request: Request, user_id: str) -> Response:
    """Keeps a rater from some evidence."""
    form = request.state.form
    kind, value = str(form.get("kind", "")), str(form.get("value", "")).strip()
    if not value:
        return shown(visit, request, "The rule names nothing, expected a number or an id. Fill it in.")
    try:
        with visit.database.write() as conn:
            accounts.user_of(conn, user_id)
            conflicts.add_coi_rule(
                conn, visit.actor, visit.project, user_id, kind, value[:80], str(form.get("reason", ""))[:400]
            )
    except UserError as error:
        return shown(visit, request, str(error))
    return RedirectResponse(f"/projects/{visit.project}/members?said=saved", 303)


@pages.post("/projects/{project_id}/members/{user_id}/conflicts/{rule_id}/removal")
def remove_conflict(visit: Lead, request: Request, user_id: str, rule_id: str) -> Response:
    """Takes a rule away; the audit keeps what it said."""
    with visit.database.write() as conn:
        accounts.user_of(conn, user_id)
        conflicts.remove_coi_rule(conn, visit.actor, visit.project, rule_id)
    return RedirectResponse(f"/projects/{visit.project}/members?said=saved", 303)
