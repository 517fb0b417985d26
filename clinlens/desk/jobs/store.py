"""The jobs on disk: RUN/desk.db. Every change is one transaction with its event, so that whoever reconnects misses none.

A task that runs is held by a lease, a number that is given once: what a process says after its task was taken from it
(a cancel, a restart of the server) has the wrong lease and changes nothing. So no task is lost and none is done twice.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from clinlens.desk.jobs.request import JobRequest
from clinlens.desk.jobs.schema import bring_up_to_date
from labeling.database.sqlite_file import WriteLock, private, refuse_network
from labeling.identifiers import new_id
from sae.errors import UserError

ENDED = frozenset({"completed", "partial", "failed", "cancelled"})
OPEN = ("queued", "running")
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000", "secure_delete=ON")


class NewTask(NamedTuple):
    """One model × method of a job that is being made."""

    model: str
    method: str
    work: dict[str, Any]
    """All that decides the result, the model's weights apart."""
    result: str
    """Name of the result, a hash of all that decides it."""
    is_there: bool
    """Whether that result was made before."""


class Task(NamedTuple):
    """A task that somebody took."""

    id: int
    job: str
    number: int
    model: str
    method: str
    work: dict[str, Any]
    result: str
    lease: str
    deaths: int


class Family(NamedTuple):
    """Where a job comes from, if it is another one with a token changed."""

    parent: str | None = None
    edit: dict[str, Any] | None = None


def now() -> str:
    """The time, in the form that records have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Store:
    """The jobs. One process writes; its threads take turns.

    Args:
        path: The database file; made if there is none.
        on_event: Told the job of every new event, after it is on disk.

    Raises:
        UserError: Another server has it, it cannot be written, is of a newer version, or lies on a network file system.
    """

    def __init__(self, path: Path, on_event: Callable[[str], None] = lambda _: None) -> None:
        self.path, self.on_event = path, on_event
        refuse_network(path)
        self.file_lock = WriteLock(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file_lock.take()
            open(path, "ab", opener=private).close()
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}), expected a folder for jobs. Serve a copy of the run, or give "
                "yourself the right to write there."
            ) from error
        self.local, self.turn = threading.local(), threading.RLock()
        self.connections: list[sqlite3.Connection] = []
        self.touched: set[str] = set()
        try:
            with self.turn:
                bring_up_to_date(self.connection, str(path))
        except BaseException:
            self.close()
            raise

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        found = getattr(self.local, "connection", None)
        if found is None:
            found = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            found.row_factory = sqlite3.Row
            for pragma in PRAGMAS:
                found.execute(f"PRAGMA {pragma}")
            self.local.connection = found
            with self.turn:
                self.connections.append(found)
        return found

    def close(self) -> None:
        """Closes the file and lets others have it."""
        with self.turn:
            for connection in self.connections:
                connection.close()
            self.connections.clear()
        self.file_lock.release()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction; listeners hear of it when it is on disk."""
        with self.turn:
            connection = self.connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                self.touched.clear()
                raise
            touched, self.touched = self.touched, set()
        for job in touched:
            self.on_event(job)

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """What a query finds."""
        return self.connection.execute(query, values).fetchall()

    def job(self, job: str) -> sqlite3.Row | None:
        """A job's row."""
        return next(iter(self.rows("SELECT * FROM job WHERE id = ?", job)), None)

    def tasks(self, job: str) -> list[sqlite3.Row]:
        """A job's tasks."""
        return self.rows("SELECT * FROM task WHERE job = ? ORDER BY number", job)

    def events(self, job: str, after: int) -> list[dict[str, Any]]:
        """What happened to a job after an event."""
        found = self.rows("SELECT body FROM event WHERE job = ? AND seq > ? ORDER BY seq", job, after)
        return [json.loads(row["body"]) for row in found]

    def add(
        self, request: JobRequest, tasks: Sequence[NewTask], owner: str | None = None, family: Family | None = None
    ) -> sqlite3.Row:
        """Keeps a job with its tasks; one that was sent before is found again."""
        uuid, (parent, edit) = str(request.client_uuid) if request.client_uuid else None, family or Family()
        with self.write() as db:
            known = db.execute("SELECT * FROM job WHERE client_uuid = ?", (uuid,)).fetchone() if uuid else None
            if known is not None:
                return known
            job, made = new_id(), now()
            row = {
                "id": job, "client_uuid": uuid, "owner": owner, "title": request.title, "words": request.input.words,
                "models": json.dumps(request.models), "methods": json.dumps(request.methods),
                "input": request.input.model_dump_json(exclude_defaults=True),
                "options": request.options.model_dump_json(), "priority": request.options.priority, "status": "queued",
                "parent": parent, "edit": json.dumps(edit) if edit else None, "n_tasks": len(tasks), "created_at": made,
            }  # fmt: skip
            insert(db, "job", row)
            for number, task in enumerate(tasks):
                insert(db, "task", {
                    "job": job, "number": number, "model": task.model, "method": task.method,
                    "work": json.dumps(task.work), "result": task.result, "is_cached": int(task.is_there),
                    "status": "completed" if task.is_there else "queued", "seconds": 0.0 if task.is_there else None,
                })  # fmt: skip
            self.settle(db, job)
            return db.execute("SELECT * FROM job WHERE id = ?", (job,)).fetchone()

    def has_waiting(self) -> bool:
        """Whether a task waits."""
        return bool(self.rows("SELECT 1 FROM task WHERE status = 'queued' LIMIT 1"))

    def claim(self, loaded: str | None = None) -> Task | None:
        """Takes the most urgent task that waits; within a job one of the model that the taker has loaded."""
        with self.write() as db:
            job = db.execute(
                "SELECT id FROM job WHERE status IN ('queued', 'running') AND EXISTS "
                "(SELECT 1 FROM task WHERE task.job = job.id AND task.status = 'queued') ORDER BY priority DESC, id LIMIT 1"
            ).fetchone()
            if job is None:
                return None
            row = db.execute(
                "SELECT * FROM task WHERE job = ? AND status = 'queued' ORDER BY model IS NOT ?, number LIMIT 1",
                (job["id"], loaded),
            ).fetchone()
            lease = new_id()
            db.execute(
                "UPDATE task SET status = 'running', lease = ?, started_at = ? WHERE id = ?", (lease, now(), row["id"])
            )
            self.settle(db, row["job"], row["number"])
        return Task(
            row["id"], row["job"], row["number"], row["model"], row["method"], json.loads(row["work"]), row["result"], lease,
            row["deaths"],
        )  # fmt: skip

    def end(self, task: Task, status: str, **values: Any) -> bool:
        """Ends a task that is still held, or gives it back to the queue; whether it was still held."""
        values |= {"status": status, "lease": None}
        with self.write() as db:
            done = db.execute(
                f"UPDATE task SET {', '.join(f'{name} = ?' for name in values)} WHERE id = ? AND lease = ?",  # noqa: S608 - names of ours
                (*values.values(), task.id, task.lease),
            ).rowcount
            if done:
                self.settle(db, task.job, task.number)
        return bool(done)

    def recover(self) -> int:
        """Gives back to the queue what ran when the last server ended; how many tasks that were."""
        with self.write() as db:
            rows = db.execute("SELECT job, number FROM task WHERE status = 'running'").fetchall()
            db.execute("UPDATE task SET status = 'queued', lease = NULL WHERE status = 'running'")
            for row in rows:
                self.settle(db, row["job"], row["number"])
        return len(rows)

    def cancel(self, job: str) -> list[int]:
        """Ends a job's tasks that wait or run; ids of those that ran."""
        with self.write() as db:
            rows = db.execute("SELECT id, status FROM task WHERE job = ? AND status IN ('queued', 'running')", (job,))
            running = [row["id"] for row in rows.fetchall() if row["status"] == "running"]
            db.execute(
                "UPDATE task SET status = 'cancelled', lease = NULL WHERE job = ? AND status IN ('queued', 'running')",
                (job,),
            )
            self.settle(db, job)
        return running

    def retry(self, job: str) -> int:
        """Puts a job's failed and cancelled tasks into the queue again; how many."""
        with self.write() as db:
            n_tasks = db.execute(
                "UPDATE task SET status = 'queued', deaths = 0, problem = NULL, seconds = NULL "
                "WHERE job = ? AND status IN ('failed', 'cancelled')",
                (job,),
            ).rowcount
            if n_tasks:
                self.settle(db, job)
        return n_tasks

    def change(self, job: str, *, title: str | None = None, priority: int | None = None) -> None:
        """Gives a job another title or place in the queue."""
        with self.write() as db:
            db.execute(
                "UPDATE job SET title = coalesce(?, title), priority = coalesce(?, priority) WHERE id = ?",
                (title, priority, job),
            )
            self.note(db, job, {"type": "changed"})

    def delete(self, job: str) -> list[str]:
        """Forgets a job; names of results that no other job has."""
        with self.write() as db:
            own = "SELECT DISTINCT result FROM task WHERE job = ?1 AND result NOT IN (SELECT result FROM task WHERE job <> ?1)"
            results = [row["result"] for row in db.execute(own, (job,)).fetchall()]
            db.execute("DELETE FROM job WHERE id = ?", (job,))
            self.touched.add(job)
        return results

    def settle(self, db: sqlite3.Connection, job: str, number: int | None = None) -> None:
        """Works out a job's state from its tasks', and notes what changed."""
        states = [row["status"] for row in db.execute("SELECT status FROM task WHERE job = ?", (job,)).fetchall()]
        before = db.execute("SELECT status, started_at, created_at FROM job WHERE id = ?", (job,)).fetchone()
        status, n_ended = state_of(states), sum(state in ENDED for state in states)
        at, is_over = now(), status in ENDED
        started = before["started_at"] or (at if status != "queued" else None)
        lasted = seconds_between(started, at) if is_over and started else None
        db.execute(
            "UPDATE job SET status = ?, n_ended = ?, started_at = ?, completed_at = ?, duration_s = ? WHERE id = ?",
            (status, n_ended, started, at if is_over else None, lasted, job),
        )
        seen = {"status": status, "progress": n_ended / len(states)}
        if number is not None:
            row = db.execute("SELECT * FROM task WHERE job = ? AND number = ?", (job, number)).fetchone()
            self.note(db, job, {"type": "task", "task": shown(row) | {"number": number}, **seen})
        self.note(db, job, {"type": "progress", **seen})
        if is_over:
            self.note(db, job, {"type": "completed" if status == "partial" else status, **seen})

    def note(self, db: sqlite3.Connection, job: str, event: dict[str, Any]) -> None:
        """Keeps an event under the job's next number."""
        row = db.execute("UPDATE job SET seq = seq + 1 WHERE id = ? RETURNING seq", (job,)).fetchone()
        if row is not None:
            body = json.dumps({"seq": row["seq"], "at": now(), **event})
            db.execute("INSERT INTO event (job, seq, body) VALUES (?, ?, ?)", (job, row["seq"], body))
            self.touched.add(job)


def insert(db: sqlite3.Connection, table: str, row: dict[str, Any]) -> None:
    """A new row."""
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    db.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row.values()))  # noqa: S608 - names of ours


def state_of(states: Sequence[str]) -> str:
    """A job's state, from its tasks': partial where some tasks failed and some did not."""
    if any(state in OPEN for state in states):
        return "queued" if all(state == "queued" for state in states) else "running"
    if "cancelled" in states:
        return "cancelled"
    if "failed" in states:
        return "failed" if all(state == "failed" for state in states) else "partial"
    return "completed"


def shown(task: sqlite3.Row) -> dict[str, Any]:
    """What is told of a task."""
    names = ("model", "method", "status", "seconds", "problem")
    return {name: task[name] for name in names} | {"is_cached": bool(task["is_cached"])}


def seconds_between(start: str, end: str) -> float:
    """From one stored time to another."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
