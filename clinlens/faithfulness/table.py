"""The comparison as a table for the terminal: methods that order tokens best first, what each is flagged for last."""

import io
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

COLUMNS = (
    ("P@1", "precision_first", "{:.2f}"),
    ("hit", "precision_hit", "{:.2f}"),
    ("AUROC", "auroc_evidence", "{:.3f}"),
    ("ABPC", "abpc", "{:.3f}"),
    ("compr.", "comprehensiveness", "{:.3f}"),
    ("suff.", "sufficiency", "{:.3f}"),
    ("soft NC", "soft_nc", "{:.2f}"),
    ("soft NS", "soft_ns", "{:.2f}"),
    ("infid.", "infidelity", "{:.2f}"),
    ("gap", "completeness_gap", "{:.1e}"),
    ("head", "similarity_head", "{:.2f}"),
    ("stable", "stability", "{:.2f}"),
    ("s", "seconds", "{:.3f}"),
)
"""Heading, figure, how it is written."""
LEGEND = (
    "P@1: the strongest token is the most direct evidence; hit: any. AUROC: at evidence. ABPC: area between deleting the "
    "least and the most relevant first; of ref.: as a share of the causal reference's. compr. large, suff. small is good. "
    "gap: completeness, uncorrected. head: similarity to the scores of a model with a shuffled head; 1 means blind to the "
    "answer. Means over cases; intervals are in --json."
)
WIDTH = 190


def lines(result: dict[str, Any]) -> list[str]:
    """All suites' tables as text."""
    text = io.StringIO()
    console = Console(file=text, width=WIDTH, color_system=None)
    for suite in result["suites"]:
        console.print(table(suite))
    console.print(LEGEND)
    console.print(f"Written: {result['folder']}/faithfulness.json and {result['plot']}")
    return text.getvalue().rstrip().splitlines()


def table(suite: dict[str, Any]) -> Table:
    """One suite."""
    title = f"{suite['suite']}: {suite['n_cases']} cases answered rightly, of {suite['n_tried']} asked"
    found = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    found.add_column("method", no_wrap=True)
    for heading, _, _ in COLUMNS[:4]:
        found.add_column(heading, justify="right")
    found.add_column("of ref.", justify="right")
    for heading, _, _ in COLUMNS[4:]:
        found.add_column(heading, justify="right")
    found.add_column("do not believe it:")
    methods = suite["methods"]
    for name in sorted(methods, key=lambda one: -(methods[one]["share_of_reference"]["value"] or 0)):
        cells = [written(methods[name]["figures"].get(figure), form) for _, figure, form in COLUMNS]
        share = written(methods[name]["share_of_reference"], "{:.2f}")
        found.add_row(name, *cells[:4], share, *cells[4:], "; ".join(methods[name]["flags"]))
    return found


def written(mean: dict[str, Any] | None, form: str) -> str:
    """A mean, or a dash where there is none."""
    return "–" if mean is None or mean["value"] is None else form.format(mean["value"])
