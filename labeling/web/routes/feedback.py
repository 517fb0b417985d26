"""What one judged in a round, and after its end what the panel said; after a calibration, what was known."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from labeling.database import calibration, projects, rounds
from labeling.web.access import Allow
from labeling.web.feedback import given
from labeling.web.form import shown, term_names
from labeling.web.pages import page
from labeling.web.visit import Visit

pages = APIRouter(include_in_schema=False)
ROUTERS = (pages,)
Rater = Annotated[Visit, Depends(Allow("rater", of="round"))]


@pages.get("/rounds/{round_id}/mine")
def mine_page(visit: Rater, request: Request, round_id: str) -> Response:
    """One's own judgements of a round, with feedback once nobody can be swayed by it."""
    with visit.database.read() as conn:
        found = rounds.round_of(conn, round_id)
        codebook = projects.codebook_of(conn, found.codebook_version_id).codebook
        judged = given(conn, found, codebook, visit.user.id)
        is_over = found.kind == "calibration" and calibration.is_over(conn, round_id)
        known = {one.item_id: one for one in calibration.feedback(conn, visit.actor, round_id)} if is_over else {}
    question, names = codebook.question(codebook.primary), term_names(codebook)
    category_names = {one.code: one.name for one in question.categories} | {"cannot_judge": "Cannot judge"}
    concept = next((one for one in codebook.questions if one.kind == "concepts"), None)
    rows = [
        {
            "given": one,
            "primary": shown(question, one.answers.get(question.key), names),
            "concept": shown(concept, one.answers.get(concept.key), names) if concept else "",
            "known": known.get(one.item_id),
        }
        for one in judged
    ]
    return page(request, "mine.html", round=found, rows=rows, question=question, names=category_names, is_over=is_over)
