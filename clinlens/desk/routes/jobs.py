"""Jobs: made, listed, cancelled, tried again, renamed, forgotten.

Source: A.1 of paper 003; batch operations, search and sort of A.4's job overview.
"""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from clinlens.desk.jobs.listing import ORDERS, Wanted, listed, summary_of
from clinlens.desk.jobs.office import Office
from clinlens.desk.jobs.request import JobRequest, is_unicode
from clinlens.desk.routes.visitor import Analyst, TheJob, TheOffice
from labeling.web.errors import Refusal

api = APIRouter(prefix="/api/jobs", tags=["desk"])
ROUTERS = (api,)
STATES = ("queued", "running", "completed", "partial", "failed", "cancelled")


class Batch(BaseModel):
    """One action on several jobs."""

    model_config = ConfigDict(extra="forbid")
    action: Literal["cancel", "retry", "delete", "priority"]
    job_ids: list[str] = Field(min_length=1, max_length=500)
    priority: int | None = Field(default=None, ge=0, le=9)


class Change(BaseModel):
    """What may be changed of a job."""

    model_config = ConfigDict(extra="forbid")
    title: str | None = Field(default=None, max_length=200)
    priority: int | None = Field(default=None, ge=0, le=9)


@api.post("", status_code=202)
def create(visit: Analyst, office: TheOffice, request: JobRequest) -> dict[str, Any]:
    """Queues a job; the same `client_uuid` twice is the same job."""
    row = office.submit(request, visit.user.id if visit else None)
    return {"job_id": row["id"], "status": row["status"], "created_at": row["created_at"]}


@api.get("")
def overview(  # noqa: PLR0913, PLR0917 - one for each field of the query
    _: Analyst, office: TheOffice, status: str = "", model: str = "", method: str = "",
    q: Annotated[str, Query(max_length=200)] = "", sort: Literal["created_at", "priority", "status", "duration"] = "created_at",
    order: Literal["asc", "desc"] = "desc", page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:  # fmt: skip
    """A page of jobs."""
    states = tuple(state for state in status.split(",") if state)
    if not set(states) <= set(STATES) or sort not in ORDERS or not is_unicode(q):
        raise Refusal(422, "invalid", f"The status is none of {', '.join(STATES)}. Choose from them.")
    wanted = Wanted(states, model, method, q, sort, order == "desc", page, per_page)
    return JSONResponse(listed(office.store, wanted))


@api.post("/batch")
def batch(_: Analyst, office: TheOffice, asked: Batch) -> dict[str, Any]:
    """One action on several jobs; those that there are not are named."""
    if asked.action == "priority" and asked.priority is None:
        raise Refusal(422, "invalid", "No priority was given, expected 0 to 9. Give one.")
    unknown = []
    for job_id in dict.fromkeys(asked.job_ids):
        if not is_unicode(job_id) or office.store.job(job_id) is None:
            unknown.append(job_id)
        else:
            act(office, asked, job_id)
    return {"n_done": len(set(asked.job_ids)) - len(unknown), "n_unknown": len(unknown)}


def act(office: Office, asked: Batch, job_id: str) -> None:
    """One action on one job."""
    match asked.action:
        case "cancel":
            office.cancel(job_id)
        case "retry":
            office.retry(job_id)
        case "delete":
            office.delete(job_id)
        case "priority":
            office.store.change(job_id, priority=asked.priority)


@api.get("/{job_id}")
def one(_: Analyst, office: TheOffice, row: TheJob) -> Response:
    """A job as it was asked, for making another one like it."""
    asked = {"input": json.loads(row["input"]), "options": json.loads(row["options"])}
    family = {"parent": row["parent"], "edit": json.loads(row["edit"]) if row["edit"] else None}
    return JSONResponse({**summary_of(row), **asked, **family, "name": row["title"]})


@api.patch("/{job_id}")
def change(_: Analyst, office: TheOffice, row: TheJob, asked: Change) -> Response:
    """Another title or priority."""
    if not is_unicode(asked.title):
        raise Refusal(422, "invalid", "The title holds half of a surrogate pair, expected Unicode. Copy it again.")
    office.store.change(row["id"], title=asked.title, priority=asked.priority)
    return JSONResponse(summary_of(office.store.job(row["id"]) or row))


@api.delete("/{job_id}")
def delete(_: Analyst, office: TheOffice, row: TheJob) -> dict[str, Any]:
    """Forgets a job, its log, and the results that no other job has."""
    office.delete(row["id"])
    return {"job_id": row["id"], "status": "deleted"}


@api.post("/{job_id}/cancel")
def cancel(_: Analyst, office: TheOffice, row: TheJob) -> Response:
    """Ends what waits or runs of a job."""
    office.cancel(row["id"])
    return JSONResponse(office.status(office.store.job(row["id"]) or row))


@api.post("/{job_id}/retry")
def retry(_: Analyst, office: TheOffice, row: TheJob) -> Response:
    """Queues what failed or was cancelled of a job again."""
    office.retry(row["id"])
    return JSONResponse(office.status(office.store.job(row["id"]) or row))


@api.get("/{job_id}/status")
async def status(_: Analyst, office: TheOffice, row: TheJob) -> Response:
    """How far a job is; a tenth of a millisecond, so it needs no thread."""
    return JSONResponse(office.status(row))


@api.get("/{job_id}/log")
def log(_: Analyst, office: TheOffice, row: TheJob) -> Response:
    """What went wrong, by kind and place; empty where nothing did."""
    path = office.pool.logs / f"{row['id']}.log"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return JSONResponse({"lines": [json.loads(line) for line in lines]})
