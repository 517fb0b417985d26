"""Signing: with the password once more, a meaning and the printed name; and what was signed.

A rater sees their own signatures alone. To whoever is no lead, signatures of judgements bear pseudonyms: a printed name
beside a judgement's id would tell who said what.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from labeling.database import accounts, projects, signatures
from labeling.web.access import Allow
from labeling.web.pages import page
from labeling.web.replies import KeptRoute
from labeling.web.visit import AT_THE_DESK, Visit
from sae.config import Settings
from sae.errors import UserError

pages = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api/v1", route_class=KeptRoute)
ROUTERS = (pages, api)
Member = Annotated[Visit, Depends(Allow("lead", "rater", "senior", "analyst", of="project"))]
MEANINGS = (
    ("reviewed", "I have reviewed it"),
    ("approved", "I approve it"),
    ("adjudicated", "I have adjudicated it"),
    ("rated", "I have rated it"),
)


class SignatureBody(Settings, frozen=True):
    """A signature."""

    id: str = Field(description="Its id.")
    printed_name: str = Field(description="Whose; a pseudonym where a name would tell who judged what.")
    meaning: str = Field(description="rated, reviewed, adjudicated or approved.")
    object: str = Field(description="What was signed: kind and id.")
    record_sha256: str = Field(description="Hash of the record as it was signed.")
    auth_method: str = Field(description="How the signer showed who they are.")
    signed_at: str = Field(description="When, UTC.")
    is_valid: bool = Field(description="It stands, and the record is as it was signed.")


def listed(visit: Visit) -> list[SignatureBody]:
    """The signatures of the project that this person may see, newest first."""
    with visit.database.read() as conn:
        found = signatures.signatures_of(conn, visit.project)
        if AT_THE_DESK.isdisjoint(visit.roles):
            found = [one for one in found if one.user_id == visit.user.id]
        key = projects.pseudonym_key(conn, visit.project)

        def name_of(one: signatures.Signature) -> str:
            is_told = "lead" in visit.roles or one.user_id == visit.user.id or not one.object.startswith("judgement:")
            return one.printed_name if is_told else projects.pseudonym(key, one.user_id)

        return [
            SignatureBody(
                id=one.id, printed_name=name_of(one), meaning=one.meaning, object=one.object, record_sha256=one.record_sha256,
                auth_method=one.auth_method, signed_at=one.signed_at, is_valid=signatures.is_valid(conn, visit.project, one),
            )
            for one in reversed(found)
        ]  # fmt: skip


def shown(visit: Visit, request: Request, problem: str | None = None) -> Response:
    """The list and the form."""
    given = request.query_params.get("object", "") if not problem else str(request.state.form.get("object", ""))
    response = page(
        request, "signatures.html", signatures=listed(visit), meanings=MEANINGS, object=given, problem=problem
    )
    response.status_code = 422 if problem else 200
    return response


@pages.get("/projects/{project_id}/signatures")
def signatures_page(visit: Member, request: Request) -> Response:
    """What was signed, and a form to sign."""
    return shown(visit, request)


@pages.post("/projects/{project_id}/signatures")
def sign(visit: Member, request: Request) -> Response:
    """Signs, once the password, and the code where there is one, are right."""
    form = request.state.form
    try:
        proof = accounts.reauthenticate(
            visit.database, visit.user.id, str(form.get("password", "")), str(form.get("code", "")) or None
        )
        with visit.database.write() as conn:
            signatures.sign(
                conn,
                visit.actor,
                visit.project,
                str(form.get("object", "")).strip(),
                str(form.get("meaning", "")),
                proof,
            )
    except UserError as error:
        return shown(visit, request, str(error))
    return RedirectResponse(f"/projects/{visit.project}/signatures?said=signed", 303)


@api.get("/projects/{project_id}/signatures")
def list_signatures(visit: Member) -> list[SignatureBody]:
    """What was signed, and whether it still stands."""
    return listed(visit)
