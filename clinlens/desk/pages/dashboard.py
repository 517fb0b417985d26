"""The pages of attribution jobs. They hold no result: their modules ask the job API, as any other program would."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from clinlens.desk.pages import assets
from clinlens.desk.pages.shell import page
from clinlens.desk.routes.visitor import Analyst
from labeling.web.errors import Refusal

pages = APIRouter(include_in_schema=False)


@pages.get("/desk/static/{version}/{name}")
def asset(_: Analyst, version: str, name: str) -> Response:
    """A file of the pages."""
    found = assets.serve(version, name)
    if found is None:
        raise Refusal(404, "not_found", "There is no such file.")
    return found


@pages.get("/desk")
def overview(_: Analyst, request: Request) -> Response:
    """All jobs."""
    return page(request, "overview.html")


@pages.get("/desk/new")
def new_job(_: Analyst, request: Request) -> Response:
    """The form for a job."""
    return page(request, "new_job.html")


@pages.get("/desk/jobs/{job_id}")
def job(_: Analyst, request: Request, job_id: str) -> Response:
    """One job: its progress, then its results."""
    return page(request, "job.html", job_id=job_id)


@pages.get("/desk/compare")
def compare(_: Analyst, request: Request) -> Response:
    """Two results side by side."""
    return page(request, "compare.html")
