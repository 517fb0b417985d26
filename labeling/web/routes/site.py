"""What belongs to no person: style sheet and modules, the report, the API's description, the first set-up."""

import json
import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from labeling.database import accounts
from labeling.database.transaction import PROGRAM
from labeling.web import assets
from labeling.web.access import Allow, still_rates
from labeling.web.errors import Refusal
from labeling.web.pages import page
from labeling.web.policies import own_policy
from labeling.web.routes.account import sign_in_as
from labeling.web.state import State
from labeling.web.visit import Visit

pages = APIRouter(include_in_schema=False)
ROUTERS = (pages,)
Anybody = Annotated[Visit | None, Depends(Allow("public"))]
FEATURES = re.compile(r'(<script type="application/json" id="features-data">)(.*?)(?=</script>)', re.DOTALL)
"""What the run's report lists of features, physicians' labels among it."""


@pages.get("/static/{version}/{name}")
def asset(_: Anybody, version: str, name: str) -> Response:
    """A file of the pages."""
    found = assets.serve(version, name)
    if found is None:
        raise Refusal(404, "not_found", "There is no such file.")
    return found


@pages.get("/favicon.ico")
def icon(_: Anybody) -> Response:
    """What browsers ask for unasked."""
    return RedirectResponse(assets.address("mark.svg"), 308)


@pages.get("/report")
def report(visit: Annotated[Visit, Depends(Allow("anyone"))], request: Request) -> Response:
    """The run's report, for whoever is signed in; without labels for whoever is still to give their own."""
    return shown_report(request.app.state.clinlens, is_blind=still_rates(visit))


def shown_report(state: State, *, is_blind: bool = False) -> Response:
    """The report as it is on disk, under the policy it carries itself: it holds its own script and style.

    Args:
        state: The server's.
        is_blind: Whether physicians' labels are left out: the report may be older than the round that asks about them.

    Raises:
        Refusal: There is none.
    """
    if state.report is None:
        raise Refusal(404, "not_found", "There is no report here. `clinlens report` writes one.")
    data = state.report.read_text(encoding="utf-8")
    if is_blind:
        data = FEATURES.sub(lambda found: found[1] + without_labels(found[2]), data)
    return HTMLResponse(data, headers={"Content-Security-Policy": own_policy(data)})


def without_labels(data: str) -> str:
    """The report's features without what physicians said of them."""
    found = json.loads(data)
    for sae in found["saes"]:
        sae.pop("labels", None)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


@pages.get("/api/openapi.json")
def description(_: Anybody, request: Request) -> dict[str, Any]:
    """The API's description. There is no page that tries it out: the usual ones load scripts from elsewhere."""
    return request.app.openapi()


@pages.get("/api/v1/health")
def health(_: Anybody, request: Request) -> Response:
    """Whether the database answers; says nothing else."""
    state: State = request.app.state.clinlens
    if state.database is not None:
        with state.database.read():
            pass
    return JSONResponse({"status": "up"})


@pages.get("/setup/{token}")
def setup_page(_: Anybody, request: Request, token: str) -> Response:
    """The form for the first administrator."""
    refuse_wrong_token(request.app.state.clinlens, token)
    return page(request, "setup.html", token=token, problem=None, given={})


@pages.post("/setup/{token}")
def set_up(_: Anybody, request: Request, token: str) -> Response:
    """Makes the database and its first administrator, once, and signs them in."""
    state: State = request.app.state.clinlens
    refuse_wrong_token(state, token)
    given = {name: str(request.state.form.get(name, "")).strip() for name in ("institution", "login", "display_name")}
    try:
        user = first_administrator(state, given, str(request.state.form.get("password", "")))
    except accounts.UserError as error:
        shown = page(request, "setup.html", token=token, problem=str(error), given=given)
        shown.status_code = 422
        return shown
    state.setup_sha256 = ""
    return sign_in_as(request, user, "/projects/new")


def refuse_wrong_token(state: State, token: str) -> None:
    """Refuses a link that was used or guessed.

    Raises:
        Refusal: It is.
    """
    if not state.is_setup(token):
        raise Refusal(404, "not_found", "This link was used or is too old. Start the server again for a new one.")


def first_administrator(state: State, given: dict[str, str], password: str) -> accounts.User:
    """The first person, with a password."""
    from labeling.database import passwords

    passwords.refuse_weak(password, given["login"], given["display_name"], given["institution"])
    database = state.opened()
    with database.write() as conn:
        house = accounts.add_institution(conn, PROGRAM, given["institution"])
        user = accounts.add_user(
            conn, PROGRAM, login=given["login"], display_name=given["display_name"], institution_id=house.id, is_administrator=True
        )  # fmt: skip
        token = accounts.invite(conn, PROGRAM, user.id)
    return accounts.accept_invitation(database, token, password)
