"""One commit for several of SQLite's transactions: the disk is asked once for all who wait.

A commit waits for the disk, four milliseconds and more, and SQLite has one writer: one by one, there are no more
transactions in a second than the disk can be asked. So:

1. A brief transaction that has ended leaves its commit to the next brief one that waits for its turn; the last one that
   waits, or the `MOST`th, commits for all of them. Nobody waits for a transaction that is not brief.
2. `transaction` ends after the commit, so that nothing is acknowledged that is not on disk.
3. Each is a savepoint: where one fails, its own work is undone and nobody else's. Where the commit fails, all fail.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from labeling.database.prepared import Prepared, driver_of

MOST = 32
"""Transactions of one commit; the first of them waits for all others."""
SAVEPOINT, RELEASE, ROLLBACK = (Prepared(text(words)) for words in ("SAVEPOINT one", "RELEASE one", "ROLLBACK TO one"))
PATIENCE_S = 1.0
"""After which one who waits for the commit looks whether whoever should make it is still there."""


class Batch:
    """Transactions that one commit makes durable."""

    def __init__(self, engine: Engine) -> None:
        self.conn = engine.connect().execution_options(is_write=True)
        try:
            self.conn.begin()
        except BaseException:
            self.conn.close()
            raise
        self.n = 0
        self.is_whole = True
        """Whether none of them is half done."""
        self.error: BaseException | None = None
        self.is_over = threading.Event()

    @contextmanager
    def member(self) -> Iterator[Connection]:
        """One transaction of them."""
        self.n += 1
        SAVEPOINT.run(self.conn, {})
        self.is_whole = False
        try:
            yield self.conn
            RELEASE.run(self.conn, {})
        except BaseException as error:
            self.undo(error)
            raise
        self.is_whole = True

    def undo(self, error: BaseException) -> None:
        """Takes back what one of them did; where that cannot be done, nobody's work is kept."""
        before, self.error = self.error, error
        if is_begun(self.conn):  # else SQLite gave up the whole, as where the disk is full
            ROLLBACK.run(self.conn, {})
            RELEASE.run(self.conn, {})
            self.error, self.is_whole = before, True

    def commit(self) -> None:
        """Makes them durable, or tells all of them why they are not."""
        try:
            if self.error is None and not self.is_whole:
                raise RuntimeError("one of the transactions was left half done")
            if self.error is None:
                self.conn.commit()
        except BaseException as error:
            self.error = error
        finally:
            self.leave()

    def leave(self) -> None:
        """Gives the connection back, and whatever comes, lets those go on who wait."""
        try:
            if is_begun(self.conn):  # a commit that failed may leave its transaction open
                driver_of(self.conn).rollback()
        except BaseException as error:
            self.error = self.error or error
        finally:
            try:
                self.conn.close()
            finally:
                self.is_over.set()


class SharedCommit:
    """The turns of SQLite's one writer."""

    def __init__(self, engine: Engine, hold: Callable[[], None]) -> None:
        self.engine = engine
        self.hold = hold
        self.turn = threading.Lock()
        self.counting = threading.Lock()
        self.n_waiting = 0
        """Brief transactions that wait for their turn."""
        self.batch: Batch | None = None
        """Whose commit is still to come."""

    @contextmanager
    def transaction(self, *, is_brief: bool) -> Iterator[Connection]:
        """One transaction; at the end of the block it is on disk, or nothing of it is.

        Args:
            is_brief: It takes milliseconds, so that others may wait for it and share its commit.
        """
        with self.in_turn(is_brief=is_brief):
            if not is_brief:
                self.end()
            self.hold()
            batch = self.batch = self.batch or Batch(self.engine)
            try:
                with batch.member() as conn:
                    yield conn
            finally:
                if not is_brief or not self.n_waiting or batch.n >= MOST or batch.error:
                    self.end()
        self.wait_for(batch)

    @contextmanager
    def in_turn(self, *, is_brief: bool) -> Iterator[None]:
        """Waits until no other transaction runs."""
        with self.counting:
            self.n_waiting += is_brief
        try:
            self.turn.acquire()
        finally:
            with self.counting:
                self.n_waiting -= is_brief
        try:
            yield
        finally:
            self.turn.release()

    def end(self) -> None:
        """Commits what waits for it; the turn is the caller's."""
        batch, self.batch = self.batch, None
        if batch is not None:
            batch.commit()

    def wait_for(self, batch: Batch) -> None:
        """Waits for a commit.

        Raises:
            DatabaseError: It failed.
        """
        while not batch.is_over.wait(PATIENCE_S):
            with self.turn:  # whoever was to commit may have been interrupted while it waited for its turn
                if self.batch is batch and not self.n_waiting:
                    self.end()
        if batch.error is not None:
            raise batch.error


def is_begun(conn: Connection) -> bool:
    """Whether SQLite still knows of a transaction."""
    return not conn.invalidated and bool(driver_of(conn).in_transaction)
