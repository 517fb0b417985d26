"""The tables of RUN/desk.db, and how an older file becomes one of this version.

They hold the texts of jobs: the file is its owner's alone, and what is deleted is overwritten.
"""

import sqlite3

from sae.errors import UserError

MIGRATIONS = (
    """
    CREATE TABLE job (
        id TEXT PRIMARY KEY, client_uuid TEXT UNIQUE, owner TEXT, title TEXT NOT NULL, words TEXT NOT NULL,
        models TEXT NOT NULL, methods TEXT NOT NULL, input TEXT NOT NULL, options TEXT NOT NULL,
        priority INTEGER NOT NULL, status TEXT NOT NULL, seq INTEGER NOT NULL DEFAULT 0,
        parent TEXT, edit TEXT, n_tasks INTEGER NOT NULL, n_ended INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL, started_at TEXT, completed_at TEXT, duration_s REAL
    );
    CREATE INDEX job_by_status ON job (status, priority DESC, created_at);
    CREATE INDEX job_by_parent ON job (parent);
    CREATE TABLE task (
        id INTEGER PRIMARY KEY, job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, number INTEGER NOT NULL,
        model TEXT NOT NULL, method TEXT NOT NULL, work TEXT NOT NULL, result TEXT NOT NULL, status TEXT NOT NULL,
        lease TEXT, deaths INTEGER NOT NULL DEFAULT 0, is_cached INTEGER NOT NULL DEFAULT 0,
        started_at TEXT, seconds REAL, problem TEXT, UNIQUE (job, number)
    );
    CREATE INDEX task_by_status ON task (status);
    CREATE INDEX task_by_result ON task (result);
    CREATE TABLE event (
        job TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE, seq INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (job, seq)
    ) WITHOUT ROWID;
    """,
)
"""Scripts in the order in which they were added; the file's `user_version` says how many it has had."""


def bring_up_to_date(connection: sqlite3.Connection, place: str) -> None:
    """Runs the scripts that a file has not had yet, each with its number or not at all.

    Raises:
        UserError: The file is of a newer version, or is no database.
    """
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise UserError(
            f"{place} is no database, expected the jobs of the desk. Move it away; a new one is made."
        ) from error
    if version > len(MIGRATIONS):
        raise UserError(
            f"{place} is of version {version}, but this program knows {len(MIGRATIONS)}. Update clinlens, or move the file away."
        )
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {number}; COMMIT;")
