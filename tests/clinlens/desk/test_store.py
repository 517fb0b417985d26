"""Jobs on disk: none lost, none twice, in the right order."""

import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from clinlens.desk.jobs.listing import Wanted, listed
from clinlens.desk.jobs.schema import MIGRATIONS
from clinlens.desk.jobs.store import NewTask, Store, state_of
from sae.errors import UserError
from tests.clinlens.desk.conftest import job


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "desk.db")
    yield found
    found.close()


def add(store: Store, text: str = "a text", n_tasks: int = 1, **options: object) -> str:
    tasks = [NewTask("clinic", "occlusion", {}, f"{n:016x}", False) for n in range(n_tasks)]
    return store.add(job(text, **options), tasks)["id"]


def test_the_same_client_uuid_twice_is_the_same_job(store: Store) -> None:
    number = uuid.uuid4()
    assert add(store, client_uuid=number) == add(store, client_uuid=number)
    assert add(store) != add(store)
    assert listed(store, Wanted())["total"] == 3


def test_the_most_urgent_task_is_taken_first_and_then_the_oldest(store: Store) -> None:
    low, first, second, high = add(store, priority=1), add(store), add(store), add(store, priority=9)
    assert [task.job for _ in range(4) if (task := store.claim())] == [high, first, second, low]
    assert store.claim() is None


def test_a_later_priority_counts(store: Store) -> None:
    first, second = add(store), add(store)
    store.change(second, priority=8)
    task = store.claim()
    assert task is not None
    assert (task.job, first != second) == (second, True)


def test_within_a_job_the_loaded_model_goes_on(store: Store) -> None:
    tasks = [NewTask(model, "occlusion", {}, f"{n:016x}", False) for n, model in enumerate("aba")]
    store.add(job("text"), tasks)
    assert [task.model for _ in range(3) if (task := store.claim("b"))] == ["b", "a", "a"]


def test_what_lost_its_lease_changes_nothing(store: Store) -> None:
    name = add(store)
    old = store.claim()
    assert old is not None
    assert store.recover() == 1
    new = store.claim()
    assert new is not None
    assert not store.end(old, "failed", problem="late")
    assert store.end(new, "completed", seconds=1.0)
    assert not store.end(new, "failed", problem="twice")
    assert store.job(name)["status"] == "completed"  # type: ignore[index]


def test_events_are_numbered_without_gaps(store: Store) -> None:
    name = add(store, n_tasks=2)
    while task := store.claim():
        store.end(task, "completed", seconds=0.1)
    events = store.events(name, 0)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert store.events(name, 3) == events[3:]
    assert (events[-1]["type"], events[-1]["progress"]) == ("completed", 1.0)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (["queued", "queued"], "queued"),
        (["completed", "queued"], "running"),
        (["completed", "completed"], "completed"),
        (["completed", "failed"], "partial"),
        (["failed", "failed"], "failed"),
        (["completed", "cancelled"], "cancelled"),
    ],
)
def test_a_job_is_what_its_tasks_are(states: list[str], state: str) -> None:
    assert state_of(states) == state


def test_search_finds_titles_and_texts_and_takes_signs_as_they_are(store: Store) -> None:
    one, other = add(store, "pain of 100%"), add(store, "fever", title="Pain")
    found = {row["job_id"] for row in listed(store, Wanted(q="pain"))["jobs"]}
    assert found == {one, other}
    assert [row["job_id"] for row in listed(store, Wanted(q="0%"))["jobs"]] == [one]
    assert listed(store, Wanted(q="' OR 1=1 --"))["total"] == 0


def test_pages_cover_all_jobs_once(store: Store) -> None:
    names = [add(store, priority=n % 3) for n in range(7)]
    pages = [listed(store, Wanted(sort="priority", page=page, per_page=3))["jobs"] for page in (1, 2, 3)]
    found = [row for page in pages for row in page]
    assert sorted(row["job_id"] for row in found) == sorted(names)
    assert [row["priority"] for row in found] == sorted((row["priority"] for row in found), reverse=True)


def test_deleting_gives_only_results_that_no_other_job_has(store: Store) -> None:
    add(store, n_tasks=1)
    two = add(store, n_tasks=2)
    assert store.delete(two) == [f"{1:016x}"]
    assert store.events(two, 0) == []


def test_a_second_server_is_refused(store: Store) -> None:
    with pytest.raises(UserError, match="written by another process"):
        Store(store.path)


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "desk.db") as file:
        file.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    file.close()
    with pytest.raises(UserError, match="Update clinlens"):
        Store(tmp_path / "desk.db")


def test_only_its_owner_may_read_the_file(store: Store) -> None:
    assert store.path.stat().st_mode & 0o077 == 0
