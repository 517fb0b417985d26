"""A backup of either database restores into either, verified; a damaged or foreign one is refused."""

from pathlib import Path

import pytest
from sqlalchemy import func, select

from labeling.database import schema
from labeling.database.backup import backup, drill, restore
from labeling.database.connection import Database
from sae.errors import UserError
from tests.labeling.desk import Desk, plan


def fill(desk: Desk) -> None:
    opened = desk.open_round(plan(3))
    for rater in desk.raters:
        desk.submit(desk.next(rater, opened.id))


def test_restores_every_row_and_verifies(desk: Desk, tmp_path: Path):
    fill(desk)
    made = backup(desk.database, tmp_path / "b.gz")
    restored = restore(made.path, tmp_path / "restored.db")
    assert restored.n_rows == made.n_rows
    assert made.n_rows["judgement"] == 4
    assert restored.problems == []


def test_a_file_restores_into_postgresql(sqlite: Path, postgresql: str, tmp_path: Path):
    with Database.open(sqlite) as database:
        fill(Desk.of(database))
        made = backup(database, tmp_path / "b.gz")
    assert restore(made.path, postgresql).problems == []
    with Database.open(postgresql) as database, database.read() as conn:
        assert conn.execute(select(func.count()).select_from(schema.judgement)).scalar_one() == 4


def test_an_encrypted_one_needs_its_passphrase(sqlite: Path, tmp_path: Path):
    with Database.open(sqlite) as database:
        fill(Desk.of(database))
        made = backup(database, tmp_path / "b.enc", passphrase="four unrelated words here")
    assert b"judgement" not in made.path.read_bytes()
    for wrong in (None, "four unrelated words there"):
        with pytest.raises(UserError):
            restore(made.path, tmp_path / "no.db", passphrase=wrong)
    assert restore(made.path, tmp_path / "yes.db", passphrase="four unrelated words here").problems == []


def test_a_cut_off_or_changed_one_is_refused_before_anything_is_made(sqlite: Path, tmp_path: Path):
    with Database.open(sqlite) as database:
        fill(Desk.of(database))
        whole = backup(database, tmp_path / "b.gz").path.read_bytes()
    changed = whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]
    for name, data in (("cut", whole[:-40]), ("changed", changed), ("text", b"hello")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError):
            restore(tmp_path / name, tmp_path / f"{name}.db")
        assert not (tmp_path / f"{name}.db").exists()


def test_a_restore_never_overwrites(sqlite: Path, tmp_path: Path):
    with Database.open(sqlite) as database:
        made = backup(database, tmp_path / "b.gz")
        with pytest.raises(UserError, match="exists"):
            restore(made.path, sqlite)
        assert drill(database).problems == []
