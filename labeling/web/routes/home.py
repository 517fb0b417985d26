"""The start: what there is for one to do, and why there is nothing where there is nothing."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from sqlalchemy import Connection
from starlette.responses import RedirectResponse, Response

from labeling.database import projects, roles, rounds
from labeling.web.access import Allow
from labeling.web.pages import page
from labeling.web.routes.site import shown_report
from labeling.web.state import State
from labeling.web.visit import DESK, PROJECT_LINKS, Link, Visit

pages = APIRouter(include_in_schema=False)
ROUTERS = (pages,)


@dataclass(frozen=True)
class Mine:
    """A round in which one rates."""

    round: rounds.Round
    n_submitted: int
    """By oneself."""
    gate: str
    waits_for: str
    """The calibration that is to be passed before; empty where nothing is."""


@dataclass(frozen=True)
class Part:
    """A project in which one takes part."""

    project: projects.Project
    roles: frozenset[str]
    rounds: list[Mine]
    links: list[Link]


@pages.get("/")
def home(visit: Annotated[Visit | None, Depends(Allow("public"))], request: Request) -> Response:
    """One's projects and rounds; before there are accounts, the report."""
    state: State = request.app.state.clinlens
    if visit is None:
        return welcome(state, request)
    with visit.database.read() as conn:
        parts = [part for one in projects.projects(conn) if (part := part_of(conn, visit, one))]
    return page(request, "home.html", parts=parts)


def welcome(state: State, request: Request) -> Response:
    """For somebody who is not signed in."""
    if state.has_accounts:
        return RedirectResponse("/sign-in", 303)
    if state.report is not None and state.config.is_loopback:
        return shown_report(state)
    return page(request, "welcome.html")


def part_of(conn: Connection, visit: Visit, project: projects.Project) -> Part | None:
    """What one has to do with a project; nothing, if one has no part in it."""
    mine = roles.roles_of(conn, visit.user.id, project.id)
    if not mine:
        return None
    rated = []
    for one in rounds.rounds(conn, project.id):
        gate = next((gate for gate in rounds.gates(conn, one.id) if gate.user_id == visit.user.id), None)
        if gate is not None and one.state != "draft":
            rated.append(Mine(one, gate.n_submitted, gate.gate, waits_for(conn, one, visit.user.id)))
    links = [Link(name, f"/projects/{project.id}/{address}") for name, address, whose in PROJECT_LINKS if whose & mine]
    links += [DESK] if visit.has_desk(mine) else []
    return Part(project, mine, rated, links)


def waits_for(conn: Connection, one: rounds.Round, user_id: str) -> str:
    """The title of the calibration that a rater has still to pass, if any."""
    if one.gate_round_id is None:
        return ""
    passed = any(gate.user_id == user_id and gate.gate == "passed" for gate in rounds.gates(conn, one.gate_round_id))
    return "" if passed else rounds.round_of(conn, one.gate_round_id).title
