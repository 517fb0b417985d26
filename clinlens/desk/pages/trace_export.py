"""A trace in other programs' shapes: the attribution-graph JSON that graph viewers read, and plain tables."""

import csv
import io
from typing import Any

from clinlens.desk.pages.trace_files import CAVEAT, Trace

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings that a spreadsheet takes for a formula."""


def graph(trace: Trace) -> dict[str, Any]:
    """The trace as an attribution graph: features as nodes, measured effects as links.

    A trace sums over a cohort, a graph of one prompt stands at positions; every node is therefore at position 0.

    Source: the JSON that circuit-tracer writes and Neuronpedia reads (schema version 1).
    """
    record = trace.record
    nodes = [graph_node(one) for one in record["nodes"]]
    links = [
        {"source": edge["source"], "target": edge["target"], "weight": edge["causal"]["value"]}
        for edge in record["edges"]
        if (edge.get("causal") or {}).get("value") is not None
    ]
    model = record.get("model") or {}
    metadata = {
        "slug": trace.id, "scan": model.get("name"), "prompt": "", "prompt_tokens": [record["concept"].get("name", "")],
        "node_threshold": None, "schema_version": 1,
        "info": {"generator": {"name": "clinlens"}, "caveat": CAVEAT, "sha256": trace.sha256, "model_hash": model.get("hash")},
    }  # fmt: skip
    layout = {
        "pinnedIds": [one["node_id"] for one in nodes],
        "supernodes": [],
        "linkType": "both",
        "clickedId": "",
        "sg_pos": "",
    }
    return {"metadata": metadata, "qParams": layout, "nodes": nodes, "links": links}


def graph_node(one: dict[str, Any]) -> dict[str, Any]:
    """A feature as a node of such a graph."""
    label = one.get("label") or {}
    firing = one.get("firing") or {}
    return {
        "node_id": one["id"], "jsNodeId": one["id"], "feature": one["feature"], "layer": str(one["layer"]), "ctx_idx": 0,
        "feature_type": "residual stream sae", "clerp": label.get("leading") or "", "influence": None,
        "activation": firing.get("positive"), "is_target_logit": False, "token_prob": 0, "run_idx": 0, "reverse_ctx_idx": 0,
    }  # fmt: skip


def nodes_csv(trace: Trace) -> str:
    """Features, one a row."""
    heads = ["node", "layer", "feature", "auroc", "auroc_low", "auroc_high", "firing_positive", "firing_negative", "leading_label",
             "n_raters", "entropy", "is_ambiguous", "is_flagged"]  # fmt: skip
    rows = []
    for one in trace.record["nodes"]:
        low, high = one.get("interval") or (None, None)
        firing, label = one.get("firing") or {}, one.get("label") or {}
        rows.append([one["id"], one["layer"], one["feature"], one.get("auroc"), low, high, firing.get("positive"),
                     firing.get("negative"), label.get("leading"), label.get("n_raters"), label.get("entropy"),
                     label.get("is_ambiguous"), one.get("is_flagged")])  # fmt: skip
    return table(heads, rows)


def edges_csv(trace: Trace) -> str:
    """Links, one a row, with each kind of evidence beside its null."""
    kinds = ("cosine", "coactivation", "causal")
    heads = [
        "source",
        "target",
        *(f"{kind}{part}" for kind in kinds for part in ("", "_null_95")),
        "n_kinds_above_null",
    ]
    rows = [
        [edge["source"], edge["target"],
         *((edge.get(kind) or {}).get(part) for kind in kinds for part in ("value", "null_95")),
         edge.get("n_kinds_above_null")]
        for edge in trace.record["edges"]
    ]  # fmt: skip
    return table(heads, rows)


def layers_csv(trace: Trace) -> str:
    """Detectors at layers, one a row."""
    heads = [
        "layer",
        "hook_point",
        "detector",
        "auroc",
        "auroc_low",
        "auroc_high",
        "auprc",
        "firing_coverage",
        "null_max_auroc_95",
    ]
    rows = []
    for layer in trace.record["layers"]:
        for one in layer["detectors"]:
            low, high = one.get("auroc_interval") or (None, None)
            rows.append([layer["layer"], layer.get("hook_point"), one["kind"], one.get("auroc"), low, high, one.get("auprc"),
                         one.get("firing_coverage"), (layer.get("null") or {}).get("max_auroc_95")])  # fmt: skip
    return table(heads, rows)


def table(heads: list[str], rows: list[list[Any]]) -> str:
    """A CSV file; no cell of it is taken for a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heads)
    writer.writerows([[inert(value) for value in row] for row in rows])
    return text.getvalue()


def inert(value: Any) -> Any:
    """A value that a spreadsheet shows as it is."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
