"""The audit of a project, for reading, and whether it and what it speaks of are whole.

Leads read names. An analyst reads pseudonyms, those of the exports: a name beside a judgement's id would undo them.
"""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from sqlalchemy import select
from starlette.responses import Response

from labeling.database import accounts, integrity, projects
from labeling.database.schema import audit_event
from labeling.web.access import Allow
from labeling.web.pages import page
from labeling.web.replies import KeptRoute
from labeling.web.visit import Visit
from sae.config import Settings

pages = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api/v1", route_class=KeptRoute)
ROUTERS = (pages, api)
Reader = Annotated[Visit, Depends(Allow("lead", "analyst", of="project", unblinds=True))]
PAGE = 100
Before = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Only events before this one.")]


class Event(Settings, frozen=True):
    """Something that was done."""

    seq: int = Field(description="Its place in the chain.")
    at: str = Field(description="When, UTC.")
    actor: str = Field(
        description="Who: their printed name, to an analyst their pseudonym; empty where the program itself."
    )
    action: str = Field(description="What.")
    object: str = Field(description="To what: kind and id.")
    detail: dict[str, Any] = Field(description="What helps a reader; never answers or patient text.")
    hash: str = Field(description="Of this event and the one before.")


class Check(Settings, frozen=True):
    """Whether the project's records are whole."""

    problems: list[str] = Field(description="One sentence each; none if all is well.")


def events(visit: Visit, before: int | None) -> list[Event]:
    """The newest events, newest first."""
    event = audit_event.c
    query = select(audit_event).where(event.project_id == visit.project)
    if before is not None:
        query = query.where(event.seq < before)
    with visit.database.read() as conn:
        rows = conn.execute(query.order_by(event.seq.desc()).limit(PAGE)).all()
        key = projects.pseudonym_key(conn, visit.project)
        is_told = "lead" in visit.roles
        names = {
            one.id: one.display_name if is_told else projects.pseudonym(key, one.id) for one in accounts.users(conn)
        }
    return [
        Event(
            seq=row.seq, at=row.at, actor=names.get(row.actor_id or "", ""), action=row.action, object=row.object,
            detail=json.loads(row.detail), hash=row.hash,
        )
        for row in rows
    ]  # fmt: skip


@pages.get("/projects/{project_id}/audit")
def audit_page(visit: Reader, request: Request, before: Before = None) -> Response:
    """Who did what, and when."""
    return page(request, "audit.html", events=events(visit, before), problems=None)


@pages.post("/projects/{project_id}/audit/check")
def check_by_form(visit: Reader, request: Request) -> Response:
    """Recomputes the chain and what it speaks of."""
    return page(request, "audit.html", events=events(visit, None), problems=check(visit).problems)


@api.get("/projects/{project_id}/audit")
def list_events(visit: Reader, before: Before = None) -> list[Event]:
    """The newest events, newest first."""
    return events(visit, before)


@api.get("/projects/{project_id}/audit/check")
def check(visit: Reader) -> Check:
    """Recomputes the chain, and judgements, evidence and codebooks that it speaks of."""
    with visit.database.read() as conn:
        return Check(problems=[f"{one.place}: {one.sentence}" for one in integrity.verify(conn)])
