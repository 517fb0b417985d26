"""Rounds: opening one from the run, watching it, pausing and closing it. For the lead."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field, ValidationError
from sqlalchemy import Connection
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from labeling.database import accounts, calibration, detection, projects, rerating, roles, rounds
from labeling.round_settings import RoundSettings
from labeling.snapshots import saes_of
from labeling.web import alarms
from labeling.web.access import Allow, refuse_who_still_rates
from labeling.web.errors import Refusal
from labeling.web.pages import page
from labeling.web.planning import NewRound, known_of, plan
from labeling.web.replies import KeptRoute
from labeling.web.routes.agreement import computed
from labeling.web.state import State
from labeling.web.visit import Visit
from sae.config import Settings
from sae.errors import UserError

pages = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api/v1", route_class=KeptRoute)
ROUTERS = (pages, api)
Lead = Annotated[Visit, Depends(Allow("lead", of="project"))]
RoundLead = Annotated[Visit, Depends(Allow("lead", of="round"))]
ACTIONS = {"pause": rounds.pause_round, "resume": rounds.resume_round, "close": rounds.close_round}


class RoundState(Settings, frozen=True):
    """A round, as it stands."""

    id: str = Field(description="Its id.")
    n: int = Field(description="Its number in the project.")
    title: str = Field(description="What raters read.")
    kind: str = Field(description="calibration, main, blind_extra or detection.")
    state: str = Field(description="draft, open, paused or closed.")
    n_items: int = Field(description="Features in it.")
    n_judged: int = Field(description="Judgements that fill a slot.")
    n_slots: int = Field(description="Judgements it asks for so far.")
    n_due: int = Field(description="Items that wait for a senior.")


class Joining(Settings, frozen=True):
    """Who shall rate in a round as well."""

    rater_ids: list[str] = Field(min_length=1, max_length=500, description="Ids of raters of the project.")


class Change(Settings, frozen=True):
    """What shall become of a round."""

    action: str = Field(pattern="^(pause|resume|close)$", description="pause, resume or close.")
    state: str = Field(description="The state it was seen in: another one is a conflict.")


def state_of(overview: rounds.Overview) -> RoundState:
    """For programs."""
    found = overview.round
    return RoundState(
        id=found.id, n=found.n, title=found.title, kind=found.kind, state=found.state, n_items=overview.n_items,
        n_judged=overview.n_judged, n_slots=overview.n_slots, n_due=overview.n_due,
    )  # fmt: skip


MOST_DIGITS = 9
"""Of a feature's number."""


@pages.get("/projects/{project_id}/rounds")
def rounds_page(visit: Lead, request: Request) -> Response:
    """All rounds and how far they are."""
    with visit.database.read() as conn:
        found = [rounds.round_overview(conn, one.id) for one in reversed(rounds.rounds(conn, visit.project))]
        project = projects.project_of(conn, visit.project)
        people = {one.id: one for one in accounts.users(conn)}
    tasks = alarms.of_rounds(found, people) + drifting(visit, request)
    return page(request, "rounds.html", overviews=found, project=project, tasks=tasks)


def drifting(visit: Visit, request: Request) -> list[alarms.Task]:
    """Alarms of drift, once they are computed; none for a lead who still rates."""
    try:
        refuse_who_still_rates(visit)
    except Refusal:
        return []
    outcome = computed(visit, request.app.state.clinlens, None)
    with visit.database.read() as conn:
        return alarms.of_drift(conn, visit.project, outcome.value)


@pages.get("/projects/{project_id}/rounds/new")
def new_round_page(visit: Lead, request: Request) -> Response:
    """The form of a new round."""
    return form_page(visit, request)


def form_page(visit: Visit, request: Request, problem: str | None = None) -> Response:
    """The form, with what was given and what was wrong with it."""
    state: State = request.app.state.clinlens
    with visit.database.read() as conn:
        members = roles.members(conn, visit.project)
        people = [one for one in accounts.users(conn) if "rater" in members.get(one.id, ())]
        houses = {house.id: house.name for house in accounts.institutions(conn)}
        books = projects.codebooks(conn, visit.project)
        gates = [one for one in rounds.rounds(conn, visit.project) if one.kind == "calibration"]
    saes = saes_of(state.run) if state.run else []
    given = request.state.form if problem else FormData()
    shown = page(
        request, "new_round.html", saes=saes, people=people, houses=houses, books=books, gates=gates, problem=problem,
        given=given, settings=RoundSettings(), chosen=list(given.getlist("rater")) if problem else [one.id for one in people],
    )  # fmt: skip
    shown.status_code = 422 if problem else 200
    return shown


@pages.post("/projects/{project_id}/rounds")
def open_by_form(visit: Lead, request: Request) -> Response:
    """Opens a round and goes to it."""
    try:
        made = open_round(visit, request.app.state.clinlens, wanted_of(request.state.form))
    except UserError as error:
        return form_page(visit, request, str(error))
    return RedirectResponse(f"/rounds/{made.id}?said=opened", 303)


def wanted_of(form: Any) -> NewRound:
    """The round that a form asks for.

    Raises:
        UserError: A field is missing or no number.
    """
    hook_point, _, sae_id = str(form.get("sae", "")).partition("|")
    queue = {name: form.get(name) for name in ("min_judgements", "max_judgements", "stop_posterior") if form.get(name)}
    try:
        return NewRound.model_validate(
            {
                "title": str(form.get("title", "")).strip(),
                "kind": form.get("kind"),
                "hook_point": hook_point,
                "sae_id": sae_id,
                "features": numbers(str(form.get("features", ""))),
                **{name: form.get(name) or 0 for name in ("n_random", "n_fixed", "seed")},
                "overlap": form.get("overlap") or 3,
                "known": known_of(str(form.get("known", ""))),
                "rater_ids": [str(one) for one in form.getlist("rater")],
                "codebook_id": str(form.get("codebook", "")),
                "gate_round_id": str(form.get("gate", "")) or None,
                "settings": {"queue": queue, "retest_share": form.get("retest_share") or 0},
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}. Correct it.") from error


def numbers(written: str) -> list[int]:
    """Feature numbers, between commas or blanks.

    Raises:
        UserError: One is no number.
    """
    parts = written.replace(",", " ").split()
    if not all(part.isdecimal() and len(part) <= MOST_DIGITS for part in parts):
        raise UserError("The features are not all whole numbers, expected such as 12, 40, 7. Correct them.")
    return [int(part) for part in parts]


def open_round(visit: Visit, state: State, wanted: NewRound) -> rounds.Round:
    """Opens a round. Its evidence is gathered before the transaction, so that no rater waits for it.

    Raises:
        UserError: There is no run here, or the round cannot be.
    """
    if state.run is None:
        raise UserError(
            "The server shows no run, expected one to take features from. Start it with `clinlens serve RUN`."
        )
    refuse_strangers(visit, wanted)
    items = plan(state.run, wanted)
    with visit.database.write() as conn:
        return rounds.open_round(
            conn, visit.actor, visit.project, kind=wanted.kind, title=wanted.title,
            codebook_version_id=wanted.codebook_id, items=items, rater_ids=wanted.rater_ids, settings=wanted.settings,
            seed=wanted.seed, gate_round_id=wanted.gate_round_id,
        )  # fmt: skip


def refuse_strangers(visit: Visit, wanted: NewRound) -> None:
    """Refuses raters, codebooks and gates of another project.

    Raises:
        UserError: One is.
    """
    with visit.database.read() as conn:
        members = roles.members(conn, visit.project)
        books = {one.id for one in projects.codebooks(conn, visit.project)}
        known = {one.id for one in rounds.rounds(conn, visit.project)}
    if any("rater" not in members.get(one, ()) for one in wanted.rater_ids):
        raise UserError("Somebody chosen is no rater of this project, expected raters. Give them the role first.")
    if wanted.codebook_id not in books or (wanted.gate_round_id and wanted.gate_round_id not in known):
        raise UserError("The codebook or the calibration is of another project, expected this one's. Choose again.")


@pages.get("/rounds/{round_id}")
def round_page(visit: RoundLead, request: Request, round_id: str) -> Response:
    """How far a round is, by rater and by part."""
    with visit.database.read() as conn:
        overview = rounds.round_overview(conn, round_id)
        people = {one.id: one for one in accounts.users(conn)}
        houses = {house.id: house.name for house in accounts.institutions(conn)}
        inside = {gate.user_id for gate in overview.raters}
        others = [one for one in raters_of(conn, visit.project) if one not in inside]
        latest = projects.latest_codebook(conn, visit.project)
    return page(request, "round.html", overview=overview, people=people, houses=houses, others=others, latest=latest)


def raters_of(conn: Connection, project_id: str) -> list[str]:
    """Ids of the raters of a project who can sign in."""
    active = {one.id for one in accounts.users(conn) if one.status in ("active", "invited")}
    return [one for one, what in roles.members(conn, project_id).items() if "rater" in what and one in active]


@pages.post("/rounds/{round_id}/raters")
def add_raters_by_form(visit: RoundLead, request: Request, round_id: str) -> Response:
    """Lets more people rate in a round."""
    add_raters(visit, round_id, [str(one) for one in request.state.form.getlist("rater")])
    return RedirectResponse(f"/rounds/{round_id}?said=saved", 303)


def add_raters(visit: Visit, round_id: str, rater_ids: list[str]) -> None:
    """Lets more people rate in a round.

    Raises:
        UserError: Nobody is named, or somebody who is no rater of the project.
    """
    with visit.database.write() as conn:
        if not rater_ids or not set(rater_ids) <= set(raters_of(conn, visit.project)):
            raise UserError(
                "Nobody, or no rater of this project, is chosen; expected raters. Give them the role first."
            )
        rounds.add_raters(conn, visit.actor, round_id, rater_ids)


@pages.post("/rounds/{round_id}/anew")
def rate_anew_by_form(visit: RoundLead, round_id: str) -> Response:
    """Opens a round about what the newest codebook made stale, and goes to it."""
    return RedirectResponse(f"/rounds/{rate_anew(visit, round_id).id}?said=opened", 303)


def rate_anew(visit: Visit, round_id: str) -> rounds.Round:
    """Opens a round about what the newest codebook made stale."""
    with visit.database.write() as conn:
        latest = projects.latest_codebook(conn, visit.project)
        if latest is None:
            raise UserError("There is no codebook, expected one to ask by. Publish one.")
        return rerating.rerate(conn, visit.actor, round_id, latest.id)


@pages.post("/projects/{project_id}/detection")
def open_detection(visit: Lead) -> Response:
    """Opens a round of blind detection tasks from the labelled features, for all raters."""
    with visit.database.write() as conn:
        raters = [user_id for user_id, what in roles.members(conn, visit.project).items() if "rater" in what]
        latest = projects.latest_codebook(conn, visit.project)
        if latest is None or not raters:
            raise UserError(
                "There is no codebook or no rater yet, expected both. Publish one, and give somebody the role."
            )
        made = detection.open_detection(
            conn, visit.actor, visit.project, codebook_version_id=latest.id, rater_ids=raters
        )
    return RedirectResponse(f"/rounds/{made.id}?said=opened", 303)


@pages.post("/rounds/{round_id}/state")
def change_by_form(visit: RoundLead, request: Request, round_id: str) -> Response:
    """Pauses, resumes or closes."""
    act = ACTIONS.get(str(request.state.form.get("action", "")))
    if act is None:
        raise Refusal(422, "invalid", "Pause, resume or close: something else was asked.")
    with visit.database.write() as conn:
        act(conn, visit.actor, round_id)
    return RedirectResponse(f"/rounds/{round_id}?said=saved", 303)


@pages.post("/rounds/{round_id}/raters/{user_id}/gate")
def set_gate(visit: RoundLead, request: Request, round_id: str, user_id: str) -> Response:
    """Decides on a rater's gate by hand, with a reason that the audit keeps."""
    form = request.state.form
    gate, reason = str(form.get("gate", "")), str(form.get("reason", ""))[:400]
    with visit.database.write() as conn:
        calibration.set_gate(conn, visit.actor, round_id, user_id, gate, reason)
    return RedirectResponse(f"/rounds/{round_id}?said=saved", 303)


@api.get("/projects/{project_id}/rounds")
def list_rounds(visit: Lead) -> list[RoundState]:
    """All rounds and how far they are."""
    with visit.database.read() as conn:
        return [state_of(rounds.round_overview(conn, one.id)) for one in rounds.rounds(conn, visit.project)]


@api.post("/projects/{project_id}/rounds", status_code=201)
def open_by_program(visit: Lead, request: Request, wanted: NewRound) -> RoundState:
    """Opens a round from the run."""
    made = open_round(visit, request.app.state.clinlens, wanted)
    with visit.database.read() as conn:
        return state_of(rounds.round_overview(conn, made.id))


@api.post("/rounds/{round_id}/raters")
def add_raters_by_program(visit: RoundLead, round_id: str, wanted: Joining) -> RoundState:
    """Lets more people rate in a round."""
    add_raters(visit, round_id, wanted.rater_ids)
    with visit.database.read() as conn:
        return state_of(rounds.round_overview(conn, round_id))


@api.post("/rounds/{round_id}/anew", status_code=201)
def rate_anew_by_program(visit: RoundLead, round_id: str) -> RoundState:
    """Opens a round about the items that the newest codebook made stale: the same features, evidence and raters."""
    made = rate_anew(visit, round_id)
    with visit.database.read() as conn:
        return state_of(rounds.round_overview(conn, made.id))


@api.post("/rounds/{round_id}/state")
def change_by_program(visit: RoundLead, round_id: str, change: Change) -> RoundState:
    """Pauses, resumes or closes a round, if it is still in the state it was seen in."""
    with visit.database.write() as conn:
        now = rounds.round_of(conn, round_id).state
        if now != change.state:
            raise Refusal(409, "conflict", "The round changed in between.", current={"state": now})
        ACTIONS[change.action](conn, visit.actor, round_id)
        return state_of(rounds.round_overview(conn, round_id))
