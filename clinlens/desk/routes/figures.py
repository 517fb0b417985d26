"""Figures of a job's results: concentration, stability, agreement of methods, alignment with kinds of tokens.

Source: 5.1 of paper 003.
"""

from itertools import combinations
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from analysis.views.agreement import agreement
from analysis.views.alignment import aligned
from analysis.views.category_mass import category_mass
from analysis.views.concentration import concentration
from analysis.views.stability import stability
from clinlens.desk.jobs.office import Office
from clinlens.desk.kinds import Kind, from_lexicon, from_linguistics, from_physicians
from clinlens.desk.routes.part import Part, parts_of, same_as
from clinlens.desk.routes.visitor import Analyst, TheJob, TheOffice
from labeling.web.access import still_rates
from labeling.web.visit import Visit

api = APIRouter(prefix="/api/jobs/{job_id}", tags=["desk"])
ROUTERS = (api,)
MAX_RELATED = 20
"""Edited jobs that stability is measured over, the last ones."""


@api.get("/metrics")
def metrics(_: Analyst, office: TheOffice, row: TheJob) -> Response:
    """The figures of every result, and of every two methods on one model."""
    parts = parts_of(office, row["id"])
    related = related_to(office, row["id"], row["parent"])
    pairs = [(a, b) for a, b in combinations(parts, 2) if a.model == b.model]
    return JSONResponse({
        "results": [figures_of(part, related) for part in parts],
        "agreement": [
            {"left": a.number, "right": b.number, "model": a.model, "methods": [a.method, b.method],
             **agreement(a.words, b.words)._asdict()}
            for a, b in pairs
        ],
    })  # fmt: skip


def figures_of(part: Part, related: list[list[Part]]) -> dict[str, Any]:
    """Of one result."""
    kinds = from_lexicon(part.text, part.body["input"]["offsets"])
    return {
        **part.told(),
        "concentration": {
            "input": concentration(part.words)._asdict(), "output": concentration(part.importance.output)._asdict()
        },
        "stability": stability_of(part, related), "alignment": alignment_of(part, kinds),
    }  # fmt: skip


def related_to(office: Office, job: str, parent: str | None) -> list[list[Part]]:
    """Results of jobs that differ in a word: those edited from this one, and the one it was edited from."""
    rows = office.store.rows("SELECT id FROM job WHERE parent = ? ORDER BY id DESC LIMIT ?", job, MAX_RELATED)
    return [parts_of(office, other) for other in (*(row["id"] for row in rows), *([parent] if parent else []))]


def stability_of(part: Part, related: list[list[Part]]) -> dict[str, Any] | None:
    """The mean over similar inputs; None where there is none yet."""
    found = []
    for others in related:
        other = same_as(part, others)
        if other is not None:
            units = aligned(part.text, part.spans, other.text, other.spans)
            found.append(stability(part.importance.input, other.importance.input, units))
    if not found:
        return None

    def mean(name: str) -> float | None:
        values = [getattr(one, name) for one in found if getattr(one, name) is not None]
        return float(np.mean(values)) if values else None

    return {"n_inputs": len(found), "spearman": mean("spearman"), "moved": mean("moved")}


def alignment_of(part: Part, kinds: list[list[Kind]]) -> list[dict[str, Any]]:
    """How much lies on each kind of token."""
    names = sorted({(kind.source, kind.category) for token in kinds for kind in token})
    found = []
    for source, category in names:
        flags = np.array([any((k.source, k.category) == (source, category) for k in token) for token in kinds], bool)
        mass = category_mass(part.words, flags[part.is_word])
        found.append({"source": source, "category": category, **mass._asdict()})
    return found


@api.get("/categories")
def categories(visit: Analyst, office: TheOffice, row: TheJob) -> Response:
    """The kinds of each token, per model. What a process must look for is `pending` at first: ask again."""
    firsts = {part.model: part for part in reversed(parts_of(office, row["id"]))}
    return JSONResponse({"models": [kinds_of(office, part, visit) for part in reversed(list(firsts.values()))]})


def kinds_of(office: Office, part: Part, visit: Visit | None) -> dict[str, Any]:
    """Of one model's tokens. Who rates in an open round sees no labels: they would say what others said."""
    given, model = part.body["input"], office.models.get(part.model)
    is_blind = visit is not None and still_rates(visit)
    labels = {} if is_blind else office.kinds.labels()
    token_kinds = from_lexicon(part.text, given["offsets"])
    state = {"physicians": "still_blind" if is_blind else "none", "linguistic": "none"}
    problem = None
    if model is not None:
        looked = office.kinds.look(model, part.text, labels)
        problem = looked.problem
        state["linguistic"] = looked.found.get("linguistic", {}).get("state", looked.state)
        if labels:
            state["physicians"] = looked.state
        more = [
            from_physicians(looked.found.get("features", []), labels, len(given["tokens"])),
            from_linguistics(looked.found.get("linguistic", {}).get("spans", []), given["offsets"]),
        ]
        token_kinds = [[*one, *(kind for source in more for kind in source[i])] for i, one in enumerate(token_kinds)]
    return {
        "model": part.model, "tokens": [[kind._asdict() for kind in one] for one in token_kinds], "state": state,
        "problem": problem, "categories": alignment_of(part, token_kinds),
    }  # fmt: skip
