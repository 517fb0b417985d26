"""The analyst's page: how far raters agree, what they agree on, what it rests on; the full report and the exports."""

import io
import zipfile
from importlib.metadata import version as version_of_package
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Connection, func, select
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from labeling.database import projects, reports, schema
from labeling.database.connection import Database
from labeling.web.access import Allow
from labeling.web.errors import Refusal
from labeling.web.pages import page
from labeling.web.policies import own_policy
from labeling.web.replies import KeptRoute
from labeling.web.state import State
from labeling.web.statistics_worker import Outcome
from labeling.web.visit import Visit

pages = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api/v1", route_class=KeptRoute)
ROUTERS = (pages, api)
Reader = Annotated[Visit, Depends(Allow("analyst", "lead", of="project", unblinds=True))]
Version = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Codebook version; the most used one if unset.")]
SHOWN_FIRST = (
    "alpha_nominal", "alpha_ordinal", "alpha_masi", "alpha_jaccard", "ac1", "ac2_quadratic", "fleiss_pi",
    "positive_agreement_micro", "percent_agreement", "percent_exact",
)  # fmt: skip
"""Coefficients in the first row of a field; those that exist for its level. None stands alone."""


def digest(conn: Connection, project_id: str) -> str:
    """What the figures depend on, found quickly: nothing that is counted here is ever taken away."""
    judgement, adjudication, assignment, item, round_ = (
        schema.judgement, schema.adjudication, schema.assignment, schema.item, schema.round_,
    )  # fmt: skip
    joined = assignment.join(round_, round_.c.id == assignment.c.round_id)
    mine = round_.c.project_id == project_id
    parts = (
        select(func.count())
        .select_from(judgement.join(joined, assignment.c.id == judgement.c.assignment_id))
        .where(mine),
        select(func.count()).select_from(joined).where(mine, assignment.c.state == "skipped"),
        select(func.count())
        .select_from(adjudication.join(item, item.c.id == adjudication.c.item_id).join(round_))
        .where(mine),
        select(func.count()).select_from(item.join(round_)).where(mine, item.c.state == "quarantined"),
    )
    return " ".join([project_id, *(str(conn.execute(part).scalar_one()) for part in parts)])


def computed(visit: Visit, state: State, version: int | None) -> Outcome:
    """The figures, or that they are on their way."""
    with visit.database.read() as conn:
        key = f"{digest(conn, visit.project)} {version}"
    return state.worker.outcome(key, lambda: figures(visit.database, visit.project, version))


def figures(database: Database, project_id: str, version: int | None) -> dict[str, Any]:
    """Everything that is known of the raters' agreement; see `labeling.report.findings`."""
    from labeling.exchange.derived import judgement_table
    from labeling.exchange.source import read_bundle
    from labeling.report.config import ReportConfig
    from labeling.report.findings import findings
    from labeling.report.study import Study

    with database.read() as conn:
        bundle = read_bundle(conn, project_id, evidence=True)
    return findings(
        judgement_table(bundle), ReportConfig(codebook=version), Study(), f"clinlens {version_of_package('clinlens')}"
    )


@pages.get("/projects/{project_id}/agreement")
def agreement_page(visit: Reader, request: Request, codebook: Version = None) -> Response:
    """Agreement, consensus, gold, retests, houses, drift."""
    with visit.database.read() as conn:
        project = projects.project_of(conn, visit.project)
        books = projects.codebooks(conn, visit.project)
    outcome = computed(visit, request.app.state.clinlens, codebook)
    return page(
        request, "agreement.html", project=project, books=books, outcome=outcome, found=outcome.value, codebook=codebook,
        first=SHOWN_FIRST,
    )  # fmt: skip


@pages.get("/projects/{project_id}/agreement/report")
def report_page(visit: Reader, request: Request, codebook: Version = None) -> Response:
    """The whole report, to be printed, under the policy that it carries itself."""
    return printed(ready(visit, request, codebook))


def ready(visit: Visit, request: Request, codebook: int | None) -> dict[str, Any]:
    """The figures.

    Raises:
        Refusal: They are not computed yet, or cannot be.
    """
    outcome = computed(visit, request.app.state.clinlens, codebook)
    if outcome.value is None:
        raise Refusal(409, "not_ready", outcome.problem or "The figures are being computed. Try again in a moment.")
    return outcome.value


def printed(found: dict[str, Any]) -> Response:
    """A report's page."""
    from labeling.report.page import page as report_of

    data = report_of(found)
    return HTMLResponse(data, headers={"Content-Security-Policy": own_policy(data)})


@pages.post("/projects/{project_id}/agreement/report")
def keep_report(visit: Reader, request: Request, codebook: Version = None) -> Response:
    """Keeps the report as it is now, and goes to where it is signed."""
    found = ready(visit, request, codebook)
    with visit.database.write() as conn:
        report_id = reports.keep_report(conn, visit.actor, visit.project, found)
    return RedirectResponse(f"/projects/{visit.project}/signatures?object=report:{report_id}", 303)


@pages.get("/projects/{project_id}/reports/{report_id}")
def kept_report(visit: Reader, report_id: str) -> Response:
    """A report as it was kept."""
    with visit.database.read() as conn:
        return printed(reports.kept_report(conn, visit.project, report_id))


@pages.get("/projects/{project_id}/export.zip")
def export(visit: Reader) -> Response:
    """All judgements, soft labels, codebooks and the audit in open formats, under pseudonyms, without evidence: the folder
    that `clinlens labels export` writes, so that it can be imported elsewhere."""
    from labeling.exchange.export import ExportConfig
    from labeling.exchange.export import export as write

    packed = io.BytesIO()
    with TemporaryDirectory() as name, visit.database.read() as conn:
        software = f"clinlens {version_of_package('clinlens')}"
        write(conn, visit.project, Path(name), ExportConfig(), software, visit.database.version() or "")
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(name).iterdir()):
                archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    headers = {"Content-Disposition": 'attachment; filename="judgements.zip"'}
    return Response(packed.getvalue(), media_type="application/zip", headers=headers)


@api.get("/projects/{project_id}/agreement")
def agreement_by_program(visit: Reader, request: Request, codebook: Version = None) -> Response:
    """The same figures as JSON; 202 while they are being computed."""
    outcome = computed(visit, request.app.state.clinlens, codebook)
    if outcome.problem:
        raise Refusal(409, "no_figures", outcome.problem)
    return JSONResponse(outcome.value, 200) if outcome.is_ready else JSONResponse({"state": "computing"}, 202)
