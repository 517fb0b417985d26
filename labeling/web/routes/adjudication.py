"""A senior's work: what is due, one case with what was said and why but never by whom, the decision."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import RedirectResponse, Response

from labeling.codebook import Question
from labeling.database import adjudication, audit, rounds
from labeling.database.errors import Conflict
from labeling.identifiers import new_id
from labeling.web.access import Allow, version_of
from labeling.web.errors import Refusal
from labeling.web.form import answers_of, listed_terms, shown, term_names
from labeling.web.notes import Note, notes_of
from labeling.web.pages import page
from labeling.web.panel import evidence, panel
from labeling.web.replies import KeptRoute, key_of
from labeling.web.visit import Visit
from sae.config import Settings
from sae.errors import UserError

pages = APIRouter(include_in_schema=False)
api = APIRouter(prefix="/api/v1", route_class=KeptRoute)
ROUTERS = (pages, api)
Senior = Annotated[Visit, Depends(Allow("senior", of="project"))]
ItemSenior = Annotated[Visit, Depends(Allow("senior", of="item"))]
Locker = Annotated[Visit, Depends(Allow("lead", "senior", of="item"))]
DISPOSITIONS = (
    ("decided", "Decided: I say what it is"),
    ("irreducibly_ambiguous", "Irreducibly ambiguous: the evidence allows more than one reading"),
    ("cannot_judge", "Cannot judge: the evidence does not suffice"),
)
ERROR_KINDS = (
    ("ambiguous_text", "The text is ambiguous"),
    ("guideline_gap", "The rubric leaves it open"),
    ("rater_error", "A rater’s slip"),
    ("edge_case", "An edge case"),
    ("subjective_disagreement", "A matter of school or taste"),
    ("other", "Something else"),
)


class DueBody(Settings, frozen=True):
    """An item that waits for a senior."""

    item_id: str = Field(description="Its id.")
    n_judgements: int = Field(description="How many there are.")
    entropy: float = Field(description="Of the answers, in nats.")


class CaseBody(Settings, frozen=True):
    """What a senior sees."""

    item_id: str = Field(description="Its id.")
    evidence: dict[str, Any] = Field(description="What raters saw.")
    distribution: dict[str, int] = Field(description="Answers to the primary field.")
    answers: list[dict[str, Any]] = Field(description="Everybody's, in an order that names nobody.")
    notes: list[str] = Field(description="What raters wrote to whoever adjudicates.")
    revision: int = Field(description="Of the last decision, for If-Match; 0 for none.")


class DecisionBody(Settings, frozen=True):
    """What a senior decides."""

    disposition: str = Field(description=f"One of {', '.join(code for code, _ in DISPOSITIONS)}.")
    answers: dict[str, Any] = Field(default={}, description="To the codebook's fields; empty unless decided.")
    error_kind: str = Field(default="other", description=f"One of {', '.join(code for code, _ in ERROR_KINDS)}.")
    rationale: str = Field(max_length=4000, description="For those who disagreed; at least 20 characters.")


class DecidedBody(Settings, frozen=True):
    """A decision is stored."""

    adjudication_id: str = Field(description="Its id.")
    revision: int = Field(description="1 is the first.")


class LockBody(Settings, frozen=True):
    """Whether an item can be changed."""

    is_locked: bool = Field(description="True closes it to revisions; false opens it, and its signatures become void.")
    reason: str = Field(default="", max_length=400, description="Why it is opened; needed for that.")


class LockedBody(Settings, frozen=True):
    """How an item stands."""

    item_id: str = Field(description="Its id.")
    is_locked: bool = Field(description="Whether it is closed to revisions and decisions.")


@dataclass(frozen=True)
class Said:
    """What one rater said, to be read."""

    primary: str
    fields: list[tuple[str, str]]
    rationale: str


@pages.get("/projects/{project_id}/adjudication")
def due_page(visit: Senior, request: Request) -> Response:
    """What waits for this senior."""
    with visit.database.read() as conn:
        found = adjudication.due(conn, visit.actor, visit.project)
        settled = adjudication.settled(conn, visit.actor, visit.project)
        titles = {one.id: one.title for one in rounds.rounds(conn, visit.project)}
    return page(request, "due.html", due=found, settled=settled, titles=titles, dispositions=dict(DISPOSITIONS))


@pages.get("/items/{item_id}/adjudication")
def case_page(visit: ItemSenior, request: Request, item_id: str) -> Response:
    """One case."""
    return shown_case(visit, request, item_id)


def looked_at(visit: Visit, item_id: str) -> tuple[adjudication.Case, list[Note]]:
    """A case with its notes; that it was looked at is remembered."""
    with visit.database.write() as conn:
        case = adjudication.case_of(conn, visit.actor, item_id)
        audit.append(
            conn, visit.project, visit.actor, "case_shown", f"item:{item_id}", detail={"snapshot": case.snapshot_sha256}
        )
        return case, notes_of(conn, item_id)


def shown_case(
    visit: Visit, request: Request, item_id: str, given: dict[str, Any] | None = None, problem: str | None = None
) -> Response:
    """The page of a case, with what was wrong with the last decision."""
    case, notes = looked_at(visit, item_id)
    codebook = case.codebook.codebook
    primary, names = codebook.question(codebook.primary), term_names(codebook)
    asked = [one for one in codebook.questions if one.key == codebook.primary or one.kind == "concepts"]
    response = page(
        request, "case.html", case=case, panel=panel(case.snapshot), codebook=codebook, primary=primary, asked=asked,
        terms=listed_terms(codebook), names=names, notes=notes, problem=problem, given=given or {}, client_uuid=new_id(),
        said=[said_of(one, list(codebook.questions), primary, names) for one in case.answers],
        category_names={one.code: one.name for one in primary.categories} | {"cannot_judge": "Cannot judge"},
        dispositions=DISPOSITIONS, error_kinds=ERROR_KINDS, data={"codebook": case.codebook.id},
    )  # fmt: skip
    response.status_code = 422 if problem else 200
    return response


def said_of(answers: dict[str, Any], questions: list[Question], primary: Question, names: dict[str, str]) -> Said:
    """One rater's answers as they are read."""
    rationale = next((one for one in questions if one.kind == "rationale"), None)
    others = [one for one in questions if one not in (primary, rationale) and one.key in answers]
    return Said(
        shown(primary, answers.get(primary.key), names),
        [(one.name, shown(one, answers[one.key], names)) for one in others],
        shown(rationale, answers.get(rationale.key), names) if rationale else "",
    )


@pages.post("/items/{item_id}/adjudication")
def decide_by_form(visit: ItemSenior, request: Request, item_id: str) -> Response:
    """Stores a decision and goes back to the list."""
    form = request.state.form
    with visit.database.read() as conn:
        codebook = adjudication.case_of(conn, visit.actor, item_id).codebook.codebook
    answers: dict[str, Any] = {}
    try:
        answers = answers_of(codebook, form, {})
        wanted = DecisionBody(
            disposition=str(form.get("disposition", "")), answers=answers, error_kind=str(form.get("error_kind", "")),
            rationale=str(form.get("why", ""))[:4000],
        )  # fmt: skip
        store(visit, item_id, wanted, str(form.get("client_uuid", "")), int(str(form.get("revision") or 0)))
    except Conflict:
        raise
    except (UserError, ValueError) as error:
        given = {"answers": answers, "why": str(form.get("why", "")), "disposition": str(form.get("disposition", ""))}
        return shown_case(visit, request, item_id, given, str(error))
    return RedirectResponse(f"/projects/{visit.project}/adjudication?said=saved", 303)


def store(visit: Visit, item_id: str, wanted: DecisionBody, key: str, revision: int) -> adjudication.Decided:
    """Stores a decision; answers count only where it is decided."""
    answers = wanted.answers if wanted.disposition == "decided" else {}
    decision = adjudication.Decision(wanted.disposition, answers, wanted.error_kind, wanted.rationale, key, revision)
    with visit.database.write() as conn:
        return adjudication.decide(conn, visit.actor, item_id, decision)


@pages.post("/items/{item_id}/lock")
def lock_by_form(visit: ItemSenior, request: Request, item_id: str) -> Response:
    """Locks or unlocks an item and goes back to the list."""
    form = request.state.form
    if form.get("action") not in ("lock", "unlock"):
        raise Refusal(422, "invalid", "Lock or unlock: something else was asked.")
    change_lock(visit, item_id, form.get("action") == "lock", str(form.get("reason", ""))[:400])
    return RedirectResponse(f"/projects/{visit.project}/adjudication?said=saved", 303)


def change_lock(visit: Visit, item_id: str, is_locked: bool, reason: str) -> None:
    """Locks or unlocks."""
    with visit.database.write() as conn:
        if is_locked:
            adjudication.lock_item(conn, visit.actor, item_id)
        else:
            adjudication.unlock_item(conn, visit.actor, item_id, reason)


@api.post("/items/{item_id}/lock")
def lock(visit: Locker, item_id: str, wanted: LockBody) -> LockedBody:
    """Closes a decided or agreed item to changes, or opens a closed one."""
    change_lock(visit, item_id, wanted.is_locked, wanted.reason)
    return LockedBody(item_id=item_id, is_locked=wanted.is_locked)


@api.get("/projects/{project_id}/adjudication")
def list_due(visit: Senior) -> list[DueBody]:
    """What waits for this senior, most ambiguous first."""
    with visit.database.read() as conn:
        found = adjudication.due(conn, visit.actor, visit.project)
    return [DueBody(item_id=one.item_id, n_judgements=one.n_judgements, entropy=one.entropy) for one in found]


@api.get("/items/{item_id}/adjudication")
def case_by_program(visit: ItemSenior, item_id: str) -> CaseBody:
    """One case: answers and rationales without names."""
    case, notes = looked_at(visit, item_id)
    return CaseBody(
        item_id=case.item_id, evidence=evidence(case.snapshot), distribution=case.distribution, answers=case.answers,
        notes=[one.body for one in notes], revision=case.revision,
    )  # fmt: skip


@api.post("/items/{item_id}/adjudication", status_code=201)
def decide(visit: ItemSenior, request: Request, item_id: str, wanted: DecisionBody) -> DecidedBody:
    """Stores a decision, made beside the revision in `If-Match`."""
    made = store(visit, item_id, wanted, key_of(request) or "", version_of(request))
    return DecidedBody(adjudication_id=made.adjudication_id, revision=made.revision)
