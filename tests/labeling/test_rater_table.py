"""Tables as spreadsheets write them: separators, item columns, blanks, and what is refused in one sentence."""

import numpy as np
import pytest

from labeling.rater_table import parse, ratings_of, scale_of, sets_of
from sae.errors import UserError

NAN = np.nan


def read(text: str, level="nominal", names=None, items=None) -> np.ndarray:
    table = parse(text, level, names, items)
    return ratings_of(table, scale_of(table, level, names))


def equal(found: np.ndarray, expected: list[list[float]]) -> bool:
    return np.array_equal(found, np.asarray(expected, float), equal_nan=True)


YES_NO = ["no", "yes"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_header_tells_the_separator(separator: str, end: str):
    text = end.join(separator.join(row) for row in (["item", "ann", "bo"], ["x", "yes", ""], ["y", "no", "yes"])) + end
    table = parse(text, "nominal", YES_NO)
    assert (table.items, table.raters) == (("x", "y"), ("ann", "bo"))
    assert equal(read(text, names=YES_NO), [[1, NAN], [0, 1]])


@pytest.mark.parametrize("header", ["item", "ID", "", "#", "feature_id"])
def test_a_first_column_with_an_items_name_names_the_items(header: str):
    assert parse(f"{header},a,b\n1,1,2\n2,2,2\n", "nominal", ["1", "2"]).raters == ("a", "b")


def test_a_first_column_that_cannot_be_ratings_names_the_items():
    assert parse("who,a,b\nx,yes,no\ny,no,no\n", "nominal", YES_NO).raters == ("a", "b")
    assert parse("who,a,b\nx,yes,no\ny,no,no\n", "nominal").raters == ("a", "b")
    assert parse("who,a,b\nx,1.5,2\ny,2,2\n", "interval").raters == ("a", "b")
    assert parse("who,a,b\nx,p|q,-\ny,q,q\n", "set").raters == ("a", "b")


def test_a_first_column_that_could_be_ratings_is_a_rater():
    assert parse("who,a,b\nyes,yes,no\nno,no,no\n", "nominal", YES_NO).raters == ("who", "a", "b")
    assert parse("who,a,b\nx,x,y\ny,y,y\n", "nominal").raters == ("who", "a", "b")
    assert parse("who,a,b\nx,yes,no\nx,no,no\n", "nominal").raters == ("who", "a", "b")
    assert parse("who,a,b\n1,1.5,2\n2,2,2\n", "interval").raters == ("who", "a", "b")
    assert parse("who,a,b\np,p|q,-\nq,q,q\n", "set").raters == ("who", "a", "b")


def test_items_decides_otherwise():
    text = "a,name,b\nyes,x,no\nno,y,no\n"
    assert parse(text, "nominal", YES_NO, "name").raters == ("a", "b")
    assert parse("id,b\nyes,no\n", "nominal", YES_NO, "-").raters == ("id", "b")
    with pytest.raises(UserError, match="no column of the name given with --items"):
        parse(text, "nominal", YES_NO, "item")


def test_categories_that_are_numbers_are_matched_by_value():
    """pandas writes 1 as 1.0 in a column with blanks."""
    text = "item,a,b\nx,1.0,3\ny,,2.0\n"
    assert equal(read(text, names=["1", "2", "3"]), [[0, 2], [NAN, 1]])
    assert equal(read(text), [[0, 2], [NAN, 1]])
    assert equal(read("a;b\n1,5;2\n2;2\n", "interval"), [[1.5, 2], [2, 2]])


def test_ranks_follow_the_codebook_and_levels_nobody_used_keep_theirs():
    text = "item,a,b\nx,mid,low\ny,low,low\n"
    assert equal(read(text, "ordinal", ["low", "mid", "high"]), [[1, 0], [0, 0]])
    with pytest.raises(UserError, match="2 different answers and nobody said their order"):
        read(text, "ordinal")
    assert equal(read("item,a,b\nx,10,9\ny,2,9\n", "ordinal"), [[2, 1], [0, 1]])


def test_without_categories_nothing_rests_on_their_number():
    table = parse("item,a,b\nx,yes,no\ny,no,no\n", "nominal")
    scale = scale_of(table, "nominal", None)
    assert (scale.names, scale.is_whole) == (("no", "yes"), False)


def test_only_blanks_are_missing():
    with pytest.raises(UserError, match="Line 2, column 'b' holds 'NA', expected 'no', 'yes' or a blank"):
        read("item,a,b\nx,yes,NA\n", names=YES_NO)
    with pytest.raises(UserError, match="Line 2, column 'b' is no finite number"):
        read("item,a,b\nx,1,nan\n", "interval")


def test_sets_hold_labels_and_the_empty_set_is_an_answer():
    table = parse("item,a,b\nx,p;q,q|p\ny,-,{}\nz,,q\n", "set")
    sets = sets_of(table, None)
    assert sets.labels == ("p", "q")
    assert sets.is_answered.tolist() == [[True, True], [True, True], [False, True]]
    assert sets.has_label[0].all()
    assert not sets.has_label[1].any()
    assert sets_of(parse("item;a;b\nx;p|q;q\n", "set"), ["p", "q", "r"]).has_label[0].tolist() == [
        [True, True, False],
        [False, True, False],
    ]
    with pytest.raises(UserError, match="Line 2, column 'a' holds the label 'p', expected 'q', - for none"):
        sets_of(table, ["q"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "The table is empty"),
        ("\n \n", "The table is empty"),
        ("item,a,b\n", "a header and no rows"),
        ("item,a\nx,yes\n", "1 rater column, expected two or more"),
        ("a\nyes\n", "1 rater column, expected two or more"),
        ("item,a,a\nx,yes,no\n", "names 1 different raters for 2 columns"),
        ("item,a,\nx,yes,no\n", "names 1 different raters for 2 columns"),
        ("item,a,b\nx,yes\n", "Line 2 has 2 cells, expected 3"),
        ("item,a,b\nx,yes,no\ny,no,no,yes\n", "Line 3 has 4 cells, expected 3"),
        ("item,a,b\nx,yes,no\nx,no,no\n", "Lines 2 and 3 name the same item"),
        ('item,a,b\nx,"yes,no\n', "The table is no CSV"),
    ],
)
def test_a_bad_table_is_one_sentence(text: str, message: str):
    with pytest.raises(UserError, match=message):
        parse(text, "nominal", YES_NO)


def test_empty_columns_and_rows_of_a_spreadsheet_are_nothing():
    text = "item,a,b,,\nx,yes,no,,\n,,,,\ny,no,no,,\n"
    assert equal(read(text, names=YES_NO), [[1, 0], [0, 0]])


def test_a_long_cell_is_never_quoted():
    secret = "Mr Smith was seen with chest pain on Monday"
    with pytest.raises(UserError) as caught:
        read(f"item,a,b\nx,yes,{secret}\n", names=YES_NO)
    assert "Smith" not in str(caught.value)
    assert f"{len(secret)} characters" in str(caught.value)
    table = parse(f"item,a,b\nx,yes,{secret} and was sent home\n", "nominal")
    assert scale_of(table, "nominal", None).name(0) == "answer 1"


@pytest.mark.parametrize(
    ("text", "level", "names", "message"),
    [
        ("item,a,b\nx,1,yes\n", "interval", None, "Line 2, column 'b' is no finite number"),
        ("item,a,b\nx,1,6\n", "interval", ["1", "2", "3"], "column 'b' holds 6, expected one of '1', '2', '3'"),
        ("item,a,b\nx,1,-6\n", "ratio", None, "no number below 0 on a ratio scale"),
        ("item,a,b\nx,1,2\n", "interval", ["one", "two"], "holds a name, expected numbers"),
    ],
)
def test_numbers_off_the_scale_are_refused(text: str, level, names, message: str):
    with pytest.raises(UserError, match=message):
        read(text, level, names)
