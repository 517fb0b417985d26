"""Transactions that wait for each other share a commit; none is acknowledged before it, and a failing one fails alone."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import event

from labeling.database import accounts, integrity, shared_commit
from labeling.database.connection import Database
from labeling.database.transaction import PROGRAM


@pytest.fixture
def opened(sqlite: Path) -> Iterator[Database]:
    with Database.open(sqlite) as database:
        yield database


def commits_of(database: Database) -> list[int]:
    made: list[int] = []
    event.listen(database.engine, "commit", lambda conn: made.append(1))
    return made


def names(database: Database) -> set[str]:
    """What is on disk, read beside the database."""
    with sqlite3.connect(str(database.path)) as conn:
        return {name for (name,) in conn.execute("SELECT name FROM institution")}


def all_waiting(database: Database, works: list[Callable[[], None]]) -> list[threading.Thread]:
    """Threads that have all asked for their turn before the first one gets it."""
    threads = [threading.Thread(target=work) for work in works]
    with database.shared.turn:
        for thread in threads:
            thread.start()
        while database.shared.n_waiting < len(threads):
            pass
    return threads


def add(database: Database, name: str, seen: list[bool], fails: bool = False) -> Callable[[], None]:
    def work() -> None:
        try:
            with database.write(is_brief=True) as conn:
                accounts.add_institution(conn, PROGRAM, name)
                if fails:
                    raise ValueError(name)
        except Exception:
            seen.append(False)
        else:
            seen.append(name in names(database))

    return work


def test_those_who_wait_share_one_commit_and_are_acknowledged_after_it(opened: Database):
    seen: list[bool] = []
    made = commits_of(opened)
    for thread in all_waiting(opened, [add(opened, f"House {n}", seen) for n in range(8)]):
        thread.join()
    assert seen == [True] * 8
    assert len(made) == 1


def test_one_that_fails_is_undone_alone(opened: Database):
    seen: list[bool] = []
    for thread in all_waiting(opened, [add(opened, f"House {n}", seen, fails=n % 2 == 1) for n in range(6)]):
        thread.join()
    assert sorted(seen) == [False] * 3 + [True] * 3
    assert names(opened) == {"House 0", "House 2", "House 4"}
    with opened.read() as conn:
        assert integrity.verify(conn) == []


def test_a_commit_that_fails_is_told_to_everyone(opened: Database):
    def refuse(_: object) -> None:
        raise OSError("no disk")

    seen: list[bool] = []
    event.listen(opened.engine, "commit", refuse)
    for thread in all_waiting(opened, [add(opened, f"House {n}", seen) for n in range(3)]):
        thread.join()
    event.remove(opened.engine, "commit", refuse)
    assert seen == [False] * 3
    assert names(opened) == set()
    with opened.write() as conn:
        accounts.add_institution(conn, PROGRAM, "Afterwards")
    assert names(opened) == {"Afterwards"}


def left_open(database: Database, name: str, seen: list[bool]) -> threading.Thread:
    """A thread whose transaction has ended and waits for its commit, which one who is still to come shall make."""
    database.shared.n_waiting += 1
    thread = threading.Thread(target=add(database, name, seen))
    thread.start()
    while database.shared.batch is None or database.shared.turn.locked():
        pass
    return thread


def test_a_transaction_that_the_database_gave_up_takes_its_companions_along(opened: Database):
    seen: list[bool] = []
    first = left_open(opened, "First", seen)
    with suppress(ValueError), opened.write(is_brief=True) as conn:
        conn.exec_driver_sql("ROLLBACK")  # as SQLite itself does where the disk is full
        raise ValueError("given up")
    opened.shared.n_waiting -= 1
    first.join()
    assert seen == [False]
    add(opened, "Afterwards", seen)()
    assert (seen, names(opened)) == ([False, True], {"Afterwards"})
    with opened.read() as conn:
        assert integrity.verify(conn) == []


def test_one_that_is_not_brief_makes_nobody_wait_for_it(opened: Database):
    seen: list[bool] = []
    made = commits_of(opened)
    quick = left_open(opened, "Quick", seen)
    with opened.write() as conn:
        quick.join()
        accounts.add_institution(conn, PROGRAM, "Slow")
        assert names(opened) == {"Quick"}
    opened.shared.n_waiting -= 1
    assert (seen, len(made)) == ([True], 2)


def test_a_commit_serves_so_many_at_most(opened: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared_commit, "MOST", 3)
    seen: list[bool] = []
    made = commits_of(opened)
    for thread in all_waiting(opened, [add(opened, f"House {n}", seen) for n in range(8)]):
        thread.join()
    assert (seen, len(made)) == ([True] * 8, 3)


def test_what_cannot_be_undone_is_not_kept_and_neither_is_what_waits_beside_it(
    opened: Database, monkeypatch: pytest.MonkeyPatch
):
    class Fails:
        def run(self, *_: object) -> None:
            raise OSError("no rollback")

    seen: list[bool] = []

    def half() -> None:
        with opened.write(is_brief=True) as conn:
            accounts.add_institution(conn, PROGRAM, "Half")
            raise ValueError("half done")

    first = left_open(opened, "First", seen)
    with monkeypatch.context() as broken:
        broken.setattr(shared_commit, "ROLLBACK", Fails())
        with pytest.raises(OSError, match="no rollback"):
            half()
    opened.shared.n_waiting -= 1
    first.join()
    assert (seen, names(opened)) == ([False], set())


def test_those_who_wait_go_on_where_nothing_can_be_cleaned_up(opened: Database, monkeypatch: pytest.MonkeyPatch):
    class Broken:
        in_transaction = True

        def rollback(self) -> None:
            raise OSError("no connection")

    def refuse(_: object) -> None:
        raise OSError("no disk")

    seen: list[bool] = []
    first = left_open(opened, "First", seen)
    event.listen(opened.engine, "commit", refuse)
    with monkeypatch.context() as broken:
        broken.setattr(shared_commit, "driver_of", lambda conn: Broken())
        opened.shared.n_waiting -= 1
        with pytest.raises(OSError, match="no disk"), opened.write(is_brief=True):
            pass
    event.remove(opened.engine, "commit", refuse)
    first.join(10)
    assert not first.is_alive()
    assert (seen, names(opened)) == ([False], set())


def test_a_commit_is_made_where_whoever_should_make_it_is_gone(opened: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared_commit, "PATIENCE_S", 0.05)
    seen: list[bool] = []
    opened.shared.n_waiting += 1  # one who was interrupted before its turn came
    thread = threading.Thread(target=add(opened, "House", seen))
    thread.start()
    thread.join(0.3)
    assert seen == []
    opened.shared.n_waiting -= 1
    thread.join()
    assert seen == [True]
