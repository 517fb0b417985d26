"""Opening the database of judgements, and its transactions.

- SQLite, the default: one process writes, one transaction at a time (a lock within the process, `BEGIN IMMEDIATE`
  below it), readers never wait (WAL), and what is acknowledged survives a loss of power (`synchronous=FULL`). Brief
  transactions that wait for each other share a commit (`labeling.database.shared_commit`).
- PostgreSQL, by URL: where several servers write, or a hospital's own database is required.

    with database.write() as conn:
        accepted = assignments.submit(conn, actor, …)     # committed, audit included, when the block ends

`read` and `write` give SQLAlchemy connections; the functions beside this file take them.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, inspect, text
from sqlalchemy.engine import make_url

from labeling.database import audit
from labeling.database.clock import Clock, utc_now
from labeling.database.migrations import HEAD
from labeling.database.shared_commit import SharedCommit
from labeling.database.sqlite_file import WriteLock, private, refuse_network
from labeling.database.transaction import PROGRAM, Event, Transaction
from sae.errors import UserError

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000", "cache_size=-65536")
POOL = 64
"""Connections that may be open at once; SQLite's readers do not wait for each other."""
TURNS = 8
"""Brief transactions that PostgreSQL is given at once. Every one ends with the lock of its chain: with more of them under way
threads take the interpreter from the one that has the lock, and a third fewer are done in a second."""


class Database:
    """A database of judgements that is open."""

    def __init__(self, url: str, clock: Clock) -> None:
        self.url = url
        self.clock = clock
        self.engine = new_engine(url)
        self.dialect = self.engine.dialect.name
        self.path = Path(self.engine.url.database or "") if self.dialect == "sqlite" else None
        self.file_lock = WriteLock(self.path) if self.path else None
        self.shared = SharedCommit(self.engine, self.hold)
        self.turns = threading.BoundedSemaphore(TURNS)

    @classmethod
    def open(
        cls, url_or_path: str | Path, *, create: bool = False, clock: Callable[[], datetime] | Clock = utc_now
    ) -> "Database":
        """Opens a database, and brings an older one up to date after a backup.

        Args:
            url_or_path: A file of SQLite's, or `postgresql://user@host/name`.
            create: Whether an absent or empty one is made.
            clock: Gives the time.

        Raises:
            UserError: There is none, it cannot be reached, lies on a network file system, is of a newer version, or is
                no database of judgements.
        """
        from labeling.database import migration

        database = cls(url_of(url_or_path), clock if isinstance(clock, Clock) else Clock(clock))
        try:
            if database.path is not None:
                refuse_network(database.path)
                if not create and not database.path.is_file():
                    raise UserError(
                        f"{database.path} does not exist, expected a database of judgements. Check the path; "
                        "`clinlens serve` makes one."
                    )
                database.path.parent.mkdir(parents=True, exist_ok=True)
                open(database.path, "ab", opener=private).close()
            if database.version() != HEAD:
                migration.bring_up_to_date(database, create=create)
        except BaseException:
            database.close()
            raise
        return database

    def version(self) -> str | None:
        """The revision of its tables; none of an empty database."""
        with said_plainly(self.url), self.engine.connect() as conn:
            if not inspect(conn).has_table("alembic_version"):
                return None
            return conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()

    def now(self) -> str:
        """The time, never earlier than the last one given."""
        return self.clock.now()

    def hold(self) -> None:
        """Takes the right to write for as long as the database is open; `write` does so by itself.

        Raises:
            UserError: Another process has it.
        """
        if self.file_lock is not None:
            self.file_lock.take()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state and writes nothing."""
        with said_plainly(self.url), self.engine.connect() as conn, conn.begin():
            conn.info["transaction"] = Transaction(self.now(), None)
            yield conn

    @contextmanager
    def write(self, *, is_brief: bool = False) -> Iterator[Connection]:
        """One transaction; at the end of the block it is on disk, with its audit, or nothing of it is.

        Args:
            is_brief: It takes milliseconds: SQLite may bring it to the disk together with others that wait, PostgreSQL
                is given a few at once.
        """
        begun = self.shared.transaction(is_brief=is_brief) if self.path else self.engine.begin()
        turn = self.turns if is_brief and not self.path else nullcontext()
        with said_plainly(self.url), turn, begun as conn:
            conn.info["transaction"] = Transaction(self.now(), [])
            yield conn
            transaction = conn.info["transaction"]
            transaction.after_events = [jump_event(seconds) for seconds in self.clock.take_jumps()]
            audit.flush(conn)

    def close(self) -> None:
        """Closes every connection and gives up the right to write."""
        self.engine.dispose()
        if self.file_lock is not None:
            self.file_lock.release()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def jump_event(seconds: float) -> Event:
    """What the audit says of a clock that jumped; the chain is the one that is written next."""
    return Event(audit.SYSTEM, PROGRAM, "clock_jumped", "clock:machine", None, None, {"seconds": seconds})


def url_of(url_or_path: str | Path) -> str:
    """The URL of a database; a path is SQLite's.

    Raises:
        UserError: It is of another kind of database.
    """
    written = str(url_or_path)
    if "://" not in written:
        return f"sqlite+pysqlite:///{written}"
    kind = written.split(":", 1)[0]
    if kind in ("postgresql", "postgres"):
        return "postgresql+psycopg" + written[len(kind) :]
    if kind not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise UserError(f"The database's URL begins with {kind}://, expected postgresql:// or the path of a file.")
    return written


def new_engine(url: str) -> Engine:
    """Connections of the right kind.

    Raises:
        UserError: The driver of PostgreSQL is not installed.
    """
    try:
        if make_url(url).get_backend_name() != "sqlite":
            return create_engine(url, pool_size=POOL, max_overflow=0, pool_pre_ping=True)
        engine = create_engine(
            url, pool_size=POOL, max_overflow=0, connect_args={"check_same_thread": False, "timeout": 5.0}
        )
    except ModuleNotFoundError as error:
        raise UserError(
            'PostgreSQL\'s driver psycopg is not installed, expected for postgresql://. Run `pip install "clinlens[postgresql]"`.'
        ) from error
    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def prepare(dbapi_connection: Any, _: Any) -> None:
    """SQLite's settings; transactions are begun by `begin` alone."""
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def begin(conn: Connection) -> None:
    """A writer asks for its right at once: one that asked later would fail where another wrote in between."""
    conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.get_execution_options().get("is_write") else "BEGIN")


@contextmanager
def said_plainly(url: str) -> Iterator[None]:
    """Turns what the machine cannot do into one sentence.

    Raises:
        UserError: The disk is full, the file cannot be read or written, or the server cannot be reached.
    """
    try:
        yield
    except exc.DatabaseError as error:
        sentence = plain_words(error, make_url(url).render_as_string(hide_password=True))
        if sentence is None:
            raise
        raise UserError(sentence) from error


def plain_words(error: exc.DatabaseError, name: str) -> str | None:
    """The sentence for a failure that the user can put right; none for a failure of ours."""
    found = str(error.orig).lower()
    if "disk is full" in found or "no space left" in found or getattr(error.orig, "sqlstate", "") == "53100":
        return (
            f"The disk under {name} is full, expected room for a transaction. Nothing of it was written, and all that was "
            "acknowledged is kept. Free some space and try again."
        )
    if "readonly" in found or "unable to open" in found:
        return f"{name} cannot be written, expected a file and folder of your own. Check their permissions."
    if "not a database" in found or "malformed" in found:
        return f"{name} is damaged or no SQLite database, expected a database of judgements. Restore the last backup."
    if "nul (0x00)" in found:
        return "A text holds a NUL character, expected letters and signs. Take it out and send it again; nothing was stored."
    if "database is locked" in found:
        return f"{name} is locked by another program for more than 5 s, expected no other writer. Close that program."
    if "connection" in found and isinstance(error, exc.OperationalError):
        return f"{name} cannot be reached, expected a running PostgreSQL server. Check address, user and password."
    return None
