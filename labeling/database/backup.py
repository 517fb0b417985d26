"""Backups while people work: one file of every row, the same from SQLite and PostgreSQL, restored into either.

    line 1     {"clinlens": "judgements", "version": "0001", "made_at": …, "from": "sqlite", "n_rows": {table: n}}
    others     ["table", [values]]        in an order in which references exist before what refers to them
    last       {"sha256": …}              over all lines before it; a file without it is no backup

The lines are JSON, compressed (gzip). With a passphrase the whole is encrypted (scrypt, then AES-256-GCM in pieces of
1 MiB whose number and end are authenticated, so that pieces cannot be dropped, exchanged or cut off). All rows are read in
one transaction, so that the backup is of one moment.
"""

import gzip
import hashlib
import json
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from sqlalchemy import Connection, Table, insert, select, text

from labeling.database import encryption, integrity
from labeling.database.connection import Database
from labeling.database.migrations import HEAD
from labeling.database.schema import metadata
from labeling.database.sqlite_file import private
from labeling.database.transaction import Transaction
from labeling.identifiers import canonical
from sae import artefact
from sae.errors import UserError

CHUNK = 2000
LEVEL = 3
"""Of gzip: half the time of the default for a tenth more bytes."""


class Backup(NamedTuple):
    """A backup that is on disk."""

    path: Path
    n_rows: dict[str, int]
    """By table."""
    sha256: str
    """Over its lines."""


class Restored(NamedTuple):
    """A database made from a backup."""

    n_rows: dict[str, int]
    problems: list[integrity.Problem]
    """What `verify` found, where it was asked."""


def backup(database: Database, path: Path, *, passphrase: str | None = None) -> Backup:
    """Writes a backup, whole or not at all; nobody waits for it.

    Args:
        database: An open one; people may go on working.
        path: The file.
        passphrase: Encrypts it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = artefact.temporary_name(path)
    try:
        with one_moment(database) as conn:
            n_rows, digest = write_lines(conn, temporary, database, passphrase)
        artefact.publish(temporary, path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}), expected a folder with room. Choose another one."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return Backup(path, n_rows, digest)


@contextmanager
def one_moment(database: Database) -> Iterator[Connection]:
    """A transaction in which every query sees the same state; SQLite's always does."""
    with database.read() as conn:
        if conn.dialect.name == "postgresql":
            conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        yield conn


def write_lines(conn: Connection, path: Path, database: Database, passphrase: str | None) -> tuple[dict[str, int], str]:
    """Every row as a line; how many by table, and the hash of all lines."""
    n_rows = {table.name: count(conn, table) for table in metadata.sorted_tables}
    digest = hashlib.sha256()
    with open(path, "wb", opener=private) as raw, written_to(raw, passphrase) as file:
        head = {
            "clinlens": "judgements",
            "version": HEAD,
            "made_at": database.now(),
            "from": database.dialect,
            "n_rows": n_rows,
        }
        put(file, head, digest)
        for table in metadata.sorted_tables:
            for row in conn.execution_options(yield_per=CHUNK).execute(ordered(table)):
                put(file, [table.name, list(row)], digest)
        file.write(canonical({"sha256": digest.hexdigest()}).encode() + b"\n")
    return n_rows, digest.hexdigest()


def count(conn: Connection, table: Table) -> int:
    """Rows of a table."""
    return conn.execute(text(f'SELECT COUNT(*) FROM "{table.name}"')).scalar_one()  # noqa: S608 - our own name


def ordered(table: Table) -> Any:
    """All rows; those that refer to others of the same table after them, since ids are in the order of their making."""
    return select(table).order_by(*table.primary_key.columns)


def put(file: IO[bytes], value: Any, digest: Any) -> None:
    """One line."""
    line = canonical(value).encode() + b"\n"
    digest.update(line)
    file.write(line)


@contextmanager
def written_to(raw: IO[bytes], passphrase: str | None) -> Iterator[IO[bytes]]:
    """A stream that compresses, and encrypts where there is a passphrase."""
    target = encryption.Writer(raw, passphrase) if passphrase else raw
    with gzip.GzipFile(fileobj=cast(IO[bytes], target), mode="wb", compresslevel=LEVEL, mtime=0) as file:
        yield cast(IO[bytes], file)
    if isinstance(target, encryption.Writer):
        target.finish()


def restore(path: Path, target: str | Path, *, verify: bool = True, passphrase: str | None = None) -> Restored:
    """Makes a database from a backup.

    Args:
        path: The backup.
        target: An absent file, or an empty PostgreSQL database.
        verify: Whether chains, facts and hashes are checked afterwards.
        passphrase: Of an encrypted one.

    Raises:
        UserError: The backup is damaged, encrypted otherwise or of a newer version, or the target is not empty.
    """
    check(path, passphrase)
    if "://" not in str(target) and Path(target).exists():
        raise UserError(f"{target} exists, expected no file, since a restore never overwrites. Choose another name.")
    with Database.open(target, create=True) as database:
        n_rows = fill(database, path, passphrase)
        with database.read() as conn:
            problems = integrity.verify(conn) if verify else []
    return Restored(n_rows, problems)


def check(path: Path, passphrase: str | None) -> dict[str, Any]:
    """Reads a backup to its end; its first line.

    Raises:
        UserError: It is damaged, or of a newer version.
    """
    digest, head, last = hashlib.sha256(), {}, b""
    for number, line in enumerate(lines_of(path, passphrase)):
        if number == 0:
            head = parsed(line, path)
        else:
            digest.update(last)
        last = line
    if not isinstance(head, dict) or head.get("clinlens") != "judgements" or "sha256" not in parsed(last, path):
        raise UserError(f"{path} is no whole backup of judgements, expected one with its last line. Take another one.")
    if parsed(last, path)["sha256"] != digest.hexdigest():
        raise UserError(f"{path} is damaged: its hash is another one, expected what was written. Take another one.")
    if head["version"] > HEAD:
        raise UserError(
            f"{path} is of version {head['version']}, expected {HEAD} or older. Install the newer ClinLens."
        )
    return head


def parsed(line: bytes, path: Path) -> Any:
    """A line's value."""
    try:
        return json.loads(line)
    except ValueError as error:
        raise UserError(
            f"{path} holds a line that is no JSON, expected a backup of judgements. Take another one."
        ) from error


def lines_of(path: Path, passphrase: str | None) -> Iterator[bytes]:
    """The lines of a backup.

    Raises:
        UserError: It cannot be read, decompressed or decrypted.
    """
    try:
        with path.open("rb") as raw, read_from(raw, path, passphrase) as file:
            yield from file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read or ends too early, expected a whole backup. Take another one."
        ) from error


@contextmanager
def read_from(raw: IO[bytes], path: Path, passphrase: str | None) -> Iterator[IO[bytes]]:
    """The opposite of `written_to`."""
    is_encrypted = raw.read(len(encryption.MAGIC)) == encryption.MAGIC
    raw.seek(0)
    if is_encrypted and not passphrase:
        raise UserError(f"{path} is encrypted, expected its passphrase. Give it.")
    source = encryption.Reader(raw, passphrase or "") if is_encrypted else raw
    with gzip.GzipFile(fileobj=cast(IO[bytes], source), mode="rb") as file:
        yield cast(IO[bytes], file)


def fill(database: Database, path: Path, passphrase: str | None) -> dict[str, int]:
    """Writes a backup's rows, in one transaction and without events of its own: the audit is the one restored."""
    tables = {table.name: table for table in metadata.sorted_tables}
    n_rows = dict.fromkeys(tables, 0)
    with database.write() as conn:
        lines = lines_of(path, passphrase)
        next(lines)
        waiting: list[dict[str, Any]] = []
        name = ""
        for line in lines:
            value = json.loads(line)
            table, row = value if isinstance(value, list) else ("", [])
            if waiting and (table != name or len(waiting) >= CHUNK):
                conn.execute(insert(tables[name]), waiting)
                n_rows[name] += len(waiting)
                waiting = []
            if table:
                name = table
                waiting.append(dict(zip(tables[name].columns.keys(), row, strict=True)))
        conn.info["transaction"] = Transaction(database.now(), [])
    return n_rows


def before_migration(database: Database, version: str) -> Path:
    """A backup of a database of an older version: SQLite's file as it is, PostgreSQL's by pg_dump.

    Raises:
        UserError: pg_dump is not there or fails; without a backup nothing is migrated.
    """
    from labeling.database import dump

    return dump.dump(database, version)


def drill(database: Database) -> Restored:
    """A backup, restored beside it and verified: what a monthly exercise does. Needs room for both."""
    with tempfile.TemporaryDirectory() as folder:
        made = backup(database, Path(folder) / "backup.gz")
        return restore(made.path, Path(folder) / "restored.db")
