"""Cells of a CSV that a spreadsheet opens without running them.

A spreadsheet takes a cell that begins with `=`, `+`, `-`, `@`, a tab or a carriage return for a formula, and a formula can
send what is on the sheet elsewhere. Such cells get an apostrophe in front, which spreadsheets hide; so do cells that
begin with an apostrophe already, so that reading gives back what was written.

Source: OWASP, "CSV Injection".
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labeling.identifiers import canonical

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What makes a formula of a cell; the wide ones do so in East Asian settings."""


def escaped(text: str) -> str:
    """The cell with an apostrophe in front if a spreadsheet could run it."""
    return "'" + text if text.startswith((*FORMULA_STARTS, "'")) else text


def unescaped(text: str) -> str:
    """What `escaped` was given."""
    return text[1:] if text.startswith("'") and text[1:].startswith((*FORMULA_STARTS, "'")) else text


def cell(value: Any) -> str:
    """A value as a cell: nothing for None, words for truth, canonical JSON for what has parts."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return escaped(value if isinstance(value, str) else canonical(value))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A CSV with a header; every row ends as RFC 4180 says."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")  # a carriage return within a cell is quoted only then
    writer.writerow([escaped(name) for name in columns])
    for row in rows:
        writer.writerow([cell(row.get(name)) for name in columns])
    return out.getvalue()
