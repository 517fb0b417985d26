"""The demonstration has something on every page, and says that it is simulated."""

from pathlib import Path

import pytest

from labeling import demo
from labeling.database import detection, integrity, judgements, rounds
from labeling.database.connection import Database
from labeling.database.transaction import PROGRAM
from sae.errors import UserError
from tests.labeling import run_folder


def test_fills_a_database_from_a_run(tmp_path: Path):
    made = demo.create(tmp_path / "demo.db", run_folder.write(tmp_path / "run"))
    assert {one.role for one in made.invitations} == {"lead", "rater", "senior", "analyst"}
    with Database.open(tmp_path / "demo.db") as database:
        with database.read() as conn:
            assert integrity.verify(conn) == []
            overview = rounds.round_overview(conn, made.round_id)
            table = judgements.judgement_table(conn, made.project_id)
            labels = judgements.labels_of_features(conn, made.project_id)
        assert 0 < overview.n_judged < overview.n_slots
        assert len({row.institution for row in table.rows}) == 2
        assert all("Simulated" in row.rationale for row in table.rows)
        assert {row.stratum for row in table.rows} >= {"calibration", "irr_fixed", "retest"}
        assert len(labels) > 20
        rater = next(gate.user_id for gate in overview.raters if gate.n_submitted == 0)
        with database.write() as conn:
            opened = detection.open_detection(
                conn,
                PROGRAM,
                made.project_id,
                codebook_version_id=overview.round.codebook_version_id,
                rater_ids=[rater],
            )
            assert rounds.round_overview(conn, opened.id).n_items == len(labels)


def test_says_what_to_do_without_a_run(tmp_path: Path):
    with pytest.raises(UserError, match="make run"):
        demo.create(tmp_path / "demo.db", tmp_path)
