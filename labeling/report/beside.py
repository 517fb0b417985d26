"""Work in a second process, where that is safe and there is a second core for it."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

from sae.errors import UserError

T = TypeVar("T")


@contextmanager
def beside(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Begins work in a forked process; what it gives waits for the outcome, and raises what the work raised.

    Forked, so that what the work reads need not be copied. A fork takes no other thread along, and what one held would stay
    locked: so it is done only where there is no other thread. Elsewhere, as in the server, the work is done here when the
    outcome is asked for, which gives the same.

    Raises:
        UserError: The second process was ended from outside.
    """
    if not can_fork():
        yield work
        return
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(work, theirs), daemon=True)
    process.start()
    theirs.close()

    def outcome() -> T:
        try:
            value, error = mine.recv()
        except EOFError:
            process.join()
            raise UserError(
                f"The second process of the report ended with code {process.exitcode} before its answer, expected 0. "
                "If memory is short, give it more; then run the report again."
            ) from None
        if error is not None:
            raise error
        return value

    try:
        yield outcome
    finally:
        process.kill()
        process.join()
        mine.close()


def can_fork() -> bool:
    """Whether a second process is safe and of use."""
    has_fork = "fork" in multiprocessing.get_all_start_methods() and hasattr(os, "sched_getaffinity")
    return has_fork and threading.active_count() == 1 and len(os.sched_getaffinity(0)) > 1


def answer(work: Callable[[], object], end: Connection) -> None:
    """What the second process does."""
    try:
        found = work(), None
    except Exception as error:  # it is raised where the outcome is asked for
        found = None, error
    end.send(found)
    end.close()
