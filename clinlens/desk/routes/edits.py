"""Counterfactuals: the same question with a token changed, and which change did most.

Source: 5.1 of paper 003 (counterfactual analysis, sensitivity analysis).
"""

import json
import sqlite3
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from analysis.views.alignment import aligned
from analysis.views.sensitivity import Effect, ranked
from analysis.views.stability import stability
from clinlens.attribution.cases import SpanRow
from clinlens.desk.jobs.request import JobInput, Turn, is_unicode
from clinlens.desk.routes.part import Part, part_at, parts_of, same_as
from clinlens.desk.routes.visitor import Analyst, TheJob, TheOffice
from labeling.web.errors import Refusal

api = APIRouter(prefix="/api/jobs/{job_id}", tags=["desk"])
ROUTERS = (api,)
EXACT = ("occlusion", "resampling")
"""Methods whose scores are themselves the change of the answer when a token is replaced."""
KINDS = ("target", "continuation", "generate", "class_name", "features")


class Edit(BaseModel):
    """One token and what shall stand there; nothing takes it away."""

    model_config = ConfigDict(extra="forbid")
    token: int = Field(ge=0)
    replacement: str = Field(max_length=2000)


class Edits(BaseModel):
    """Changes, each of them a job of its own."""

    model_config = ConfigDict(extra="forbid")
    edits: list[Edit] = Field(min_length=1, max_length=100)
    index: int = Field(default=0, ge=0)
    """The result whose tokens are counted."""
    keep_answer: bool = False
    """Explain the original's answer under the new text, so that scores can be compared, not a new answer."""


@api.post("/counterfactuals", status_code=202)
def counterfactuals(_: Analyst, office: TheOffice, row: TheJob, asked: Edits) -> Response:
    """A job for each edit; the same edit twice is the same job."""
    part = part_at(office, row["id"], asked.index)
    made = []
    for edit in asked.edits:
        given, told = edited(part, row, edit, keep_answer=asked.keep_answer)
        job = office.edited(row, given, told)
        made.append({"job_id": job["id"], "status": job["status"], "created_at": job["created_at"], "edit": told})
    return JSONResponse({"jobs": made}, 202)


def edited(part: Part, row: sqlite3.Row, edit: Edit, *, keep_answer: bool) -> tuple[JobInput, dict[str, Any]]:
    """The input with one token changed; a blank before the token stays.

    Raises:
        Refusal: There is no such token, it stands for no text, or the replacement is no text.
    """
    given = part.body["input"]
    start, end = given["offsets"][edit.token] if edit.token < len(given["offsets"]) else (-1, -1)
    if start < 0 or given["is_special"][edit.token] or not is_unicode(edit.replacement):
        raise Refusal(
            422, "invalid", "The token is none that can be changed, expected one that stands for text. Choose another."
        )
    was = given["text"][start:end]
    blank = was[: len(was) - len(was.lstrip())]
    new = edit.replacement if not edit.replacement or edit.replacement[0].isspace() else blank + edit.replacement
    whole = JobInput.model_validate(json.loads(part.task["work"])["input"])
    changed = with_passage(whole, given, start, end, new)
    if keep_answer and not whole.features and not whole.class_name:
        changed = changed.model_copy(update=dict.fromkeys(KINDS[:-1]) | {"continuation": part.body["output"]["text"]})
    told = {"token": edit.token, "start": start, "end": end, "was": was, "replacement": new, "keep_answer": keep_answer}
    return changed, told


def with_passage(whole: JobInput, given: dict[str, Any], start: int, end: int, new: str) -> JobInput:
    """An input with other words in place of a passage of its text, or of one of its turns; marks after it move along."""
    shift = len(new) - (end - start)
    values: dict[str, Any] = {
        name: tuple(one for span in spans if (one := moved(span, end, shift)) is not None)
        for name, spans in (("spans", whole.spans), ("fixed", whole.fixed))
    }
    if whole.text is not None:
        return whole.model_copy(update=values | {"text": whole.text[:start] + new + whole.text[end:]})
    turn = next((one for one in given["turns"] if one["start"] <= start and end <= one["end"]), None)
    if turn is None:
        raise Refusal(422, "invalid", "The token stands between two turns, expected one inside a turn. Choose another.")
    turns, at = list(whole.turns), turn["start"]
    text = turns[turn["number"]].text
    at -= max(0, text.find(given["text"][turn["start"] : turn["end"]]))
    turns[turn["number"]] = Turn(role=turn["role"], text=text[: start - at] + new + text[end - at :])
    return whole.model_copy(update=values | {"turns": tuple(turns)})


def moved(span: SpanRow, end: int, shift: int) -> SpanRow | None:
    """A mark after an edit that ended at `end`; None where nothing of it is left."""
    first = span.start + (shift if span.start >= end else 0)
    last = span.end + (shift if span.end >= end else 0)
    return SpanRow(start=max(0, first), end=last, label=span.label) if last > max(0, first) else None


@api.get("/sensitivity")
def sensitivity(_: Analyst, office: TheOffice, row: TheJob) -> Response:
    """Edits ranked by what they did, per model and method; beside them the methods that measure it on every token."""
    parts = parts_of(office, row["id"])
    children = office.store.rows("SELECT id, edit FROM job WHERE parent = ? ORDER BY id", row["id"])
    others = [(json.loads(child["edit"]), parts_of(office, child["id"]), child["id"]) for child in children]
    return JSONResponse({
        "rankings": [
            {**part.told(), "effects": [one._asdict() for one in ranked(effects_on(part, others))]} for part in parts
        ],
        "measured": [
            {**part.told(), "tokens": ranking(part)} for part in parts if part.method in EXACT
        ],
        "n_waiting": sum(1 for child in children if not parts_of(office, child["id"])),
    })  # fmt: skip


def effects_on(part: Part, others: list[tuple[dict[str, Any], list[Part], str]]) -> list[Effect]:
    """What each edit did under one model and method, where it is done."""
    found = []
    for edit, results, job in others:
        other = same_as(part, results)
        if other is None:
            continue
        is_same = part.outputs == other.outputs
        change = score_of(other) - score_of(part) if is_same else None
        units = aligned(part.text, part.spans, other.text, other.spans)
        moved_share = stability(part.importance.input, other.importance.input, units).moved
        found.append(Effect(edit | {"job_id": job}, change, not is_same, moved_share))
    return found


def score_of(part: Part) -> float:
    """The answer's score: the sum over its tokens."""
    return float(sum(part.body["step_scores"]["score"]))


def ranking(part: Part) -> list[dict[str, Any]]:
    """Tokens by the change that taking them away makes."""
    scores, tokens = part.importance.input, part.body["input"]["tokens"]
    order = sorted((i for i in range(len(scores)) if part.is_word[i]), key=lambda i: -abs(scores[i]))[:50]
    return [{"token": i, "text": tokens[i], "score_change": float(-scores[i])} for i in order]
