"""No cell of ours runs in a spreadsheet, and every cell reads back as it was."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.exchange.cells import FORMULA_STARTS, csv_text, escaped, unescaped


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "'=1"])
def test_a_cell_that_a_spreadsheet_could_run_gets_an_apostrophe(text: str):
    assert escaped(text) == "'" + text
    assert unescaped(escaped(text)) == text


@given(st.text())
def test_every_text_reads_back_and_none_begins_a_formula(text: str):
    assert unescaped(escaped(text)) == text
    assert not escaped(text).startswith(FORMULA_STARTS)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=4))
def test_no_cell_of_a_table_begins_a_formula(values: list[str]):
    names = [f"c{n}" for n in range(len(values))]
    text = csv_text(names, [dict(zip(names, values, strict=True))])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert [unescaped(cell) for cell in rows[1]] == values
    assert not any(cell.startswith(FORMULA_STARTS) for cell in rows[1])
