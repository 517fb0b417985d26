"""Work in a second process, where that is safe and there is a second core for it."""

import multiprocessing
import os
import pickle
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
    process = context.Process(target=answer, args=(work, theirs, mine), daemon=True)
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
    is_alone = threading.active_count() == 1 and not multiprocessing.current_process().daemon
    return has_fork and is_alone and len(os.sched_getaffinity(0)) > 1


def answer(work: Callable[[], object], end: Connection, other_end: Connection) -> None:
    """What the second process does. It lets go of the other end, so that sending fails where the first process is gone."""
    other_end.close()
    try:
        found = work(), None
    except Exception as error:  # it is raised where the outcome is asked for
        found = None, error if can_travel(error) else RuntimeError(f"the report failed with {type(error).__name__}")
    end.send(found)
    end.close()


def can_travel(error: Exception) -> bool:
    """Whether an error is the same after it was sent."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)  # noqa: S301 - what was written right here
    except Exception:
        return False
