"""Two results side by side: tokens aligned, importances on common units, the differential matrix.

Source: 4.5 of paper 003, A^diff = A^{m1} − A^{m2}.
"""

import re
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query
from jaxtyping import Float
from starlette.responses import JSONResponse, Response

from analysis.views.agreement import agreement
from analysis.views.alignment import Unit, aligned, output_spans
from analysis.views.combination import columns_as_shares
from analysis.views.difference import difference, on_units
from analysis.views.reduction import reduced
from analysis.views.stability import stability
from clinlens.desk.jobs.office import Office
from clinlens.desk.routes.part import Part, part_at
from clinlens.desk.routes.results import MAX_CELLS, listed
from clinlens.desk.routes.visitor import Analyst, TheOffice
from labeling.web.access import UNKNOWN
from labeling.web.errors import Refusal

api = APIRouter(prefix="/api", tags=["desk"])
ROUTERS = (api,)
NAMED = re.compile(r"([0-9a-f-]{36}):(\d{1,4})")


@api.get("/compare")
def compare(
    _: Analyst, office: TheOffice, left: Annotated[str, Query(max_length=64)], right: Annotated[str, Query(max_length=64)],
    scale: Literal["raw", "share"] = "raw",
) -> Response:  # fmt: skip
    """Two results JOB:i on common units; `share` takes each output token's column over its absolute sum first."""
    one, other = named(office, left), named(office, right)
    rows = aligned(one.text, one.spans, other.text, other.spans)
    columns = aligned(*output_spans(one.outputs), *output_spans(other.outputs))
    a, b = (columns_as_shares(part.matrix) if scale == "share" else part.matrix for part in (one, other))
    matrix = difference(a, b, rows, columns)
    sums = [
        on_units(part, [unit[side] for unit in rows], [range(part.shape[1])])[:, 0] for side, part in enumerate((a, b))
    ]
    received = [
        on_units(part, [range(part.shape[0])], [unit[side] for unit in columns])[0] for side, part in enumerate((a, b))
    ]
    both = np.isfinite(sums[0]) & np.isfinite(sums[1])
    return JSONResponse({
        "left": one.told(), "right": other.told(), "scale": scale,
        "is_same_input": one.spans == other.spans and one.text == other.text, "is_same_output": one.outputs == other.outputs,
        "input": {"units": [shown(unit, one.body["input"]["tokens"], other.body["input"]["tokens"]) for unit in rows]},
        "output": {"units": [shown(unit, one.outputs, other.outputs) for unit in columns]},
        "importance": {"input": sides(sums), "output": sides(received)},
        "difference": shrunk(matrix), "n_not_comparable": int(np.isnan(matrix).sum()),
        "agreement": agreement(sums[0][both], sums[1][both])._asdict(),
        "stability": stability(one.importance.input, other.importance.input, rows)._asdict(),
    })  # fmt: skip


def named(office: Office, text: str) -> Part:
    """The result that JOB:i names.

    Raises:
        Refusal: There is none.
    """
    match = NAMED.fullmatch(text)
    if match is None:
        raise Refusal(404, "not_found", UNKNOWN)
    return part_at(office, match[1], int(match[2]))


def shown(unit: Unit, left: list[str], right: list[str]) -> dict[str, Any]:
    """A unit with its words."""
    words = {"text_left": "".join(left[i] for i in unit.left), "text_right": "".join(right[i] for i in unit.right)}
    return {"left": unit.left, "right": unit.right, "is_changed": unit.is_changed, **words}


def sides(values: list[Float[np.ndarray, "u"]]) -> dict[str, list[float | None]]:
    """Both sides' values; null where a side has none."""
    return {name: listed(one[None])[0] for name, one in zip(("left", "right"), values, strict=True)}


def shrunk(matrix: Float[np.ndarray, "u v"]) -> dict[str, Any]:
    """A matrix that is sent whole, reduced by largest magnitude where it is too large; there, cells of one side alone are 0."""
    level, found = 0, matrix
    while found.size > MAX_CELLS:
        level += 1
        found = reduced(np.nan_to_num(matrix), level)
    return {"matrix": listed(found), "shape": list(matrix.shape), "level": level}
