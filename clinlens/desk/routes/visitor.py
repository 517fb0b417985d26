"""Who uses the desk, and the office that serves them."""

import sqlite3
from typing import Annotated

from fastapi import Depends, Path
from starlette.requests import HTTPConnection

from clinlens.desk.jobs.office import Office
from labeling.web.access import UNKNOWN, Allow
from labeling.web.errors import Refusal
from labeling.web.visit import Visit

Analyst = Annotated[Visit | None, Depends(Allow("desk"))]
"""Analyst, lead, senior or administrator; None on loopback while nobody has an account."""


async def office_of(connection: HTTPConnection) -> Office:
    """The desk's office. In the event loop, as is the look-up of a job: a thread would cost ten times what they take.

    Raises:
        Refusal: It is closed, since another server has its jobs, or its folder cannot be written.
    """
    if connection.app.state.desk is None:
        raise Refusal(503, "desk_closed", connection.app.state.desk_problem)
    return connection.app.state.desk


async def job_of(
    office: Annotated[Office, Depends(office_of)], job_id: Annotated[str, Path(max_length=64)]
) -> sqlite3.Row:
    """The job that an address names.

    Raises:
        Refusal: There is none.
    """
    row = office.store.job(job_id)
    if row is None:
        raise Refusal(404, "not_found", UNKNOWN)
    return row


TheOffice = Annotated[Office, Depends(office_of)]
TheJob = Annotated[sqlite3.Row, Depends(job_of)]
