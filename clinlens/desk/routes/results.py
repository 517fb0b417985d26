"""Results: the record of a job, and large matrices in tiles.

Source: A.2 of paper 003 (schema), A.5 (progressive loading).
"""

import json
import re
import sqlite3
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from jaxtyping import Float
from starlette.responses import JSONResponse, Response

from analysis.views.reduction import reduced
from clinlens.desk.jobs.office import Office
from clinlens.desk.routes.visitor import Analyst, TheJob, TheOffice
from labeling.web.access import UNKNOWN
from labeling.web.errors import Refusal

api = APIRouter(prefix="/api/jobs/{job_id}/results", tags=["desk"])
ROUTERS = (api,)
MAX_CELLS = 65_536
"""Of a matrix that is sent whole; larger ones are fetched in tiles."""
TILE = 256
MAX_TILE = 1024
RANGE = re.compile(r"(\d{1,7})-(\d{1,7})")


@api.get("")
def record(_: Analyst, office: TheOffice, row: TheJob) -> Response:
    """The record of a job: results that are there, in the order of models and methods."""
    found = [result_of(office, task, number) for number, task in enumerate(done_tasks(office, row["id"]))]
    given = found[0]["input"] if found else {"text": json.loads(row["input"]).get("text"), "tokens": []}
    return JSONResponse({
        "job_id": row["id"], "status": row["status"], "title": row["title"], "created_at": row["created_at"],
        "completed_at": row["completed_at"], "input": given, "options": json.loads(row["options"]), "results": found,
        "parent": row["parent"], "edit": json.loads(row["edit"]) if row["edit"] else None,
    })  # fmt: skip


def done_tasks(office: Office, job: str) -> list[sqlite3.Row]:
    """Tasks whose results are there; `i` of an address counts them."""
    return [
        task for task in office.store.tasks(job) if task["status"] == "completed" and office.results.has(task["result"])
    ]


def task_at(office: Office, job: str, number: int) -> sqlite3.Row:
    """The task of a result.

    Raises:
        Refusal: There are fewer.
    """
    tasks = done_tasks(office, job)
    if not 0 <= number < len(tasks):
        raise Refusal(404, "not_found", UNKNOWN)
    return tasks[number]


def result_of(office: Office, task: sqlite3.Row, number: int) -> dict[str, Any]:
    """A result with its matrix, or where to fetch that in tiles."""
    found = office.results.get(task["result"])
    attribution = found["attribution"]
    names, shape = attribution.pop("term_names"), attribution["shape"]
    is_small = shape[0] * shape[1] <= MAX_CELLS
    attribution["raw"] = listed(office.results.matrix(task["result"])) if is_small else None
    attribution["terms"] = (
        {name: listed(term) for name, term in office.results.terms(task["result"], names).items()} if is_small else None
    )
    if not is_small:
        attribution["tiles"] = {"url": f"/api/jobs/{task['job']}/results/{number}/tiles", "tile": TILE}
    return found | {"task": task["number"], "is_cached": bool(task["is_cached"])}


def listed(matrix: Float[np.ndarray, "n t"]) -> list[list[float | None]]:
    """A matrix as JSON knows it: what is not finite is null."""
    if np.isfinite(matrix).all():
        return matrix.tolist()
    return [[value if np.isfinite(value) else None for value in row] for row in matrix.tolist()]


@api.get("/{number}/tiles")
def tile(
    _: Analyst, office: TheOffice, row: TheJob, number: int, rows: str, cols: str,
    level: Annotated[int, Query(ge=0, le=12)] = 0,
) -> Response:  # fmt: skip
    """A piece of a matrix, float32 little-endian, row by row; level n is 2ⁿ-fold reduced by largest magnitude.

    Rows and columns count cells of that level, from the first to one past the last.
    """
    matrix = office.results.matrix(task_at(office, row["id"], number)["result"])
    size = [-(-n // 2**level) for n in matrix.shape]
    (top, bottom), (left, right) = span_of(rows, size[0]), span_of(cols, size[1])
    step = 2**level
    piece = reduced(np.asarray(matrix[top * step : bottom * step, left * step : right * step]), level)
    headers = {"X-Rows": str(piece.shape[0]), "X-Cols": str(piece.shape[1]), "X-Total": f"{size[0]}x{size[1]}",
               "Cache-Control": "private, max-age=3600"}  # fmt: skip
    return Response(piece.astype("<f4").tobytes(), headers=headers, media_type="application/octet-stream")


def span_of(text: str, n: int) -> tuple[int, int]:
    """First and one past the last, from `a-b`, cut at the matrix' end.

    Raises:
        Refusal: It is no span, or too wide.
    """
    match = RANGE.fullmatch(text)
    start, end = (int(match[1]), int(match[2])) if match else (0, 0)
    if not match or end <= start or end - start > MAX_TILE:
        raise Refusal(
            422, "invalid", f"A span of rows or columns is none, expected a-b of at most {MAX_TILE}. Correct it."
        )
    return min(start, n), min(end, n)
