"""Making a project, which its maker then leads."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from labeling.codebook_file import default_codebook
from labeling.database import projects
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
Mine = Annotated[Visit, Depends(Allow("anyone"))]
CLASSIFICATIONS = ("synthetic", "de-identified", "limited data set", "identifiable")


class NewProject(Settings, frozen=True):
    """A project to be made."""

    name: str = Field(min_length=1, max_length=80, description="What it is called.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of its rounds.")
    corpus_classification: str = Field(
        default="synthetic", max_length=80, description="What kind of texts the evidence shows."
    )
    data_use_note: str = Field(default="", max_length=2000, description="Under which agreement they may be read.")


class Project(Settings, frozen=True):
    """A project one takes part in."""

    id: str = Field(description="Its id.")
    name: str = Field(description="What it is called.")
    roles: list[str] = Field(description="What one is in it.")


def make(visit: Visit, wanted: NewProject) -> str:
    """Makes it, with the codebook that comes with ClinLens as its first version."""
    with visit.database.write() as conn:
        made = projects.create_project(
            conn, visit.actor, wanted.name, seed=wanted.seed,
            corpus_classification=wanted.corpus_classification, data_use_note=wanted.data_use_note,
        )  # fmt: skip
        projects.publish_codebook(
            conn, visit.actor, made.id, default_codebook(), "The codebook that comes with ClinLens"
        )
    return made.id


@pages.get("/projects/new")
def new_project_page(visit: Administrator, request: Request) -> Response:
    """The form."""
    return page(request, "new_project.html", classifications=CLASSIFICATIONS, problem=None)


@pages.post("/projects")
def make_by_form(visit: Administrator, request: Request) -> Response:
    """Makes it and goes to its rounds."""
    form = request.state.form
    try:
        wanted = NewProject(
            name=str(form.get("name", "")).strip(), seed=int(str(form.get("seed") or 0)),
            corpus_classification=str(form.get("corpus_classification", "")), data_use_note=str(form.get("data_use_note", "")),
        )  # fmt: skip
        made = make(visit, wanted)
    except (ValueError, UserError):
        problem = "The name is missing or the seed is no whole number, expected both. Correct them."
        shown = page(request, "new_project.html", classifications=CLASSIFICATIONS, problem=problem)
        shown.status_code = 422
        return shown
    return RedirectResponse(f"/projects/{made}/rounds", 303)


@api.get("/projects")
def list_projects(visit: Mine) -> list[Project]:
    """The projects one takes part in."""
    from labeling.database import roles

    with visit.database.read() as conn:
        mine = [(one, roles.roles_of(conn, visit.user.id, one.id)) for one in projects.projects(conn)]
    return [Project(id=one.id, name=one.name, roles=sorted(what)) for one, what in mine if what]


@api.post("/projects", status_code=201)
def make_by_program(visit: Administrator, wanted: NewProject) -> Project:
    """Makes a project; its maker leads it."""
    return Project(id=make(visit, wanted), name=wanted.name, roles=["lead"])
