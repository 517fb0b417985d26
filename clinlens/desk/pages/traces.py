"""The concept page, drawn on the server: it can be read, cited and exported without a script."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from clinlens.desk.pages import ablation_plot, flowchart, ribbon, trace_export, trace_files
from clinlens.desk.pages.shell import environment, page
from clinlens.desk.pages.trace_files import Trace
from clinlens.desk.routes.visitor import Analyst
from labeling.web.access import UNKNOWN, still_rates
from labeling.web.errors import Refusal
from labeling.web.visit import Visit

pages = APIRouter(include_in_schema=False)
EXAMPLE_METHODS = ("integrated_gradients", "hidden_state", "attn_lrp")
"""Three kinds of method for the same example: along gradients, by hidden states, by relevance."""
MOST_FEATURES = 5


class Export(NamedTuple):
    """A file that a trace can be saved as."""

    kind: str
    write: Callable[[Trace], str]
    has_labels: bool = False


def run_of(request: Request) -> Path | None:
    """The run that is served."""
    return request.app.state.clinlens.run


def found_trace(request: Request, name: str) -> Trace:
    """The trace that an address names.

    Raises:
        Refusal: There is none.
    """
    found = trace_files.read(run_of(request), name)
    if found is None:
        raise Refusal(404, "not_found", UNKNOWN)
    return found


def may_see_labels(visit: Visit | None) -> bool:
    """Whether physicians' labels may be shown: not to whoever is still to give their own."""
    return visit is None or not still_rates(visit)


@pages.get("/desk/traces")
def overview(_: Analyst, request: Request) -> Response:
    """All traces of the run."""
    return page(request, "traces.html", traces=trace_files.listed(run_of(request)))


@pages.get("/desk/traces/{trace_id}")
def one(visit: Analyst, request: Request, trace_id: str, sha256: str = "") -> Response:
    """One concept."""
    found = found_trace(request, trace_id)
    with_labels = may_see_labels(visit)
    chart = flowchart.chart(found.record, with_labels=with_labels)
    return page(
        request, "trace.html", id=found.id, r=found.record, sha256=found.sha256, caveat=trace_files.CAVEAT, cited=sha256,
        is_changed=bool(sha256) and not found.sha256.startswith(sha256), ribbon=ribbon.ribbon(found.record), chart=chart,
        kinds=flowchart.KINDS, n_hidden=flowchart.n_hidden(chart.edges), with_labels=with_labels, anchor=flowchart.anchor_of,
        strata=[{"node": node, "group": row} for node in found.record["nodes"] for row in node["protected"]],
        example_query=example_query(found.record), plot=ablation_plot.plot(ablations_of(found.record)),
    )  # fmt: skip


def ablations_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Effects that were measured; none where nothing was."""
    return (record.get("causality") or {}).get("ablation") or []


def example_query(record: dict[str, Any]) -> str:
    """The form for a job that explains the concept's strongest features, all of one layer, under several methods."""
    best = sorted(record["nodes"], key=lambda node: -(node.get("auroc") or 0))
    mine = [node["id"] for node in best if node["layer"] == best[0]["layer"]][:MOST_FEATURES] if best else []
    name = record["concept"].get("name", "")
    return urlencode({"features": ",".join(mine), "methods": ",".join(EXAMPLE_METHODS), "title": f"Example: {name}"})


@pages.get("/desk/traces/{trace_id}/{name}")
def export(visit: Analyst, request: Request, trace_id: str, name: str) -> Response:
    """The trace as a file."""
    found = found_trace(request, trace_id)
    wanted = EXPORTS.get(name)
    if wanted is None:
        raise Refusal(404, "not_found", UNKNOWN)
    if wanted.has_labels and not may_see_labels(visit):
        found = found._replace(record=without_labels(found.record))
    headers = {"Content-Disposition": f'attachment; filename="{found.id}-{name}"'}
    return Response(wanted.write(found), media_type=wanted.kind, headers=headers)


def without_labels(record: dict[str, Any]) -> dict[str, Any]:
    """A record for somebody who is still to rate."""
    return record | {"nodes": [node | {"label": None} for node in record["nodes"]]}


def ribbon_svg(trace: Trace) -> str:
    """The ribbon as a picture of its own."""
    return environment().get_template("ribbon.svg").render(r=ribbon.ribbon(trace.record))


def flow_svg(trace: Trace) -> str:
    """The lanes as a picture of their own."""
    return environment().get_template("flow.svg").render(c=flowchart.chart(trace.record), standalone=True)


def whole(trace: Trace) -> str:
    """The record as it is, with the hash of its file."""
    return json.dumps(trace.record | {"sha256": trace.sha256}, ensure_ascii=False, indent=1)


EXPORTS = {
    "trace.json": Export("application/json", whole, has_labels=True),
    "graph.json": Export(
        "application/json", lambda trace: json.dumps(trace_export.graph(trace), indent=1), has_labels=True
    ),
    "layers.csv": Export("text/csv", trace_export.layers_csv),
    "nodes.csv": Export("text/csv", trace_export.nodes_csv, has_labels=True),
    "edges.csv": Export("text/csv", trace_export.edges_csv),
    "ribbon.svg": Export("image/svg+xml", ribbon_svg),
    "flow.svg": Export("image/svg+xml", flow_svg, has_labels=True),
}
