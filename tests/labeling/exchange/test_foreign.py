"""Plain tables of labels: taken in whole, or refused with the line that is wrong and nothing taken in."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from labeling.database import integrity, schema
from labeling.database.connection import Database
from labeling.database.transaction import PROGRAM, now
from labeling.exchange import foreign
from labeling.exchange.merge import merge
from sae.errors import UserError
from tests.labeling.desk import SAE, Desk, plan

NAME = f"{SAE.hook_point}/{SAE.sae_id}"
GOOD = f"feature,rater,label\n{NAME}/0,anna,disease\n{NAME}/0,bert,drug\n{NAME}/1,anna,cannot_judge\n"


@pytest.fixture
def desk(tmp_path: Path):
    with Database.open(tmp_path / "labels.db", create=True) as database:
        found = Desk.of(database, n_raters=2)
        found.open_round(plan(3))
        yield found


def taken(desk: Desk, path: Path, text: str | bytes, institution: str | None = "Elsewhere") -> dict:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with desk.database.write() as conn:
        export = foreign.read(conn, path, desk.project_id, institution, now(conn))
        return merge(conn, export, PROGRAM, now(conn), desk.project_id)


def n_judgements(desk: Desk) -> int:
    with desk.database.read() as conn:
        return conn.execute(select(func.count()).select_from(schema.judgement)).scalar_one()


def test_a_table_comes_in_as_a_closed_round_that_no_headline_counts(desk: Desk, tmp_path: Path):
    assert taken(desk, tmp_path / "labels.csv", GOOD)["new"]["judgement"] == 3
    with desk.database.read() as conn:
        rows = conn.execute(select(schema.round_.c.state, schema.item.c.stratum).join(schema.item)).all()
        people = conn.execute(select(schema.user.c.login).where(schema.user.c.status == "foreign")).scalars().all()
        assert integrity.verify(conn) == []
    assert ("closed", "single") in rows
    assert len(people) == 2
    assert not {"anna", "bert"} & set(people)
    assert taken(desk, tmp_path / "labels.csv", GOOD)["is_known"]


def test_json_lines_say_the_same(desk: Desk, tmp_path: Path):
    text = f'{{"feature": "{NAME}/0", "rater": "anna", "label": "disease", "institution": "North"}}\n'
    assert taken(desk, tmp_path / "labels.jsonl", text, None)["new"]["judgement"] == 1


def test_a_rationale_too_long_is_refused_and_rounds_are_counted_on(desk: Desk, tmp_path: Path):
    head, line = "feature,rater,label,rationale\n", f"{NAME}/0,anna,disease,"
    with pytest.raises(UserError, match=r"line 2: 5000 characters in rationale, of which \d+ may be kept"):
        taken(desk, tmp_path / "long.csv", head + line + "x" * 5000 + "\n")
    taken(desk, tmp_path / "short.csv", head + line + " because \n")
    with desk.database.read() as conn:
        body = conn.execute(select(schema.judgement.c.body)).scalar_one()
        assert sorted(conn.execute(select(schema.round_.c.n)).scalars()) == [1, 2]
    assert '"text":"because"' in body


HOSTILE = {
    "empty": (b"", "line 1 has"),
    "no label": (b"feature,rater\n", "line 1 has 2 columns"),
    "a stranger's table": (b"name,age\nx,3\n", "line 1 has an unknown column"),
    "a column twice": (b"feature,rater,label,label\n", "a column twice"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00", "is not UTF-8"),
    "nul": (b"feature,rater,label\n\x00,a,b\n", "NUL characters"),
    "an open quote": (f'feature,rater,label\n"{NAME}/0,anna,disease\n'.encode(), "cells that do not end"),
    "a cell too few": (f"feature,rater,label\n{NAME}/0,anna\n".encode(), "line 2 has 2 cells"),
    "an unknown category": (GOOD.encode() + f"{NAME}/2,anna,weather\n".encode(), "line 5: an answer that is none"),
    "an unknown feature": (GOOD.encode() + f"{NAME}/77,anna,drug\n".encode(), "line 5: a feature that the project"),
    "no feature at all": (GOOD.encode() + b"banana,anna,drug\n", "line 5: a feature that is not written"),
    "no rater": (GOOD.encode() + f"{NAME}/2,,drug\n".encode(), "line 5: no rater"),
    "twice": (GOOD.encode() + f"{NAME}/0,anna,drug\n".encode(), "line 5: the rater of line 2 again"),
    "broken json": (b'{"feature": 1\n', "line 1 is no JSON object"),
    "nan": (b'{"feature": NaN, "rater": "a", "label": "b"}\n', "line 1 is no JSON object"),
    "deep": (b'{"a":' * 100_000, "line 1 is no JSON object"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_its_line_and_nothing_is_taken_in(desk: Desk, tmp_path: Path, name: str):
    text, said = HOSTILE[name]
    with pytest.raises(UserError, match=said):
        taken(desk, tmp_path / "labels.csv", text)
    assert n_judgements(desk) == 0


def test_an_error_names_lines_and_never_what_they_hold(desk: Desk, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        taken(desk, tmp_path / "labels.csv", GOOD + f"{NAME}/2,Dr Secret,Mrs Doe has cancer\n")
    assert "Secret" not in str(caught.value)
    assert "Doe" not in str(caught.value)


def test_raters_without_an_institution_are_refused(desk: Desk, tmp_path: Path):
    with pytest.raises(UserError, match="no institution; add the column, or --institution"):
        taken(desk, tmp_path / "labels.csv", GOOD, None)


def test_an_institution_is_one_however_its_name_is_spaced_and_encoded(desk: Desk, tmp_path: Path):
    rows = f"{NAME}/0,anna,drug,Zürich \n{NAME}/1,anna,drug, Zu\u0308rich\n{NAME}/2,anna,drug,\n"
    taken(desk, tmp_path / "labels.csv", "feature,rater,label,institution\n" + rows, " Zürich")
    with desk.database.read() as conn:
        houses = conn.execute(select(schema.institution.c.name).order_by(schema.institution.c.id)).scalars().all()
        people = conn.execute(select(schema.user.c.login).where(schema.user.c.status == "foreign")).scalars().all()
    assert houses == ["General Hospital", "Zürich"]
    assert len(people) == 1
