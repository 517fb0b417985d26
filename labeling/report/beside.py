"""Work shared with a second process, where that is safe and there is a second core for it."""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import TypeVar

from sae.errors import UserError

T = TypeVar("T")
Tasks = Mapping[str, Callable[[], T]]
PLACE_BYTES = 2


def shared_out(tasks: Tasks[T]) -> dict[str, T]:
    """What each task gives, in their order. This process and a second one take the next task whenever they are done with
    one, so neither waits long for the other where the long ones stand first.

    Forked, so that what the tasks read need not be copied. A fork takes no other thread along, and what one held would stay
    locked: so it is done only where there is no other thread. Elsewhere, as in the server, all is done here, which gives the
    same.

    Raises:
        UserError: The second process was ended from outside.
    """
    if not can_fork() or len(tasks) < 2:
        return {name: work() for name, work in tasks.items()}
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe(duplex=False)
    turns = turns_of(len(tasks))
    process = context.Process(target=answer, args=(tasks, turns, theirs, mine), daemon=True)
    process.start()
    theirs.close()
    try:
        here = taken(tasks, turns)
        try:
            there, error = mine.recv()
        except EOFError:
            process.join()
            raise UserError(
                f"The second process of the report ended with code {process.exitcode} before its answer, expected 0. "
                "If memory is short, give it more; then run the report again."
            ) from None
        if error is not None:
            raise error
        return {name: here[name] if name in here else there[name] for name in tasks}
    finally:
        os.close(turns)
        process.kill()
        process.join()
        mine.close()


def can_fork() -> bool:
    """Whether a second process is safe and of use."""
    has_fork = "fork" in multiprocessing.get_all_start_methods() and hasattr(os, "sched_getaffinity")
    is_alone = threading.active_count() == 1 and not multiprocessing.current_process().daemon
    return has_fork and is_alone and len(os.sched_getaffinity(0)) > 1


def turns_of(n_tasks: int) -> int:
    """The end of a pipe in which the places of the tasks lie one after another; whoever reads one has it alone."""
    end, entry = os.pipe()
    os.write(entry, b"".join(place.to_bytes(PLACE_BYTES) for place in range(n_tasks)))
    os.close(entry)
    return end


def taken(tasks: Tasks[T], turns: int) -> dict[str, T]:
    """What the tasks give whose turn came in this process."""
    names, done = list(tasks), {}
    while place := os.read(turns, PLACE_BYTES):
        name = names[int.from_bytes(place)]
        done[name] = tasks[name]()
    return done


def answer(tasks: Tasks[T], turns: int, end: Connection, other_end: Connection) -> None:
    """What the second process does. It lets go of the other end, so that sending fails where the first process is gone."""
    other_end.close()
    try:
        found = taken(tasks, turns), None
    except Exception as error:  # it is raised by the first process
        found = None, error if can_travel(error) else RuntimeError(f"the report failed with {type(error).__name__}")
    end.send(found)
    end.close()


def can_travel(error: Exception) -> bool:
    """Whether an error is the same after it was sent."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)  # noqa: S301 - what was written right here
    except Exception:
        return False
