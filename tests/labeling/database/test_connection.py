"""Opening: older ones migrate after a backup, newer and foreign ones are refused; full disks and jumping clocks are said."""

import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select

from clinlens import serve
from labeling.database import connection, dump, integrity, migration, migrations, schema, sqlite_file
from labeling.database.clock import Clock
from labeling.database.connection import Database
from labeling.database.migrations import HEAD
from sae.errors import UserError
from tests.labeling.desk import Desk, Wall, plan

ROOT = Path(__file__).resolve().parents[3]


def test_the_migrations_end_in_the_tables_of_the_code(database: Database):
    with database.engine.connect() as conn:
        found = compare_metadata(MigrationContext.configure(conn), schema.metadata)
    assert [
        one for one in found if not (database.dialect == "sqlite" and one[0] in ("add_index", "remove_index"))
    ] == []


def test_an_absent_file_is_refused_unless_it_is_to_be_made(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        Database.open(tmp_path / "none.db")


def test_a_newer_one_and_a_strangers_are_refused(sqlite: Path, tmp_path: Path):
    with Database.open(sqlite) as database, database.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UserError, match="newer ClinLens"):
        Database.open(sqlite)
    import sqlite3

    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(UserError, match="not ours"):
        Database.open(tmp_path / "other.db", create=True)
    (tmp_path / "text.db").write_text(
        "no database at all, but a text that is long enough to be read as a header of one " * 10
    )
    with pytest.raises(UserError, match="damaged or no SQLite"):
        Database.open(tmp_path / "text.db")


def test_the_backup_before_a_migration_is_the_whole_database(database: Database, tmp_path: Path, monkeypatch):
    Desk.of(database)
    monkeypatch.chdir(tmp_path)
    copy = dump.dump(database, "0001")
    if database.dialect == "postgresql":
        assert "Rater 0" in copy.read_text()
    else:
        with Database.open(copy) as found, found.read() as conn:
            assert len(conn.execute(select(schema.user)).all()) == 5


NEXT = """from alembic import op
revision, down_revision = "9999", "HEAD"
def upgrade():
    op.execute("ALTER TABLE round ADD COLUMN colour TEXT DEFAULT 'none'")
"""


def test_an_older_database_is_migrated_after_a_backup_and_keeps_every_judgement(sqlite: Path, monkeypatch):
    with Database.open(sqlite) as database:
        desk = Desk.of(database)
        desk.submit(desk.next(desk.raters[0], desk.open_round(plan(1)).id))
    newer = sqlite.parent / "newer"
    shutil.copytree(Path(migrations.__file__).parent, newer, ignore=shutil.ignore_patterns("__pycache__"))
    (newer / "versions" / "9999_next.py").write_text(NEXT.replace("HEAD", HEAD))
    monkeypatch.setattr(migrations, "__file__", str(newer / "__init__.py"))
    for module in (migrations, connection):
        monkeypatch.setattr(module, "HEAD", "9999")
    with Database.open(sqlite) as database, database.read() as conn:
        assert database.version() == "9999"
        assert conn.exec_driver_sql("SELECT colour FROM round").scalar() == "none"
        assert conn.execute(select(schema.judgement)).one()
        assert integrity.verify(conn) == []
    (kept,) = [one for one in sqlite.parent.iterdir() if HEAD in one.name]
    monkeypatch.undo()
    with Database.open(kept) as found, found.read() as conn:
        assert found.version() == HEAD
        assert conn.execute(select(schema.judgement)).one()


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path):
    first = Database(connection.url_of(tmp_path / "first.db"), Clock())
    with first.engine.connect().execution_options(is_write=True) as conn, conn.begin():
        migration.upgrade(conn, "0001")
    first.close()
    with Database.open(tmp_path / "first.db") as database:
        assert database.version() == HEAD
        desk = Desk.of(database)
        desk.submit(desk.next(desk.raters[0], desk.open_round(plan(1)).id))


def test_two_processes_cannot_write_one_file_but_both_can_read(sqlite: Path):
    code = (
        "import sys\nfrom labeling.database.connection import Database\n"
        "database = Database.open(sys.argv[1])\n"
        "with database.read() as conn: print(conn.exec_driver_sql('SELECT count(*) FROM user_account').scalar())\n"
        "try:\n    with database.write(): pass\nexcept Exception as error: print(error)"
    )
    with Database.open(sqlite) as database:
        Desk.of(database)
        done = subprocess.run(
            [sys.executable, "-c", code, str(sqlite)], cwd=ROOT, capture_output=True, text=True, check=True
        )
    read, refused = done.stdout.splitlines()
    assert read == "5"
    assert "written by another process" in refused


def test_a_network_file_system_is_refused(sqlite: Path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "file_system_of", lambda path: "nfs4")
    with pytest.raises(UserError, match="network file system"):
        Database.open(sqlite)


def test_a_full_disk_is_said_plainly_and_loses_nothing(sqlite: Path):
    with Database.open(sqlite) as database:
        desk = Desk.of(database)
        opened = desk.open_round(plan(3))
        given = desk.next(desk.raters[0], opened.id)
        with database.engine.connect() as conn:
            pages = conn.exec_driver_sql("PRAGMA page_count").scalar_one()
        database.engine.dispose()
        from sqlalchemy import event

        event.listen(database.engine, "connect", lambda raw, _: raw.execute(f"PRAGMA max_page_count={pages}"))
        with pytest.raises(UserError, match=r"disk under .* is full"):
            desk.open_round(plan(2000, first=100))
        with database.read() as conn:
            assert len(conn.execute(select(schema.item)).all()) == 3
            assert conn.execute(select(schema.assignment.c.id)).scalar_one() == given.id


def test_a_clock_that_jumps_is_remembered_and_time_never_runs_backwards(desk: Desk, wall: Wall):
    opened = desk.open_round(plan(2))
    given = desk.next(desk.raters[0], opened.id)
    wall.at -= timedelta(days=300)
    desk.submit(given)
    with desk.database.read() as conn:
        events = conn.execute(select(schema.audit_event).order_by(schema.audit_event.c.seq)).all()
    mine = [event for event in events if event.project_id == desk.project_id]
    assert [event.at for event in mine] == sorted(event.at for event in mine)
    jumps = [json.loads(event.detail)["seconds"] for event in mine if event.action == "clock_jumped"]
    assert jumps == [-300 * 86400.0]


def test_time_goes_on_at_the_monotonic_pace_after_a_jump_back():
    wall = Wall()
    clock = Clock(wall, wall.pace)
    first = clock.now()
    wall.at -= timedelta(hours=5)
    wall.seconds += 60
    assert clock.now()[:16] == "2026-01-05T08:01" > first[:16]
    wall.pass_(seconds=60)
    assert clock.now()[:16] == "2026-01-05T08:02"


def test_reading_writes_no_event(desk: Desk):
    from labeling.database import audit
    from labeling.database.transaction import PROGRAM

    with pytest.raises(RuntimeError, match="only reads"), desk.database.read() as conn:
        audit.append(conn, desk.project_id, PROGRAM, "read", "item:1")


def test_a_server_tells_an_empty_database_of_a_url_from_one_with_judgements(database: Database, tmp_path: Path):
    assert serve.exists(database.engine.url.render_as_string(hide_password=False))
    assert not serve.exists(f"sqlite:///{tmp_path / 'empty.db'}")
