"""Both databases: a file, and a PostgreSQL server of Debian's packages that lives as long as the tests."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from labeling.database.clock import Clock
from labeling.database.connection import Database, url_of
from tests.labeling.desk import Desk, Wall

VERSIONS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
NOBODY = 65534


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh database, made once and copied."""
    path = tmp_path_factory.mktemp("template") / "fresh.db"
    Database.open(path, create=True).close()
    return path


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The folder of a PostgreSQL server's socket; the server refuses to run as root."""
    if not VERSIONS:
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    pytest.importorskip("psycopg")
    is_root = os.getuid() == 0
    if is_root and shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and setpriv is not installed")
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if is_root else []
    with tempfile.TemporaryDirectory(prefix="clinlens-pg-") as folder:
        if is_root:
            os.chown(folder, NOBODY, NOBODY)

        def run(program: str, *arguments: str) -> None:
            command = [*user, str(VERSIONS[-1] / program), "-D", f"{folder}/data", *arguments]
            log = Path(folder).with_suffix(".log")  # a pipe would stay open as long as the server
            with log.open("w") as out:
                done = subprocess.run(command, stdout=out, stderr=out, check=False, cwd="/")
            said = log.read_text()
            log.unlink()
            if done.returncode:
                pytest.skip(f"{program} does not run here: {said.strip()[-200:]}")

        run("initdb", "-U", "clinlens", "--auth=trust", "-E", "UTF8", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c shared_buffers=32MB"
        run("pg_ctl", "-o", options, "-l", f"{folder}/log", "-w", "start")
        yield folder
        run("pg_ctl", "-m", "immediate", "stop")


@pytest.fixture
def postgresql(server: str) -> Iterator[str]:
    """An empty PostgreSQL database."""
    name = f"t{uuid.uuid4().hex}"
    admin = create_engine(url_of(f"postgresql://clinlens@/postgres?host={server}"), isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        conn.exec_driver_sql(f'CREATE DATABASE "{name}"')
    yield f"postgresql://clinlens@/{name}?host={server}"
    with admin.connect() as conn:
        conn.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    admin.dispose()


@pytest.fixture
def wall() -> Wall:
    """A clock to be set."""
    return Wall()


@pytest.fixture
def sqlite(template: Path, tmp_path: Path) -> Path:
    """A fresh database file."""
    path = tmp_path / "judgements.db"
    shutil.copy(template, path)
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, wall: Wall) -> Iterator[Database]:
    """An empty database of either kind."""
    where = request.getfixturevalue(request.param)
    with Database.open(where, create=True, clock=Clock(wall, wall.pace)) as opened:
        yield opened


@pytest.fixture
def desk(database: Database) -> Desk:
    """A project with four raters."""
    return Desk.of(database)
