"""Follow-up questions: what was said before comes first, with each model's own answers.

Source: formula 8 of paper 003, X_k = (X_1, Y_1, …, X_{k−1}, Y_{k−1}, X_k).
"""

import json
import sqlite3
from typing import Any

from clinlens.desk.jobs.request import JobInput, JobRequest, Turn
from clinlens.desk.jobs.results import Results
from clinlens.desk.jobs.store import Store
from sae.errors import UserError

KINDS = ("target", "continuation", "generate", "class_name", "features")


def followed(request: JobRequest, model: str, store: Store, results: Results) -> JobInput:
    """The input of one model: as given, or with the conversation before it.

    Raises:
        UserError: The job before is gone, is not done for this model, or explained no answer.
    """
    before = request.options.follow_up_of
    if before is None:
        return request.input
    parent, task = store.job(before), task_of(store, before, model)
    if parent is None or task is None or not results.has(task["result"]):
        raise UserError(
            f"follow_up_of names a job without a result of {model!r}, expected one that is done for each model. Wait for it, or "
            "leave the model out."
        )
    earlier = JobInput.model_validate(json.loads(task["work"])["input"])
    if earlier.features or earlier.class_name:
        raise UserError("follow_up_of names a job that explains no answer, expected tokens. Follow another job.")
    said = earlier.turns or (Turn(role="user", text=earlier.text or ""),)
    answer = Turn(role="assistant", text=results.get(task["result"])["output"]["text"])
    mine = request.input.turns or (Turn(role="user", text=request.input.text or ""),)
    changes: dict[str, Any] = {"text": None, "turns": (*said, answer, *mine)}
    if not any(getattr(request.input, name) for name in KINDS):  # the question goes on as the last one was asked
        changes |= {name: getattr(earlier, name) for name in KINDS}
    return request.input.model_copy(update=changes)


def task_of(store: Store, job: str, model: str) -> sqlite3.Row | None:
    """The first task of a job that is done for a model."""
    found = store.rows(
        "SELECT * FROM task WHERE job = ? AND model = ? AND status = 'completed' ORDER BY number LIMIT 1", job, model
    )
    return found[0] if found else None


def chain(store: Store, job: str) -> list[str]:
    """A job and those it follows, the first question first."""
    found: list[str] = []
    at: Any = job
    while at and at not in found:
        row = store.job(at)
        if row is None:
            break
        found.append(at)
        at = json.loads(row["options"]).get("follow_up_of")
    return found[::-1]
