"""Judgements in and out: what `clinlens labels` does, on a run, a database's file or a PostgreSQL URL."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from clinlens import __version__
from labeling.database import backup, checkpoints, integrity
from labeling.database.connection import Database
from labeling.database.schema import audit_event, item, judgement, project
from labeling.database.transaction import PROGRAM, now
from labeling.exchange import foreign, manifest
from labeling.exchange.export import ExportConfig, export
from labeling.exchange.merge import merge
from labeling.exchange.reading import Export, read
from labeling.exchange.source import read_bundle
from sae.errors import UserError

DATABASE = "clinlens.db"
"""A run's database of judgements."""
SOFTWARE = f"ClinLens {__version__}"


def place_of(where: str) -> str | Path:
    """The database of a run's folder or config; a file or URL as it is."""
    if "://" in where:
        return where
    path = Path(where)
    if path.suffix in (".yaml", ".yml"):
        from clinlens import config

        path = config.read(path).folder
    return path / DATABASE if path.is_dir() else path


@contextmanager
def opened(where: str, *, create: bool = False) -> Iterator[Database]:
    """A database that is closed afterwards."""
    with Database.open(place_of(where), create=create) as database:
        yield database


def project_of(conn: Connection, asked: str | None) -> str:
    """Id of the project that is meant: by id or name, or the only one.

    Raises:
        UserError: There is none of it, or several and none was named.
    """
    here = list(conn.execute(select(project.c.id, project.c.name).order_by(project.c.id)))
    found = [row for row in here if asked is None or asked in (row.id, row.name)]
    if len(found) == 1:
        return found[0].id
    if not here:
        raise UserError(
            "The database has no project, expected one. Start with `clinlens serve`, or import an export first."
        )
    names = ", ".join(f"{row.name} ({row.id})" for row in here[:5])
    raise UserError(f"{len(found)} of {len(here)} projects are meant, expected one. Name it with --project: {names}.")


def export_labels(where: str, target: Path, asked: str | None, cfg: ExportConfig) -> dict[str, Any]:
    """Writes a project's judgements to a folder."""
    with opened(where) as database, database.read() as conn:
        return export(conn, project_of(conn, asked), target, cfg, SOFTWARE, database.version() or "")


def import_labels(where: str, path: Path, asked: str | None, institution: str | None) -> dict[str, Any]:
    """Takes in an export, or a plain table of labels; a database that is not there is made for an export."""
    if path.is_dir():
        return merge_labels(where, [str(path)], asked)
    if not path.is_file():
        raise UserError(
            f"{path} does not exist, expected the folder of an export or a table of labels. Check the path."
        )
    if path.name == manifest.FILE:
        raise UserError(f"{path} is the list of an export's files, expected its folder. Name {path.parent}.")
    with opened(where) as database, database.write() as conn:
        into = project_of(conn, asked)
        return merge(conn, foreign.read(conn, path, into, institution, now(conn)), PROGRAM, now(conn), into)


def merge_labels(where: str, sources: Sequence[str], asked: str | None) -> dict[str, Any]:
    """Merges exports and databases, all in one transaction."""
    found = [one for source in sources for one in exports_of(source)]
    results: list[dict[str, Any]] = []
    with opened(where, create=True) as database, database.write() as conn:
        into = None if asked is None else project_of(conn, asked)
        for one in found:
            results.append(merge(conn, one, PROGRAM, now(conn), into))
            into = results[-1]["project"]
    if len(results) == 1:
        return results[0]
    new: dict[str, int] = {}
    for result in results:
        for name, n in result["new"].items():
            new[name] = new.get(name, 0) + n
    return {"project": into, "is_known": all(one["is_known"] for one in results), "new": new, "sources": results}


def exports_of(source: str) -> list[Export]:
    """What a source holds: an export, or every project of a database, evidence included."""
    path = Path(source)
    if "://" not in source and path.is_dir() and (path / manifest.FILE).is_file():
        return [read(path)]
    if "://" not in source and path.is_dir() and not (path / DATABASE).is_file():
        raise UserError(
            f"{path} holds neither {manifest.FILE} nor {DATABASE}, expected the folder of an export or of a run. Check the path."
        )
    with opened(source) as database, database.read() as conn:
        ids = list(conn.execute(select(project.c.id).order_by(project.c.id)).scalars())
        bundles = [read_bundle(conn, one, evidence=True) for one in ids]
        return [Export(manifest.of_bundle(one, SOFTWARE, database.version() or ""), one) for one in bundles]


def verify_labels(where: str, marks: Path | None, key: Path | None) -> dict[str, Any]:
    """All that was changed behind the program's back."""
    with opened(where) as database, database.read() as conn:
        problems = integrity.verify(conn, checkpoint_file=marks, key_file=key)
        n_events = conn.execute(select(func.count()).select_from(audit_event)).scalar_one()
    return {
        "n_events": n_events,
        "is_intact": not problems,
        "n_problems": len(problems),
        "checks": [f"{one.place}: {one.sentence}" for one in problems],
    }


def overview(path: Path) -> dict[str, Any]:
    """What a database holds, in numbers, and how many problems a verification finds."""
    with Database.open(path) as database, database.read() as conn:
        counts = {
            f"n_{table.name}s": conn.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (project, item, judgement)
        }
        return {"version": database.version(), **counts, "problems": len(integrity.verify(conn))}


def backup_labels(where: str, target: Path, passphrase_file: Path | None) -> dict[str, Any]:
    """Copies a database while people work."""
    with opened(where) as database:
        done = backup.backup(database, target, passphrase=passphrase(passphrase_file))
    return {"to": str(done.path), "sha256": done.sha256, "n_rows": sum(done.n_rows.values())}


def restore_labels(path: Path, target: str, passphrase_file: Path | None) -> dict[str, Any]:
    """Makes a database from a backup, and verifies it."""
    done = backup.restore(path, place_of(target), passphrase=passphrase(passphrase_file))
    return {
        "to": str(place_of(target)),
        "n_rows": sum(done.n_rows.values()),
        "is_intact": not done.problems,
        "checks": [f"{one.place}: {one.sentence}" for one in done.problems],
    }


def checkpoint_labels(where: str, target: Path, key: Path) -> dict[str, Any]:
    """Appends a signed checkpoint of every chain to a file; a key that is not there is made."""
    made = None if key.exists() else str(checkpoints.new_key(key))
    with opened(where) as database, database.write() as conn:
        marks = checkpoints.write(conn, target, key)
    return {"to": str(target), "n_chains": len(marks), **({"new_key": str(key), "to_verify": made} if made else {})}


def passphrase(path: Path | None) -> str | None:
    """The first line of a file: a passphrase has no place on a command line, which others can see."""
    if path is None:
        return None
    if not path.is_file():
        raise UserError(
            f"{path} does not exist, expected a file with the passphrase in its first line. Check the path."
        )
    found = path.read_text(encoding="utf-8").split("\n", 1)[0].strip("\r")
    if not found:
        raise UserError(f"{path} begins with an empty line, expected a passphrase there. Write one.")
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """A result of import or merge for people."""
    if found["is_known"]:
        return ["Nothing was imported: all of it is here already."]
    counts = [f"{n:,} × {name.replace('_', ' ')}" for name, n in found["new"].items() if n]
    shown = [f"Imported into project {found['project']}: {', '.join(counts) or 'nothing new'}."]
    if found["new"].get("withheld_snapshot"):
        shown.append("The export holds no evidence: what was shown can be proved by its hash here, not read.")
    return shown
