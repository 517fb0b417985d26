"""A conversation turn by turn: what each answer owed to what was said before.

Source: 4.5 of paper 003 (follow-up analysis), formulas 8 and 11. The answers of two turns have different tokens, so that a
column j of formula 11 names nothing common; its sum over j does, and is what stands here for each token of the last text.
"""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query
from jaxtyping import Float
from starlette.responses import JSONResponse, Response

from analysis.views.alignment import aligned
from analysis.views.temporal import decay_weights, over_turns
from clinlens.desk.jobs.conversation import chain
from clinlens.desk.routes.part import Part, part_at, parts_of, same_as
from clinlens.desk.routes.visitor import Analyst, TheJob, TheOffice

api = APIRouter(prefix="/api/jobs/{job_id}", tags=["desk"])
ROUTERS = (api,)


@api.get("/timeline")
def timeline(
    _: Analyst, office: TheOffice, row: TheJob, index: Annotated[int, Query(ge=0)] = 0,
    decay: Annotated[float, Query(ge=0, le=1)] = 0.5,
) -> Response:  # fmt: skip
    """The jobs of a conversation up to this one, by the model and method of one result."""
    last = part_at(office, row["id"], index)
    found = [(job, same_as(last, parts_of(office, job))) for job in chain(office.store, row["id"])]
    parts = [part for _, part in found if part is not None]
    carried = [onto(part, last) for part in parts]
    weights = decay_weights(len(parts), decay)
    total = over_turns([one[:, None] for one in carried], weights)[:, 0]
    return JSONResponse({
        **last.told(), "decay": decay, "weights": weights.tolist(), "temporal": total.tolist(),
        "turns": [turn_of(part, one) for part, one in zip(parts, carried, strict=True)],
        "missing": [job for job, part in found if part is None],
    })  # fmt: skip


def turn_of(part: Part, carried: Float[np.ndarray, "n"]) -> dict[str, Any]:
    """One turn: its answer, its importances on the last text's tokens, and how much came from each turn before."""
    return {
        **part.told(), "output": part.body["output"], "importance": carried.tolist(), "flow": flow_of(part),
    }  # fmt: skip


def flow_of(part: Part) -> list[dict[str, Any]]:
    """Per turn of the text: the share of the absolute scores that lies in it, and the signed sum."""
    scores = part.importance.input
    total = float(np.abs(scores).sum())
    found = []
    for turn in part.body["input"]["turns"] or [{"role": "user", "start": 0, "end": len(part.text), "number": 0}]:
        inside = [i for i, (a, b) in enumerate(part.spans) if 0 <= a < turn["end"] and b > turn["start"]]
        mass = float(np.abs(scores[inside]).sum())
        share = mass / total if total > 0 else None
        found.append({**turn, "share": share, "sum": float(scores[inside].sum())})
    return found


def onto(part: Part, last: Part) -> Float[np.ndarray, "n"]:
    """A turn's importances on the tokens of the last text: of each common unit, spread evenly; sums stay."""
    found, scores = np.zeros(len(last.spans)), part.importance.input
    for unit in aligned(part.text, part.spans, last.text, last.spans):
        if unit.left and unit.right:
            found[list(unit.right)] += scores[list(unit.left)].sum() / len(unit.right)
    return found
