"""One job: a task, its log, and its entry in the job table.

The table is a folder: `<id>.json` says how a job stands (state, attempt, amount done, where), `<id>.log` what happened.
Whatever runs a job, on whatever machine, writes both through the shared file system; whoever waits for it reads
them. So progress, retries and the look from another terminal work the same on every engine.
"""

import ctypes
import errno
import logging
import os
import platform
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TextIO

from sae import artefact
from sae.errors import UserError

REPORT_EVERY_S = 0.5
"""How often a running job renews its entry."""
State = Literal["running", "done", "mistake", "failure", "lost"]
Done = Callable[[int], None]
"""Told how much was done since the last call, in the unit of the stage (tokens, mostly)."""
SPEAKING = (OSError, MemoryError, RuntimeError)
"""Errors whose words are about the machine. Those of others could quote the corpus, so only their place is logged."""


class Task(Protocol):
    """A piece of work that can be sent to another process or machine."""

    @property
    def name(self) -> str:
        """For messages; never patient text."""
        ...

    @property
    def id(self) -> str:
        """Name of its log and entry: safe as a file name, unique in the run, ending in a hash of what it makes."""
        ...

    def run(self, done: Done) -> None:
        """Does the work, or what is left of it."""
        ...


@dataclass(frozen=True)
class Entry:
    """How a job stands."""

    id: str
    name: str
    state: State
    attempt: int
    """From 1."""
    amount: int = 0
    """Done so far in this attempt, what an earlier attempt left behind included."""
    host: str = ""
    pid: int = 0
    updated: str = ""
    cpu_s: float = 0.0
    """Processor time of this attempt."""
    error: str | None = None
    """What went wrong, without text of the corpus."""


class Outcome(NamedTuple):
    """How an attempt ended."""

    task: Task
    attempt: int
    state: State
    error: str | None = None
    cause: BaseException | None = None
    """The exception itself, where it was raised in this process."""


class JobTable(NamedTuple):
    """The job table of a run."""

    folder: Path

    def log_path(self, job: str) -> Path:
        """What happened in a job."""
        return self.folder / f"{job}.log"

    def entry(self, job: str) -> Entry | None:
        """How a job stands; none if no attempt of it began."""
        path = self.folder / f"{job}.json"
        return Entry(**artefact.read_json(path)) if path.is_file() else None

    def record_loss(self, outcome: "Outcome") -> None:
        """Says of a job what its dead worker could not."""
        job = outcome.task.id
        found = self.entry(job) or Entry(job, outcome.task.name, "lost", outcome.attempt)
        self.write(replace(found, state="lost", error=outcome.error))
        with logged(self.log_path(job)) as log:
            note(log, str(outcome.error))

    def forget(self, job: str) -> None:
        """Takes out the entry of an earlier run; its log stays."""
        (self.folder / f"{job}.json").unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """All jobs, by id."""
        return [Entry(**artefact.read_json(path)) for path in sorted(self.folder.glob("*.json"))]

    def write(self, entry: Entry) -> None:
        """Renews an entry; not flushed to disk, since a job's result does not rest on it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        artefact.write_json(self.folder / f"{entry.id}.json", asdict(entry), durable=False)


def perform(
    task: Task, table: JobTable, attempt: int, *, take_output: bool, watch: Callable[[int], None] = lambda _amount: None
) -> Outcome:
    """Runs one attempt of a task: what every worker of every engine calls.

    Args:
        task: What to run.
        table: Where its entry and log go.
        attempt: From 1.
        take_output: Whether what the process prints meanwhile goes into the log.
        watch: Told the amount done so far, in this process.
    """
    started, cpu = time.monotonic(), time.process_time()
    amount, reported = 0, started

    def write(state: State, error: str | None = None) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        spent = round(time.process_time() - cpu, 2)
        table.write(
            Entry(task.id, task.name, state, attempt, amount, socket.gethostname(), os.getpid(), now, spent, error)
        )

    def done(more: int) -> None:
        nonlocal amount, reported
        amount += more
        watch(amount)
        if time.monotonic() - reported > REPORT_EVERY_S:
            reported = time.monotonic()
            write("running")

    write("running")
    with logged(table.log_path(task.id)) as log, output_into(log) if take_output else nullcontext():
        note(log, f"attempt {attempt} of {task.name} on {socket.gethostname()}, process {os.getpid()}")
        try:
            task.run(done)
        except Exception as error:
            words = describe(error)
            state: State = "mistake" if isinstance(error, UserError) or is_disk_full(error) else "failure"
            note(log, words if state == "mistake" else f"{words}\n{frames(error)}")
            write(state, words)
            return Outcome(task, attempt, state, words, error)
        note(log, f"done in {time.monotonic() - started:.1f} s")
    write("done")
    return Outcome(task, attempt, "done")


def is_disk_full(error: BaseException) -> bool:
    """Whether there was no room, or no quota left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def describe(error: BaseException) -> str:
    """An error in words that hold no text of the corpus."""
    if isinstance(error, UserError):
        return str(error)
    if is_disk_full(error):
        return "The disk of the run folder is full, expected room. Free some and run the same command again; what is done is kept."
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, SPEAKING) else kind


def frames(error: BaseException) -> str:
    """Where an error was raised, without its words."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()


def note(log: TextIO, words: str) -> None:
    """A line of a log, with the time."""
    log.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {words}\n")
    log.flush()


@contextmanager
def logged(path: Path) -> Iterator[TextIO]:
    """A job's log, to which warnings of ours go as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        handler = logging.StreamHandler(log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        ours = logging.getLogger("clinlens")
        ours.addHandler(handler)
        try:
            yield log
        finally:
            ours.removeHandler(handler)


@contextmanager
def output_into(log: TextIO) -> Iterator[None]:
    """Sends what this process prints, native libraries included, into a log."""
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for stream, _ in kept:
            os.dup2(log.fileno(), stream)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)


def prepare(threads: int) -> None:
    """Sets the threads of torch and of NumPy's and SciPy's BLAS, and keeps freed memory for the next step.

    BLAS takes every core by itself, and two workers' threads then wait for each other: probing took three times as long.
    Source: measured on 2 cores, small decoder: large temporaries that go back to the system after each operation
    cost 1.6 times the whole forward pass in page faults.
    """
    import scipy.linalg  # loads its BLAS, which can be limited only then
    import torch  # the front door answers before it is loaded
    from threadpoolctl import threadpool_limits

    assert scipy.linalg  # noqa: S101 - imported for its effect
    threadpool_limits(threads)
    torch.set_num_threads(threads)
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        mmap_threshold, trim_threshold, largest = -3, -1, 2**31 - 1
        libc.mallopt(mmap_threshold, largest)
        libc.mallopt(trim_threshold, largest)
