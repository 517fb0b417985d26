"""A process that computes: `python -m clinlens.desk.jobs.worker SETUP`, orders in on stdin, words out on stdout.

One JSON line each way. Its bench loads torch, so that the server need not, and keeps models loaded. It says every second
that it lives. When its stdin ends, so does it: no process outlives its server. What goes wrong is told by kind and place, never in
an exception's own words, which could quote a note.
"""

import importlib
import json
import os
import queue
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, Any, NoReturn

from sae.errors import UserError

BEAT_S = 1.0
MEMORY_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc")


class Cancelled(BaseException):
    """The task was taken back. Not an Exception, so that nothing on the way takes it for a failure."""


class Line:
    """The way out; several threads speak, one line at a time."""

    def __init__(self, file: IO[str]) -> None:
        self.file, self.lock = file, threading.Lock()

    def say(self, **words: Any) -> None:
        """One message."""
        with self.lock:
            self.file.write(json.dumps(words) + "\n")
            self.file.flush()


class Interruptible:
    """Lets a signal end a task, and nothing but a task."""

    def __init__(self) -> None:
        self.task: int | None = None
        signal.signal(signal.SIGINT, self.on_signal)

    def on_signal(self, *_: Any) -> None:
        """Ends the task, if one is under way."""
        if self.task is not None:
            self.task = None
            raise Cancelled


def main() -> None:
    """Works until stdin ends."""
    import faulthandler

    setup = json.loads(sys.argv[1])
    line = Line(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)  # what libraries print goes to the log
    faulthandler.enable()  # a crash leaves its frames there
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for good; Python's own words could quote a note
    limit_memory(setup["memory_mib"])
    volunteer()
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=listen, args=(orders,), daemon=True).start()
    threading.Thread(target=beat, args=(line,), daemon=True).start()
    interruptible = Interruptible()
    bench = importlib.import_module(setup["bench"]).Bench(setup)
    line.say(type="ready", pid=os.getpid())
    while True:
        carry_out(bench, orders.get(), line, interruptible)


def carry_out(bench: Any, order: dict[str, Any], line: Line, interruptible: Interruptible) -> None:
    """One order, and what came of it."""
    try:
        interruptible.task = order["number"]
        try:
            done = bench.do(order, lambda phase: line.say(type="phase", number=order["number"], phase=phase))
        finally:
            interruptible.task = None
        line.say(type="done", number=order["number"], **done)
    except Cancelled:
        line.say(type="cancelled", number=order["number"])
    except UserError as error:
        line.say(type="failed", number=order["number"], problem=str(error), kind="UserError", frames=[])
    except Exception as error:
        fail(error, order, line)


def fail(error: Exception, order: dict[str, Any], line: Line) -> None:
    """Tells of a failure of ours; a process that had no memory left is not to be trusted with more."""
    kind, is_memory = type(error).__name__, is_memory_error(error)
    frames = [
        f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in traceback.extract_tb(error.__traceback__)[-12:]
    ]
    problem = (
        "The process ran out of memory, expected the task to fit. Shorten the text, choose a method with fewer passes, or give "
        "the server more memory."
        if is_memory
        else f"The task failed on our side ({kind}). Its log says where; tell your administrator."
    )
    line.say(type="failed", number=order["number"], problem=problem, kind=kind, frames=frames, is_memory=is_memory)
    if is_memory:
        leave(0)


def is_memory_error(error: BaseException) -> bool:
    """Whether memory ran out, in Python or in torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError | OSError) and any(word in str(error).lower() for word in MEMORY_WORDS)


def limit_memory(mib: int) -> None:
    """Bounds the data of this process."""
    if mib:
        resource.setrlimit(resource.RLIMIT_DATA, (mib << 20, mib << 20))


def volunteer() -> None:
    """Where the machine runs out of memory, Linux shall end this process and not the server."""
    place = Path("/proc/self/oom_score_adj")
    try:
        place.write_text("800")
    except OSError:
        return  # not Linux, or not allowed: then the system chooses by size, which is a worker's too


def listen(orders: "queue.Queue[dict[str, Any]]") -> None:
    """Takes orders; the end of stdin is the end of the server."""
    for text in sys.stdin:
        orders.put(json.loads(text))
    leave(0)


def beat(line: Line) -> None:
    """Says that the process lives."""
    pause = threading.Event()
    while not pause.wait(BEAT_S):
        try:
            line.say(type="beat", rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        except OSError:
            leave(0)


def leave(code: int) -> NoReturn:
    """Ends at once, whatever other threads do."""
    os._exit(code)


if __name__ == "__main__":
    main()
