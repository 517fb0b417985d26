"""A rater's work: the next item, its page, drafts, submitting, skipping, taking back."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from labeling.database import assignments, submissions
from labeling.database.errors import Conflict
from labeling.identifiers import new_id
from labeling.web import notes
from labeling.web.access import Allow, version_of
from labeling.web.form import answers_of, listed_terms, term_names
from labeling.web.pages import page
from labeling.web.panel import panel
from labeling.web.replies import KeptRoute, key_of
from labeling.web.task_view import SKIP_REASONS, Opened, TaskBody, opened
from labeling.web.visit import Visit
from sae.config import Settings
from sae.errors import UserError

pages = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api/v1", route_class=KeptRoute)
ROUTERS = (pages, api)
Mine = Annotated[Visit, Depends(Allow("rater", of="assignment"))]
Rater = Annotated[Visit, Depends(Allow("rater", of="round"))]
MAX_MS = 86_400_000


class Next(Settings, frozen=True):
    """What comes next."""

    assignment: str | None = Field(description="The id of the task; null where there is none.")
    reason: str = Field(description="Why there is none, or why this one.")


class DraftBody(Settings, frozen=True):
    """Answers so far."""

    answers: dict[str, Any] = Field(
        description="By key of the codebook's fields; incomplete, but each in its field's form."
    )


class Saved(Settings, frozen=True):
    """A draft is kept."""

    saved_at: str = Field(description="When, UTC.")


class Submission(Settings, frozen=True):
    """Answers, for good."""

    answers: dict[str, Any] = Field(description="By key of the codebook's fields.")
    active_ms: int = Field(default=0, ge=0, le=MAX_MS, description="With focus and interaction.")
    wall_ms: int = Field(default=0, ge=0, description="Since the page was opened.")


class Accepted(Settings, frozen=True):
    """A judgement is stored."""

    judgement_id: str = Field(description="Its id.")
    revision: int = Field(description="1 is the first.")
    is_late: bool = Field(description="It came after the lease had ended; it is kept all the same.")


class SkipBody(Settings, frozen=True):
    """Why an item is left to others."""

    reason: str = Field(description=f"One of {', '.join(code for code, _ in SKIP_REASONS)}.")
    comment: str = Field(default="", max_length=500, description="In words.")


class NoteBody(Settings, frozen=True):
    """A note to whoever adjudicates."""

    body: str = Field(min_length=1, max_length=2000, description="What it says.")


@pages.post("/rounds/{round_id}/next")
def go_to_next(visit: Rater, request: Request, round_id: str) -> Response:
    """The next item's page, or why there is none."""
    with visit.database.write(is_brief=True) as conn:
        found = assignments.next_assignment(conn, visit.actor, round_id)
    if isinstance(found, assignments.Empty):
        return page(request, "nothing_left.html", reason=found.reason, round_id=round_id)
    return RedirectResponse(f"/assignments/{found.id}", 303)


@pages.get("/assignments/{assignment_id}")
def task_page(visit: Mine, request: Request, assignment_id: str) -> Response:
    """The rating page, or that of a blind detection task."""
    with visit.database.read() as conn:
        found = opened(conn, visit.actor, assignment_id)
    return shown(request, found)


def shown(
    request: Request, found: Opened, answers: dict[str, Any] | None = None, problem: str | None = None
) -> Response:
    """The page of a task, with what was wrong with the last submission."""
    given = found.answers if answers is None else answers
    common = {"found": found, "task": found.task, "answers": given, "problem": problem, "client_uuid": new_id()}
    if found.task.kind == "detection":
        response = page(request, "detection.html", **common)
    else:
        names = term_names(found.codebook)
        rationale = next((one.key for one in found.codebook.questions if one.kind == "rationale"), None)
        chosen = {code for one in given.values() if isinstance(one, dict) for code in one.get("codes", [])}
        data = {
            "assignment": found.task.assignment_id, "version": found.task.version, "round": found.task.round_id,
            "codebook": found.task.codebook.id, "saved_at": found.task.draft_saved_at,
            "names": {code: names[code] for code in chosen if code in names},
        }  # fmt: skip
        response = page(
            request, "rating.html", **common, panel=panel(found.task.snapshot), codebook=found.codebook, names=names,
            terms=listed_terms(found.codebook), cite=rationale, skip_reasons=SKIP_REASONS, data=data,
        )  # fmt: skip
    response.status_code = 422 if problem else 200
    return response


@pages.post("/assignments/{assignment_id}/judgement")
def submit_by_form(visit: Mine, request: Request, assignment_id: str) -> Response:
    """Submits without scripts; what is missing is said above the form, which keeps what was typed."""
    form = request.state.form
    with visit.database.read() as conn:
        found = opened(conn, visit.actor, assignment_id)
    answers: dict[str, Any] = {}
    try:
        answers = (
            marks_of(found, form) if found.task.kind == "detection" else answers_of(found.codebook, form, found.peaks)
        )
        sent = submissions.Sent(str(form.get("client_uuid", "")), int(str(form.get("version") or 0)))
        store(visit, assignment_id, answers, sent)
    except Conflict:
        raise
    except (UserError, ValueError) as error:
        return shown(request, found, answers, str(error) if isinstance(error, UserError) else "The form is damaged.")
    return go_to_next(visit, request, found.task.round_id)


def marks_of(found: Opened, form: Any) -> dict[str, Any]:
    """The marks in a detection form."""
    ticked = {str(one) for one in form.getlist("fires")}
    return {"fires": [str(number) in ticked for number in range(len(found.passages))]}


def store(visit: Visit, assignment_id: str, answers: dict[str, Any], sent: submissions.Sent) -> submissions.Accepted:
    """Stores answers: as the first ones, or as a revision of those submitted."""
    with visit.database.write(is_brief=True) as conn:
        found = assignments.assignment_of(conn, assignment_id, visit.actor)
        is_closed = (
            found.state in ("submitted", "surplus") and found.lease_until is None and sent.version == found.version
        )
        act = submissions.revise if is_closed else submissions.submit
        return act(conn, visit.actor, assignment_id, answers, sent)


@pages.post("/assignments/{assignment_id}/skip")
def skip_by_form(visit: Mine, request: Request, assignment_id: str) -> Response:
    """Skips without scripts."""
    form = request.state.form
    version = str(form.get("version", ""))
    with visit.database.write(is_brief=True) as conn:
        assignments.skip(
            conn,
            visit.actor,
            assignment_id,
            str(form.get("reason", "")),
            version=int(version) if version.isdecimal() and len(version) < 10 else 0,
        )
        round_id = assignments.assignment_of(conn, assignment_id, visit.actor).round_id
    return go_to_next(visit, request, round_id)


@api.post("/rounds/{round_id}/assignments")
def next_by_program(visit: Rater, round_id: str) -> Next:
    """The task one has open, or the next one."""
    with visit.database.write(is_brief=True) as conn:
        found = assignments.next_assignment(conn, visit.actor, round_id)
    if isinstance(found, assignments.Empty):
        return Next(assignment=None, reason=found.reason)
    return Next(assignment=found.id, reason=assignments.NEUTRAL)


@api.get("/assignments/{assignment_id}")
def task_by_program(visit: Mine, assignment_id: str) -> TaskBody:
    """One's own task with its evidence."""
    with visit.database.read() as conn:
        return opened(conn, visit.actor, assignment_id).body


@api.put("/assignments/{assignment_id}/draft")
def save_draft(visit: Mine, request: Request, assignment_id: str, draft: DraftBody) -> Saved:
    """Keeps answers so far."""
    version = version_of(request)
    with visit.database.write(is_brief=True) as conn:
        assignments.refuse_version(assignments.assignment_of(conn, assignment_id, visit.actor), version)
        return Saved(saved_at=assignments.save_draft(conn, visit.actor, assignment_id, draft.answers))


@api.post("/assignments/{assignment_id}/judgement", status_code=201)
def submit(visit: Mine, request: Request, assignment_id: str, submission: Submission) -> Accepted:
    """Stores answers for good. The same key again gets the same answer, for ever."""
    sent = submissions.Sent(
        key_of(request) or "", version_of(request), submission.active_ms, min(submission.wall_ms, MAX_MS)
    )
    made = store(visit, assignment_id, submission.answers, sent)
    return Accepted(judgement_id=made.judgement_id, revision=made.revision, is_late=made.is_late)


@api.post("/assignments/{assignment_id}/skip")
def skip(visit: Mine, request: Request, assignment_id: str, wanted: SkipBody) -> Next:
    """Leaves an item to others; `possible_phi` takes its evidence away from everybody at once."""
    version = version_of(request)
    with visit.database.write(is_brief=True) as conn:
        assignments.skip(conn, visit.actor, assignment_id, wanted.reason, version=version, comment=wanted.comment)
    return Next(assignment=None, reason="The item is left to others.")


@api.post("/assignments/{assignment_id}/notes", status_code=201)
def add_note(visit: Mine, assignment_id: str, note: NoteBody) -> Saved:
    """Keeps a note with the item; other raters do not see it."""
    with visit.database.write(is_brief=True) as conn:
        found = assignments.assignment_of(conn, assignment_id, visit.actor)
        return Saved(saved_at=notes.add_note(conn, visit.actor, found.item_id, note.body))


@api.post("/rounds/{round_id}/undo")
def undo(visit: Rater, round_id: str) -> Next:
    """Opens one's last submission of a round again; the first version is kept."""
    with visit.database.write(is_brief=True) as conn:
        found = submissions.undo_last(conn, visit.actor, round_id)
    return Next(assignment=found.id, reason="Your last submission is open again.")
