"""Every single-row change behind the program's back is found; a cut-off end is found beside a checkpoint."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import select

from labeling.database import accounts, checkpoints, integrity, schema, signatures
from labeling.database.connection import Database
from labeling.database.transaction import now
from sae.errors import UserError
from tests.labeling.desk import Desk, plan

ATTACKS = {
    "edit of an event": "UPDATE audit_event SET actor_id = 'x' WHERE project_id = :p AND seq = 5",
    "edit of a detail": "UPDATE audit_event SET detail = '{}' WHERE project_id = :p AND seq = 4",
    "deletion of an event": "DELETE FROM audit_event WHERE project_id = :p AND seq = 5",
    "insertion of an event": "INSERT INTO audit_event SELECT project_id, 99, at, actor_id, session_sha256, action, object, "
    "before_sha256, after_sha256, detail, previous, hash FROM audit_event WHERE project_id = :p AND seq = 5",
    "reorder of two events": "UPDATE audit_event SET seq = CASE seq WHEN 5 THEN -6 ELSE -5 END "
    "WHERE project_id = :p AND seq IN (5, 6); UPDATE audit_event SET seq = -seq WHERE seq < 0",
    "edit of a judgement": "UPDATE judgement SET body = replace(body, 'disease', 'drug') WHERE rowid = 1",
    "edit of a time": "UPDATE judgement SET active_ms = 5 WHERE rowid = 1",
    "deletion of a judgement": "DELETE FROM judgement_label; DELETE FROM judgement WHERE rowid = 1",
    "insertion of a judgement": "INSERT INTO judgement SELECT 'new', assignment_id, 9, codebook_version_id, snapshot_sha256, "
    "body, body_sha256, 0, 0, 0, 0, submitted_at, 'other' FROM judgement WHERE rowid = 1",
    "edit of a label": "UPDATE judgement_label SET value = 'drug' WHERE rowid = 1",
    "edit of evidence": "UPDATE evidence_snapshot SET body = replace(body, 'heart', 'liver') WHERE rowid = 1",
    "edit of a codebook": "UPDATE codebook_version SET body = replace(body, 'Small', 'Large')",
    "another rater": "UPDATE assignment SET rater_id = (SELECT id FROM user_account WHERE login = 'rater.4') WHERE rowid = 1",
    "another item": "UPDATE assignment SET item_id = (SELECT id FROM item WHERE NOT EXISTS "
    "(SELECT * FROM assignment WHERE item_id = item.id)) WHERE rowid = 1",
    "another stratum": "UPDATE item SET stratum = 'single' WHERE stratum = 'irr_fixed'",
    "another stratum, there and where it was given": "UPDATE item SET stratum = 'single' WHERE stratum = 'gold'; "
    "UPDATE assignment SET stratum = 'single' WHERE stratum = 'gold'",
    "other evidence": "UPDATE item SET snapshot_sha256 = (SELECT snapshot_sha256 FROM item WHERE rowid = 2) WHERE rowid = 1",
    "an item taken away": "DELETE FROM item WHERE NOT EXISTS (SELECT * FROM assignment WHERE item_id = item.id)",
    "another signer's name": "UPDATE signature SET printed_name = 'Dr Other'",
    "another meaning of a signature": "UPDATE signature SET meaning = 'approved'",
    "deletion of a signature": "DELETE FROM signature",
    "insertion of a signature": "INSERT INTO signature SELECT 'new', project_id, user_id, printed_name, meaning, object, "
    "record_sha256, auth_method, signed_at, voided_at, void_reason FROM signature",
    "edit of known answers": 'UPDATE gold SET body = \'{"category":"format"}\' WHERE rowid = 1',
}


@pytest.fixture
def worked(sqlite: Path) -> tuple[Path, str]:
    """A closed database with a few judgements."""
    with Database.open(sqlite) as database:
        desk = Desk.of(database)
        opened = desk.open_round(plan(2, "gold", 4, gold={"category": "drug"}) + plan(3, first=10))
        done = [desk.submit(desk.next(rater, opened.id)) for rater in desk.raters][-1]
        with database.write() as conn:
            proof = accounts.Proof(desk.raters[-1].user_id or "", "password", now(conn))
            signatures.sign(conn, desk.raters[-1], desk.project_id, f"judgement:{done.judgement_id}", "rated", proof)
        with database.read() as conn:
            assert integrity.verify(conn) == []
        return sqlite, desk.project_id


def attack(path: Path, statements: str, project_id: str) -> None:
    """What somebody with the file can do."""
    conn = sqlite3.connect(path, isolation_level=None)
    for (trigger,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        conn.execute(f"DROP TRIGGER {trigger}")
    for statement in statements.split(";"):
        conn.execute(statement.replace(":p", f"'{project_id}'"))
    conn.close()


@pytest.mark.parametrize("kind", ATTACKS)
def test_finds_every(kind: str, worked: tuple[Path, str]):
    path, project_id = worked
    attack(path, ATTACKS[kind], project_id)
    with Database.open(path) as database, database.read() as conn:
        assert integrity.verify(conn)


def test_every_event_is_guarded_field_by_field(worked: tuple[Path, str]):
    path, project_id = worked
    for seq, column in enumerate(
        ("at", "action", "object", "after_sha256", "previous", "hash", "before_sha256"), start=2
    ):
        change = f"UPDATE audit_event SET {column} = 'x' || coalesce({column}, '')"  # noqa: S608
        change += f" WHERE project_id = :p AND seq = {seq}"
        attack(path, change, project_id)
        with Database.open(path) as database, database.read() as conn:
            assert any(problem.place == f"event {seq}" for problem in integrity.verify(conn, project_id))


def test_a_cut_off_end_is_found_beside_a_checkpoint(worked: tuple[Path, str], tmp_path: Path):
    path, project_id = worked
    key, marks = tmp_path / "key", tmp_path / "marks.jsonl"
    public = checkpoints.new_key(key)
    with Database.open(path) as database:
        with database.write() as conn:
            checkpoints.write(conn, marks, key)
        with database.read() as conn:
            assert integrity.verify(conn, checkpoint_file=marks, key_file=public) == []
    last = "(SELECT max(seq) - 1 FROM audit_event WHERE project_id = :p)"
    attack(path, f"DELETE FROM audit_event WHERE project_id = :p AND seq >= {last}", project_id)  # noqa: S608
    with Database.open(path) as database, database.read() as conn:
        assert integrity.verify(conn, project_id) == []
        found = integrity.verify(conn, project_id, checkpoint_file=marks, key_file=public)
    assert ["The chain ends at" in problem.sentence for problem in found] == [True]


def test_a_checkpoint_of_another_key_is_refused(worked: tuple[Path, str], tmp_path: Path):
    path, _ = worked
    checkpoints.new_key(tmp_path / "key")
    other = checkpoints.new_key(tmp_path / "other")
    with Database.open(path) as database:
        with database.write() as conn:
            checkpoints.write(conn, tmp_path / "marks.jsonl", tmp_path / "key")
        with pytest.raises(UserError, match="another key"):
            checkpoints.read(tmp_path / "marks.jsonl", other)


def test_a_voided_signature_and_a_disputed_item_with_more_slots_are_no_problem(sqlite: Path):
    with Database.open(sqlite) as database:
        desk = Desk.of(database, n_raters=6)
        opened = desk.open_round(plan(3, slots=3))
        said = zip(desk.raters, ("disease", "drug", "format", "disease", "drug"), strict=False)
        done = [desk.submit(desk.next(rater, opened.id), answer) for rater, answer in said for _ in range(2)][-1]
        with database.write() as conn:
            proof = accounts.Proof(desk.raters[4].user_id or "", "password", now(conn))
            name = f"judgement:{done.judgement_id}"
            signatures.sign(conn, desk.raters[4], desk.project_id, name, "rated", proof)
            signatures.void(conn, desk.raters[4], desk.project_id, name, "revised")
        with database.read() as conn:
            assert conn.execute(select(schema.item.c.n_extra).where(schema.item.c.n_extra > 0)).first()
            assert integrity.verify(conn) == []
