"""The backup before a migration: a database's own, since this code no longer knows its older tables."""

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy.engine import make_url

from labeling.database.connection import Database
from sae.errors import UserError


def dump(database: Database, version: str) -> Path:
    """Copies a database whole; where to.

    Raises:
        UserError: It cannot be done.
    """
    stamp = database.now().replace(":", "").replace(".", "")
    if database.path is not None:
        target = database.path.with_name(f"{database.path.name}.{version}-{stamp}.backup")
        with closing(sqlite3.connect(database.path)) as conn:  # SQLAlchemy's are always within a transaction
            conn.execute("VACUUM INTO ?", (str(target),))
        return target
    return dump_postgresql(database, Path.cwd() / f"judgements.{version}-{stamp}.sql")


def dump_postgresql(database: Database, target: Path) -> Path:
    """PostgreSQL's own dump."""
    program = shutil.which("pg_dump")
    if program is None:
        raise UserError(
            "pg_dump is not installed, expected for a backup before the migration. Install PostgreSQL's client."
        )
    url = make_url(database.url).set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run([program, "--dbname", url, "--file", str(target)], capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        target.unlink(missing_ok=True)
        raise UserError(
            f"pg_dump ended with {done.returncode}, expected a backup before the migration. Nothing was migrated."
        )
    return target
