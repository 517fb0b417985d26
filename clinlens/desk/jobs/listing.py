"""What is told of jobs: one job's state, and lists of them by state, model, words and order."""

import json
import sqlite3
from typing import Any, NamedTuple

from clinlens.desk.jobs.store import OPEN, Store, now, seconds_between, shown

ORDERS = {"created_at": "id", "priority": "priority", "status": "status", "duration": "duration_s"}
AHEAD = "status IN ('queued', 'running') AND (priority > ?1 OR (priority = ?1 AND id < ?2))"


class Wanted(NamedTuple):
    """Which jobs, in which order."""

    status: tuple[str, ...] = ()
    model: str = ""
    method: str = ""
    q: str = ""
    """Words in a title or in a text."""
    sort: str = "created_at"
    is_descending: bool = True
    page: int = 1
    per_page: int = 50


def status_of(store: Store, row: sqlite3.Row, n_workers: int) -> dict[str, Any]:
    """A job's state with its tasks, its place in the queue and the seconds that are left, where they can be estimated."""
    tasks = store.tasks(row["id"])
    is_open = row["status"] in OPEN
    ahead = store.rows(f"SELECT count(*) FROM job WHERE {AHEAD}", row["priority"], row["id"])[0][0] if is_open else 0  # noqa: S608
    return {
        "job_id": row["id"], "status": row["status"], "progress": row["n_ended"] / row["n_tasks"],
        "tasks": [shown(task) for task in tasks],
        "position": ahead + 1 if row["status"] == "queued" else None,
        "eta_s": eta_s(store, row, tasks, n_workers) if is_open else None,
        "seq": row["seq"], "priority": row["priority"], "title": row["title"],
        "created_at": row["created_at"], "completed_at": row["completed_at"],
    }  # fmt: skip


def eta_s(store: Store, row: sqlite3.Row, tasks: list[sqlite3.Row], n_workers: int) -> float | None:
    """Seconds until a job is done: tasks of it and before it, at the pace of the last ones; None without any."""
    last = "SELECT seconds FROM task WHERE status = 'completed' AND is_cached = 0 ORDER BY id DESC LIMIT 20"
    pace = store.rows(f"SELECT avg(seconds) FROM ({last})")[0][0]  # noqa: S608 - the line above
    if pace is None:
        return None
    before = store.rows(
        f"SELECT count(*) FROM task WHERE status IN ('queued', 'running') AND job IN (SELECT id FROM job WHERE {AHEAD})",  # noqa: S608
        row["priority"], row["id"],
    )[0][0]  # fmt: skip
    mine = sum(task["status"] in OPEN for task in tasks)
    return round(pace * (before + mine) / n_workers, 1)


def summary_of(row: sqlite3.Row) -> dict[str, Any]:
    """A job in a list."""
    lasted = row["duration_s"]
    if lasted is None and row["started_at"]:
        lasted = seconds_between(row["started_at"], now())
    return {
        "job_id": row["id"], "status": row["status"], "progress": row["n_ended"] / row["n_tasks"],
        "models": json.loads(row["models"]), "methods": json.loads(row["methods"]),
        "title": row["title"] or first_words(row["words"]), "created_at": row["created_at"],
        "completed_at": row["completed_at"], "priority": row["priority"], "duration_s": lasted, "parent": row["parent"],
    }  # fmt: skip


def first_words(text: str, n_characters: int = 60) -> str:
    """What stands for a title where none was given."""
    plain = " ".join(text.split())
    return plain if len(plain) <= n_characters else plain[: n_characters - 1] + "…"


def listed(store: Store, wanted: Wanted) -> dict[str, Any]:
    """A page of jobs, and how many there are."""
    tests, values = ["1"], []
    if wanted.status:
        tests.append(f"status IN ({', '.join('?' * len(wanted.status))})")
        values += wanted.status
    for column, name in (("models", wanted.model), ("methods", wanted.method)):
        if name:
            tests.append(f"EXISTS (SELECT 1 FROM json_each({column}) WHERE value = ?)")  # noqa: S608 - columns of ours
            values.append(name)
    if wanted.q:
        tests.append("(instr(lower(title), lower(?)) OR instr(lower(words), lower(?)))")
        values += [wanted.q, wanted.q]
    where, order = " AND ".join(tests), ORDERS[wanted.sort]
    direction = "DESC" if wanted.is_descending else "ASC"
    total = store.rows(f"SELECT count(*) FROM job WHERE {where}", *values)[0][0]  # noqa: S608 - tests of ours
    rows = store.rows(
        f"SELECT * FROM job WHERE {where} ORDER BY {order} {direction}, id {direction} LIMIT ? OFFSET ?",  # noqa: S608
        *values, wanted.per_page, (wanted.page - 1) * wanted.per_page,
    )  # fmt: skip
    return {"jobs": [summary_of(row) for row in rows], "total": total}
