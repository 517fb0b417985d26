"""A table of ratings as people keep it in a spreadsheet: a row per item, a column per rater, blank where nobody answered.

1. The header tells the separator: comma, semicolon or tab, whichever it holds most of (a comma if equal).
2. The first column names the items if its header is empty or one of `ITEM_HEADERS`; or else if it has no blank, no value
   twice, and no value that could be a rating (a category; on numeric scales a number; without categories, anything that
   another column holds too). `items` decides otherwise: a column's name, or `-` for none.
3. A blank cell is missing, and nothing else is: "NA" is an answer that the codebook must name.
4. Categories are matched by their text, or, where all of them are numbers, by value: `1.0` is `1`.
5. Sets hold labels separated by `|`, or by `;` where that does not separate cells. `-` and `{}` are the empty set: an answer.

Errors name line and column and quote short cells of categories only, never a text.
"""

import csv
import io
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from labeling.label_sets import LabelSets, label_sets
from labeling.scale import Level, Scale, categories, numbers
from sae.errors import UserError

TableLevel = Level | Literal["set"]
LEVELS: tuple[str, ...] = (*get_args(Level), "set")
ITEM_HEADERS = frozenset(
    ("", "#", "id", "item", "items", "item_id", "itemid", "unit", "unit_id", "case", "case_id", "index", "feature", "feature_id")
)  # fmt: skip
NO_ITEMS = "-"
EMPTY_SETS = ("-", "{}")
SHORT = 24
"""Characters of a cell that may be quoted: a category's name, hardly a text."""


class Cell(NamedTuple):
    """One answer, or none."""

    text: str
    """Without spaces around it; empty if missing."""
    line: int
    """Of the file, counted from 1."""
    rater: str


class RaterTable(NamedTuple):
    """The table as it was read."""

    items: tuple[str, ...]
    """Names of the rows; their lines if no column names them."""
    raters: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    separator: str

    def given(self) -> list[Cell]:
        """Cells that hold something."""
        return [cell for row in self.rows for cell in row if cell.text]


def parse(text: str, level: TableLevel, names: Sequence[str] | None = None, items: str | None = None) -> RaterTable:
    """Reads a table.

    Args:
        text: Of the file, without a byte order mark.
        level: Of the field.
        names: Its categories, if they are known.
        items: Column that names the items; `-` for none; found out if not given.
    """
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        raise UserError("The table is empty, expected a header and a row per item. Export it again.")
    separator = separator_of(next(line for line in lines if line.strip()))
    try:
        reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
        read = [
            (reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise UserError(
            f"The table is no CSV ({error}), expected cells quoted as spreadsheets do. Export it again."
        ) from None
    header, body = read[0][1], read[1:]
    header, body = without_empty_columns(header, body)
    if not body:
        raise UserError("The table has a header and no rows, expected a row per item. Add the ratings.")
    place = item_column(header, body, level, names, items)
    raters = [name for number, name in enumerate(header) if number != place]
    refuse_raters(raters)
    rows = tuple(
        tuple(Cell(text, line, header[number]) for number, text in enumerate(row) if number != place)
        for line, row in body
    )
    return RaterTable(item_names(body, place), tuple(raters), rows, separator)


def separator_of(header: str) -> str:
    """What separates the cells of a header."""
    return max(",;\t", key=header.count)  # the first of equals


def without_empty_columns(
    header: list[str], body: list[tuple[int, list[str]]]
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Without the empty columns that spreadsheets leave at the right; an error where rows differ in length."""
    while (
        header
        and not header[-1]
        and not any(row[len(header) - 1 :] != [""] * (len(row) - len(header) + 1) for _, row in body)
    ):
        header = header[:-1]
    cut = [(line, row[: len(header)] if not any(row[len(header) :]) else row) for line, row in body]
    for line, row in cut:
        if len(row) != len(header):
            raise UserError(
                f"Line {line} has {len(row)} {'cell' if len(row) == 1 else 'cells'}, expected {len(header)} as in the header. "
                "Add the missing separators, or quote the cell that holds one."
            )
    return header, cut


def item_column(
    header: list[str],
    body: list[tuple[int, list[str]]],
    level: TableLevel,
    names: Sequence[str] | None,
    items: str | None,
) -> int | None:
    """Place of the column that names the items; none if there is none."""
    if items == NO_ITEMS or len(header) == 1:
        return None
    if items is not None:
        if items not in header:
            raise UserError(
                f"The table has no column of the name given with --items, expected one of {len(header)}. Correct it."
            )
        return header.index(items)
    if header[0].lower() in ITEM_HEADERS:
        return 0
    first = [row[0] for _, row in body]
    if "" in first or len(set(first)) < len(first):
        return None
    return None if any(could_be_rating(text, body, level, names) for text in first) else 0


def could_be_rating(
    text: str, body: list[tuple[int, list[str]]], level: TableLevel, names: Sequence[str] | None
) -> bool:
    """Whether a cell of the first column may be an answer."""
    if level in ("interval", "ratio"):
        return number_of(text, ";") is not None
    if names and level != "set":
        return text in names or same_number(text, names) is not None
    labels = labels_in(text, ",") if level == "set" else [text]
    others = {
        one for _, row in body for cell in row[1:] for one in (labels_in(cell, ",") if level == "set" else [cell])
    }
    known = others | set(names or ())
    return text in EMPTY_SETS or any(label in known for label in labels)


def refuse_raters(raters: list[str]) -> None:
    """An error unless there are two raters with names of their own."""
    if len(raters) < 2:
        raise UserError(
            f"The table has {len(raters)} rater column{'' if len(raters) == 1 else 's'}, expected two or more: agreement is "
            "between raters. Add a column, or say with --items that the first one names no items (--items -)."
        )
    if "" in raters or len(set(raters)) < len(raters):
        raise UserError(
            f"The header names {len(set(raters) - {''})} different raters for {len(raters)} columns, expected a name of its own "
            "for each. Correct the header."
        )


def item_names(body: list[tuple[int, list[str]]], place: int | None) -> tuple[str, ...]:
    """Names of the rows; an error where one stands twice."""
    if place is None:
        return tuple(f"line {line}" for line, _ in body)
    seen: dict[str, int] = {}
    for line, row in body:
        if row[place] in seen:
            raise UserError(
                f"Lines {seen[row[place]]} and {line} name the same item, expected a row per item. Join the rows, or say with "
                "--items which column names the items (--items - for none)."
            )
        seen[row[place]] = line
    return tuple(seen)


def scale_of(table: RaterTable, level: Level, names: Sequence[str] | None) -> Scale:
    """The codebook's scale, or what can be said without one: then nothing rests on the number of categories."""
    if level in ("interval", "ratio"):
        if names is None:
            return numbers(level)
        values = [number_of(name, ",") for name in names]
        if None in values:
            raise UserError(
                f"--categories of level {level} holds a name, expected numbers. Correct it, or take another --level."
            )
        return numbers(level, [value for value in values if value is not None])
    if names is not None:
        return categories(names, level)
    found = list(dict.fromkeys(cell.text for cell in table.given()))
    values = [number_of(text, table.separator) for text in found]
    known = {value for value in values if value is not None}
    if None not in values:
        found = [f"{value:.17g}" for value in sorted(known)]
    elif level == "ordinal" and len(found) > 1:
        raise UserError(
            f"An ordinal field has {len(found)} different answers and nobody said their order, expected --categories from "
            "the lowest to the highest. The alphabet's order would be wrong."
        )
    return Scale(level, tuple(map(float, range(len(found)))), tuple(sorted(found) if None in values else found), False)


def ratings_of(table: RaterTable, scale: Scale) -> np.ndarray:
    """[n_items, n_raters] ranks or values on the scale that `scale_of` gave, NaN where missing."""
    found = np.full((len(table.rows), len(table.raters)), np.nan)
    known: dict[str, float] = {}
    for i, row in enumerate(table.rows):
        for j, cell in enumerate(row):
            if cell.text and cell.text not in known:
                is_number = scale.level in ("interval", "ratio")
                known[cell.text] = (
                    value_of(cell, scale, table.separator) if is_number else rank(cell, scale.names, table)
                )
            found[i, j] = known.get(cell.text, np.nan)
    return found


def rank(cell: Cell, names: Sequence[str], table: RaterTable) -> int:
    """Place of a cell's category in the codebook."""
    if cell.text in names:
        return list(names).index(cell.text)
    found = same_number(cell.text, names, table.separator)
    if found is None:
        raise UserError(
            f"Line {cell.line}, column {quoted(cell.rater)} holds {quoted(cell.text)}, expected {some_of(names)} or a blank. "
            "Correct it, or add it to --categories."
        )
    return found


def value_of(cell: Cell, scale: Scale, separator: str) -> float:
    """A cell's number."""
    value = number_of(cell.text, separator)
    if value is None:
        raise UserError(
            f"Line {cell.line}, column {quoted(cell.rater)} is no finite number, expected one on a scale of level "
            f"{scale.level}, or a blank. Correct it, or take --level nominal or ordinal."
        )
    if scale.levels is not None and value not in scale.levels:
        raise UserError(
            f"Line {cell.line}, column {quoted(cell.rater)} holds {value:g}, expected one of "
            f"{some_of([f'{level:g}' for level in scale.levels])} or a blank. Correct it, or add it to --categories."
        )
    if scale.level == "ratio" and value < 0:
        raise UserError(
            f"Line {cell.line}, column {quoted(cell.rater)} holds {value:g}, expected no number below 0 on a ratio scale. "
            "Correct it, or take --level interval."
        )
    return value


def sets_of(table: RaterTable, names: Sequence[str] | None) -> LabelSets:
    """The table's sets of labels."""
    answers = [
        [frozenset(labels_in(cell.text, table.separator)) if cell.text else None for cell in row] for row in table.rows
    ]
    found = sorted({label for row in answers for given in row if given for label in given})
    labels = list(names) if names is not None else found
    if not labels:
        raise UserError("The table holds no label, expected some separated by | or ;. Check --level.")
    for row, cells in zip(answers, table.rows, strict=True):
        for given, cell in zip(row, cells, strict=True):
            stranger = next((label for label in sorted(given or ()) if label not in labels), None)
            if stranger is not None:
                raise UserError(
                    f"Line {cell.line}, column {quoted(cell.rater)} holds the label {quoted(stranger)}, expected "
                    f"{some_of(labels)}, - for none of them, or a blank. Correct it, or add it to --categories."
                )
    return label_sets(answers, labels)


def labels_in(text: str, separator: str) -> list[str]:
    """Labels of a cell; none in an empty set."""
    if text in EMPTY_SETS:
        return []
    if separator != ";":
        text = text.replace(";", "|")
    return [label.strip() for label in text.split("|") if label.strip()]


def number_of(text: str, separator: str) -> float | None:
    """A finite number; with a decimal comma where the comma does not separate cells."""
    try:
        value = float(text.replace(",", ".") if separator != "," and text.count(",") == 1 else text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def same_number(text: str, names: Sequence[str], separator: str = ",") -> int | None:
    """Place of the category with the same value, where all of them are numbers."""
    values = [number_of(name, ",") for name in names]
    value = number_of(text, separator)
    return None if value is None or None in values or value not in values else values.index(value)


def quoted(text: str) -> str:
    """A short text in quotes, a long one by its length."""
    return f"'{text}'" if len(text) <= SHORT else f"{len(text)} characters"


def some_of(names: Sequence[str]) -> str:
    """The first few names."""
    shown = ", ".join(quoted(name) for name in names[:8])
    return shown if len(names) <= 8 else f"{shown} or another of {len(names)}"
