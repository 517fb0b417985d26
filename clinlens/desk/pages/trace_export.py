"""A trace in other programs' shapes, as whoever looks at it may see it: the attribution-graph JSON, and plain tables."""

import csv
import io
from typing import Any

from clinlens.desk.pages.trace_files import CAVEAT, Trace

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings that a spreadsheet takes for a formula."""


def graph(trace: Trace) -> dict[str, Any]:
    """The trace as an attribution graph, with the caveat of the pages and the hash of its file."""
    from clinlens.trace import exports  # draws as well, and is slow to import

    made = exports.graph(trace.record)
    return made | {"clinlens": made["clinlens"] | {"caveat": CAVEAT, "sha256": trace.sha256}}


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
    from clinlens.trace import exports

    return exports.table(trace.record)


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
