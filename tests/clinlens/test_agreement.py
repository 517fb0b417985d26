"""`clinlens agreement` on a table: from the file to one JSON object, and mistakes in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from clinlens.__main__ import main

# Krippendorff 2011, example C
TABLE = """item,A,B,C,D
1,1,1,,1
2,2,2,3,2
3,3,3,3,3
4,3,3,3,3
5,2,2,2,2
6,1,2,3,4
7,4,4,4,4
8,1,1,2,1
9,2,2,2,2
10,,5,5,5
11,,,1,1
12,,3,,
"""


def asked(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    main(["agreement", *arguments, "--bootstraps", "200", "--json"])
    return json.loads(capsys.readouterr().out.splitlines()[-1], parse_constant=pytest.fail)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["agreement", *arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TABLE, encoding="utf-8-sig")
    return path


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743421), ("ordinal", 0.815388), ("interval", 0.849107), ("ratio", 0.797403)]
)
def test_krippendorffs_example_on_every_level(
    table: Path, capsys: pytest.CaptureFixture[str], level: str, alpha: float
):
    found = asked(capsys, str(table), "--level", level, "--categories", "1,2,3,4,5")
    one = found["coefficients"][f"alpha_{level}"]
    assert one["value"] == pytest.approx(alpha, abs=1e-6)
    assert one["low"] < one["value"] < one["high"]
    assert (one["n_items"], one["n_raters"], one["n_ratings"], one["is_reliable"]) == (11, 4, 40, False)
    assert (found["n_items"], found["seed"], found["raters"]) == (12, 0, ["A", "B", "C", "D"])
    assert len(found["source"]["sha256"]) == 64
    assert found["coefficients"]["ac1"]["value"] == pytest.approx(0.775444, abs=1e-6)


def test_without_categories_ac1_is_undefined_and_alpha_is_not(table: Path, capsys: pytest.CaptureFixture[str]):
    found = asked(capsys, str(table))
    assert found["coefficients"]["alpha_nominal"]["value"] == pytest.approx(0.743421, abs=1e-6)
    assert found["coefficients"]["ac1"]["value"] is None
    assert "name them" in found["coefficients"]["ac1"]["reason"]
    assert found["n_categories"] is None


def test_sets_of_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "sets.csv"
    path.write_text("id,r1,r2\nx,a;b,a\ny,-,-\nz,c,b|c\nw,{},a\n")
    found = asked(capsys, str(path), "--level", "set", "--seed", "7")
    assert found["seed"] == 7
    assert found["coefficients"]["percent_exact"]["value"] == 0.25
    assert [one["label"] for one in found["labels"]] == ["a", "b", "c"]


def test_the_table_of_figures_says_what_is_unreliable(table: Path, capsys: pytest.CaptureFixture[str]):
    main(["agreement", str(table), "--level", "ordinal", "--categories", "1,2,3,4,5", "--bootstraps", "100"])
    text = capsys.readouterr().out
    assert "12 items, 4 raters, 41 ratings; level ordinal, 5 categories" in text
    assert "interval unreliable" in text
    assert "95 % intervals from 100 resamples of the items, seed 0." in text


def test_mistakes_are_one_sentence(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "clinlens.db does not exist, expected a database of judgements" in refused(capsys, str(tmp_path))
    assert "does not exist, expected a CSV table" in refused(capsys, str(tmp_path / "none.csv"))
    assert "Line 6, column" not in refused(capsys, str(table), "--categories", "1")
    assert "Line 11, column 'B' holds '5'" in refused(capsys, str(table), "--categories", "1,2,3,4")
    latin = tmp_path / "latin.csv"
    latin.write_bytes("item,a,b\nx,fiévre,non\n".encode("latin-1"))
    assert "latin.csv is no UTF-8 text" in refused(capsys, str(latin))
    latin.write_bytes("item,a,b\nx,1,2\n".encode("utf-16"))
    assert "latin.csv is no UTF-8 text" in refused(capsys, str(latin))
