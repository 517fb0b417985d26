"""Judgements at the command line, and in reports, exports and doctor."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from clinlens import feature_labels, model_card
from clinlens.__main__ import cli
from clinlens.doctor import examine_labels
from labeling.database import rounds
from labeling.database.connection import Database
from labeling.database.transaction import PROGRAM
from sae.errors import UserError
from tests.labeling.desk import SAE, Desk, plan


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with a database: four items of a closed round, one of an open one."""
    folder = tmp_path / "run"
    folder.mkdir()
    with Database.open(folder / "clinlens.db", create=True) as database:
        desk = Desk.of(database, n_raters=3)
        closed = desk.open_round(plan(4)).id
        for number, rater in enumerate(desk.raters):
            for place in range(4):
                desk.submit(desk.next(rater, closed), "disease" if number < 2 or place % 2 else "drug")
        with database.write() as conn:
            rounds.close_round(conn, desk.lead, closed)
        still_open = desk.open_round(plan(1, first=9)).id
        desk.submit(desk.next(desk.raters[0], still_open), "format")
    return folder


def called(*arguments: object) -> dict:
    done = CliRunner().invoke(cli, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def test_labels_go_out_and_come_in_elsewhere(run: Path, tmp_path: Path):
    found = called("labels", "export", run, "--to", tmp_path / "out", "--for", "cleanlab", "--for", "neuronpedia")
    assert found["n_judgements"] == 13
    new = called("labels", "import", tmp_path / "other.db", tmp_path / "out")["new"]
    assert new["judgement"] == 13
    assert called("labels", "import", tmp_path / "other.db", tmp_path / "out")["is_known"]
    explanations = json.loads((tmp_path / "out/neuronpedia-explanations.json").read_text())
    assert {"modelId", "layer", "index", "description", "typeName", "authorId"} <= set(explanations[0])
    assert explanations[0]["layer"] == f"2-{SAE.sae_id}"


def test_a_database_can_be_merged_without_an_export(run: Path, tmp_path: Path):
    assert called("labels", "merge", tmp_path / "both.db", run)["new"]["judgement"] == 13
    assert called("labels", "verify", tmp_path / "both.db")["is_intact"]


def test_a_merged_database_without_evidence_is_intact(run: Path, tmp_path: Path):
    called("labels", "export", run, "--to", tmp_path / "out")
    called("labels", "import", tmp_path / "other.db", tmp_path / "out")
    assert called("labels", "verify", tmp_path / "other.db") == {
        "n_events": called("labels", "verify", tmp_path / "other.db")["n_events"],
        "is_intact": True, "n_problems": 0, "checks": [],
    }  # fmt: skip


def test_backups_are_restored_and_verified(run: Path, tmp_path: Path):
    called("labels", "backup", run, "--to", tmp_path / "labels.backup")
    assert called("labels", "restore", tmp_path / "labels.backup", "--to", tmp_path / "again.db")["is_intact"]
    assert called("agreement", tmp_path / "again.db", "--bootstraps", 100)["flow"]["n_judgements"] == 13


def test_what_was_changed_ends_with_an_error_code(run: Path, tmp_path: Path):
    import sqlite3

    called("labels", "checkpoint", run, "--to", tmp_path / "proofs", "--key", tmp_path / "key")
    with sqlite3.connect(run / "clinlens.db") as conn:
        names = [row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for name in names:
            conn.execute(f'DROP TRIGGER "{name}"')
        conn.execute(
            """UPDATE judgement SET body = '{"category":"format"}' WHERE id = (SELECT min(id) FROM judgement)"""
        )
    conn.close()
    done = CliRunner().invoke(cli, ["labels", "verify", str(run)])
    assert done.exit_code == 1
    assert "The row was changed" in done.output


def test_the_report_of_a_run_is_written_twice_with_the_same_bytes(run: Path, tmp_path: Path):
    for name in ("one", "two"):
        found = called("agreement", run, "--report", tmp_path / f"{name}.html", "--bootstraps", 100)
    assert found["flow"]["n_counted"] == 13
    for suffix in ("html", "json"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_a_table_of_ratings_still_gets_its_own_agreement(tmp_path: Path):
    (tmp_path / "t.csv").write_text("item,a,b\n1,x,x\n2,y,x\n3,x,y\n")
    assert called("agreement", tmp_path / "t.csv", "--bootstraps", 100)["n_items"] == 3
    with pytest.raises(UserError, match="given with a table of ratings"):
        CliRunner().invoke(
            cli,
            ["agreement", str(tmp_path / "t.csv"), "--report", "x.html"],
            catch_exceptions=False,
            standalone_mode=False,
        )


def test_labels_of_open_rounds_are_kept_back(run: Path):
    found = feature_labels.labels_of_run(run)
    assert sorted(key[2] for key in found) == [0, 1, 2, 3]
    records = feature_labels.records(run, [(SAE.hook_point, SAE.sae_id)])
    assert {record["leading"] for record in records} == {"disease"}
    assert all(record["n_raters"] == 3 for record in records)
    assert "R-" not in json.dumps(records)
    assert "rater." not in json.dumps(records)


def test_a_feature_asked_about_again_is_kept_back_again(run: Path):
    with Database.open(run / "clinlens.db") as database:
        from sqlalchemy import select

        from labeling.database import schema

        with database.read() as conn:
            version = conn.execute(select(schema.codebook_version.c.id)).scalar_one()
            raters = list(
                conn.execute(select(schema.role_grant.c.user_id).where(schema.role_grant.c.role == "rater")).scalars()
            )
            project_id = conn.execute(select(schema.project.c.id)).scalar_one()
        with database.write() as conn:
            rounds.open_round(
                conn, PROGRAM, project_id, kind="main", title="Again", codebook_version_id=version, items=plan(1),
                rater_ids=raters,
            )  # fmt: skip
    assert sorted(key[2] for key in feature_labels.labels_of_run(run)) == [1, 2, 3]


def test_a_run_without_a_database_has_no_labels(tmp_path: Path):
    assert feature_labels.labels_of_run(tmp_path) == {}
    assert examine_labels(tmp_path) == []
    assert model_card.labels(0) == []


def test_doctor_tells_of_the_database(run: Path):
    (line,) = examine_labels(run)
    assert re.fullmatch(
        r"labels: version \d{4}, 1 projects, [5-9] items, 13 judgements, audit intact", line
    )  # retests come


def test_a_database_that_is_not_there_is_a_clear_error(tmp_path: Path):
    for verb in (["labels", "verify", tmp_path / "no.db"], ["agreement", tmp_path / "no.db"]):
        with pytest.raises(UserError, match="does not exist, expected a database of judgements"):
            CliRunner().invoke(cli, [*map(str, verb)], catch_exceptions=False, standalone_mode=False)
