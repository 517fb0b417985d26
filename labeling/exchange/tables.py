"""Records as JSON lines, CSV and Parquet: the same rows in the same order, and the same bytes for the same rows."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import parquet
from pydantic import ValidationError

from labeling.exchange.cells import csv_text
from labeling.exchange.records import Record
from labeling.identifiers import canonical
from sae.errors import UserError

R = TypeVar("R", bound=Record)
MAX_LINE_CHARACTERS = 4_000_000
"""Longer lines are refused unread: no record of ours comes near it."""


def json_lines(records: Iterable[Record]) -> str:
    """One canonical JSON object per line."""
    return "".join(canonical(record.model_dump(mode="json")) + "\n" for record in records)


def read_json_lines(text: str, kind: type[R], name: str) -> list[R]:
    """The records of a file.

    Args:
        text: Its content.
        kind: What every line is.
        name: What the file is called, for errors.

    Raises:
        UserError: A line is no such record; its number is named, its text is not.
    """
    return [read_line(line, kind, f"{name}, line {n}") for n, line in enumerate(lines_of(text), 1)]


def lines_of(text: str) -> list[str]:
    """The lines of a file, which only line feeds end: text may hold other separators of lines."""
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def read_line(line: str, kind: type[R], where: str) -> R:
    """One record."""
    try:
        return kind.model_validate(parsed(line, where), strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the line"
        raise UserError(
            f"{where}: {place} is not as expected ({first['msg'].lower()}). Nothing was imported; ask for the file again, or "
            "correct it."
        ) from None


def parsed(line: str, where: str) -> Any:
    """A line's JSON object, strictly: no NaN, no key twice.

    Raises:
        UserError: It is none.
    """
    try:
        if len(line) > MAX_LINE_CHARACTERS:
            raise ValueError("too long")
        value = json.loads(line, parse_constant=refuse_constant, object_pairs_hook=without_duplicates)
        canonical(value).encode()
    except (ValueError, RecursionError):
        raise UserError(
            f"{where} is no JSON object, expected one per line, UTF-8, without NaN and no key twice. Nothing was imported; "
            "ask for the file again."
        ) from None
    if not isinstance(value, dict):
        raise UserError(f"{where} holds no JSON object, expected one per line. Nothing was imported; correct the file.")
    return value


def refuse_constant(name: str) -> Any:
    """NaN and infinities are no JSON."""
    raise ValueError(name)


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found


def flat(record: Record) -> dict[str, Any]:
    """A record as columns: what it holds by key becomes a column per key, a set of concepts one text."""
    row: dict[str, Any] = {}
    for name, value in record.model_dump(mode="json").items():
        if name in ("answers", "distribution", "posterior"):
            row |= {f"{name}.{key}{part}": cell for key, one in value.items() for part, cell in parts_of(one)}
        else:
            row[name] = value
    return row


def parts_of(answer: Any) -> list[tuple[str, Any]]:
    """An answer's columns, by what is appended to the key."""
    if not isinstance(answer, dict):
        return [("", answer)]
    return [(f".{name}", "|".join(part) if name == "codes" else part) for name, part in sorted(answer.items())]


def columns_of(kind: type[Record], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of flat rows: the record's fields in their order, what one unfolds to in its place."""
    found = sorted({name for row in rows for name in row})
    columns: list[str] = []
    for name in kind.model_fields:
        columns += [name] if name in found else [column for column in found if column.startswith(f"{name}.")]
    return columns


def csv_of(kind: type[Record], records: Iterable[Record]) -> str:
    """The records as CSV."""
    rows = [flat(record) for record in records]
    return csv_text(columns_of(kind, rows) or list(kind.model_fields), rows)


def parquet_of(kind: type[Record], records: Iterable[Record]) -> bytes:
    """The records as Parquet; parts that are neither text nor number become JSON texts."""
    rows = [flat(record) for record in records]
    columns = columns_of(kind, rows) or list(kind.model_fields)
    arrays = [arrow([row.get(name) for row in rows]) for name in columns]
    out = io.BytesIO()
    parquet.write_table(pa.table(arrays, names=columns), out, compression="zstd")
    return out.getvalue()


def arrow(values: list[Any]) -> pa.Array:
    """A column: truth, whole numbers, numbers or texts, none of them mixed."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int}:
        return pa.array(values, pa.int64())
    if kinds and kinds <= {int, float}:
        return pa.array(values, pa.float64())
    texts = [value if value is None or isinstance(value, str) else canonical(value) for value in values]
    return pa.array(texts, pa.string())
