"""Codebooks: reading the rubric, searching its vocabulary, publishing a next version with a look at what changes."""

import difflib
from typing import Annotated, Any

import yaml
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, ValidationError
from starlette.responses import RedirectResponse, Response

from labeling.codebook import Codebook
from labeling.database import projects
from labeling.web.access import Allow, version_of
from labeling.web.errors import Refusal
from labeling.web.form import concepts
from labeling.web.pages import page
from labeling.web.replies import KeptRoute
from labeling.web.visit import Visit
from labeling.yaml_text import parsed
from sae.config import Settings
from sae.errors import UserError

pages = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api/v1", route_class=KeptRoute)
ROUTERS = (pages, api)
Reader = Annotated[Visit, Depends(Allow("lead", "rater", "senior", "analyst", of="codebook"))]
Member = Annotated[Visit, Depends(Allow("lead", "rater", "senior", "analyst", of="project"))]
Lead = Annotated[Visit, Depends(Allow("lead", of="project"))]


class Concept(Settings, frozen=True):
    """A concept that a search found."""

    code: str = Field(description="What is stored.")
    name: str = Field(description="What is read.")
    parent: str = Field(description="The broader concept's name.")


class Found(Settings, frozen=True):
    """What a search found."""

    concepts: list[Concept] = Field(description="The nearest first.")


class NewCodebook(Settings, frozen=True):
    """A version to be published."""

    codebook: Codebook = Field(description="All of it.")
    note: str = Field(default="", max_length=2000, description="Why it is published.")


class Version(Settings, frozen=True):
    """A published version."""

    id: str = Field(description="Its id.")
    n: int = Field(description="Its number in the project.")
    sha256: str = Field(description="Hash of its body.")
    n_stale: int = Field(description="Items of open rounds that are marked for rating again.")


@pages.get("/codebooks/{codebook_id}")
def rubric_page(visit: Reader, request: Request, codebook_id: str) -> Response:
    """The rubric, for reading."""
    with visit.database.read() as conn:
        version = projects.codebook_of(conn, codebook_id)
        project = projects.project_of(conn, visit.project)
    return page(request, "rubric.html", version=version, codebook=version.codebook, project=project)


@pages.get("/projects/{project_id}/codebooks")
def codebooks_page(visit: Member, request: Request) -> Response:
    """All versions; for the lead, an editor of the next."""
    return shown(visit, request)


def shown(visit: Visit, request: Request, written: str | None = None, **more: Any) -> Response:
    """The versions, and the editor with what was written."""
    with visit.database.read() as conn:
        versions = projects.codebooks(conn, visit.project)
    latest = text_of(versions[-1].codebook) if versions else ""
    more = {"problem": None, "diff": None, "changes": [], "note": "", **more}
    response = page(request, "codebooks.html", versions=versions, written=written or latest, **more)
    response.status_code = 422 if more["problem"] else 200
    return response


def text_of(codebook: Codebook) -> str:
    """A codebook as YAML, without what is as usual."""
    body = codebook.model_dump(mode="json", exclude_defaults=True)
    return yaml.dump(body, Dumper=ReadableDumper, sort_keys=False, allow_unicode=True, width=110)


class ReadableDumper(yaml.SafeDumper):
    """Writes text of several lines as lines: a rubric in quotes and escapes cannot be edited."""


def as_lines(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Text of several lines as a block, wherever YAML can write it so without changing it."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


ReadableDumper.add_representer(str, as_lines)


@pages.post("/projects/{project_id}/codebooks")
def edit(visit: Lead, request: Request) -> Response:
    """Shows what would change, or publishes it."""
    form = request.state.form
    written, note = str(form.get("codebook", "")), str(form.get("note", ""))[:2000]
    try:
        codebook = read(written)
        with visit.database.read() as conn:
            latest = projects.latest_codebook(conn, visit.project)
        if form.get("action") != "publish":
            before = latest.codebook if latest else codebook
            diff = list(
                difflib.unified_diff(
                    text_of(before).splitlines(), text_of(codebook).splitlines(), "now", "then", lineterm="", n=2
                )
            )
            return shown(visit, request, written, diff=diff, changes=projects.differences(before, codebook), note=note)
        with visit.database.write() as conn:
            projects.publish_codebook(conn, visit.actor, visit.project, codebook, note)
    except UserError as error:
        return shown(visit, request, written, problem=str(error), note=note)
    return RedirectResponse(f"/projects/{visit.project}/codebooks?said=published", 303)


def read(written: str) -> Codebook:
    """A codebook as typed.

    Raises:
        UserError: It is no YAML, or no codebook.
    """
    try:
        return Codebook.model_validate(parsed(written))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"in line {mark.line + 1}" if mark else "somewhere"
        raise UserError(f"The codebook is no YAML {where}, expected keys and values. Correct it there.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(f"{where}: {first['msg']}. Expected a codebook; correct it.") from error


@api.get("/codebooks/{codebook_id}/concepts")
def search(visit: Reader, codebook_id: str, query: Annotated[str, Query(max_length=200)] = "") -> Found:
    """Concepts of the vocabulary by name, code or synonym."""
    with visit.database.read() as conn:
        codebook = projects.codebook_of(conn, codebook_id).codebook
    return Found(concepts=[Concept(**one) for one in concepts(codebook, query)])


@api.post("/projects/{project_id}/codebooks", status_code=201)
def publish(visit: Lead, request: Request, wanted: NewCodebook) -> Version:
    """Publishes the version after the one named in `If-Match` (0 for the first)."""
    given = version_of(request)
    with visit.database.write() as conn:
        latest = projects.latest_codebook(conn, visit.project)
        n = latest.n if latest else 0
        if given != n:
            raise Refusal(409, "conflict", "Another version was published in between.", current={"n": n})
        made = projects.publish_codebook(conn, visit.actor, visit.project, wanted.codebook, wanted.note)
    return Version(id=made.version.id, n=made.version.n, sha256=made.version.sha256, n_stale=made.n_stale)
