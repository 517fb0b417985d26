"""Running work: one task after another, or many in a pool of processes.

A task knows only how to run and whether it is complete; an engine knows nothing of what it runs. Running again is
resuming, since complete tasks do nothing.
"""

import ctypes
import multiprocessing
import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue
from typing import Any, Protocol

from sae.errors import UserError
from training.config import EngineConfig

LATE_S = 2.0
"""How long the last reports of finished workers are waited for; they come by another way than the results."""
Done = Callable[[int], None]
"""Told how much was done since the last call, in the unit of the stage (tokens, mostly)."""


class Task(Protocol):
    """A piece of work that can be sent to another process."""

    @property
    def name(self) -> str:
        """For messages; never patient text."""
        ...

    def run(self, done: Done) -> None:
        """Does the work, or what is left of it."""
        ...


class Engine:
    """Runs tasks as configured; its processes start with the first tasks and serve every stage until it is closed.

    Args:
        cfg: How the work is spread.
    """

    def __init__(self, cfg: EngineConfig) -> None:
        self.cfg = cfg
        self._done: Done = ignore
        self._received = 0
        self._pool: ProcessPoolExecutor | None = None
        self._queue: Queue[int | None] | None = None
        self._listener: threading.Thread | None = None

    def __enter__(self) -> "Engine":
        prepare(self.cfg.threads)
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if self._pool is None or self._queue is None or self._listener is None:
            return
        if failure is not None:  # what was under way is resumed by the next run; nobody should wait for it now
            for worker in multiprocessing.active_children():
                worker.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._queue.put(None)
        self._listener.join()

    def run(self, tasks: Sequence[Task], done: Done) -> None:
        """Runs all tasks; the first failure stops the rest.

        Args:
            tasks: What to run; independent of each other.
            done: Told of progress, from this process.

        Raises:
            UserError: A task met a user's mistake, or a worker died.
        """
        if self.cfg.n_workers == 1 or len(tasks) <= 1:
            for task in tasks:
                task.run(done)
            return
        self._done = done
        pool = self._pool or self._start()
        try:
            expected = self._received + collect({pool.submit(run_in_worker, task): task for task in tasks})
            deadline = time.monotonic() + LATE_S
            while self._received < expected and time.monotonic() < deadline:
                time.sleep(0.005)
        finally:
            self._done = ignore

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        self._queue = context.Queue()
        self._listener = threading.Thread(target=self._forward, args=(self._queue,), daemon=True)
        self._listener.start()
        arguments = (self._queue, self.cfg.threads, os.getpid())
        self._pool = ProcessPoolExecutor(self.cfg.n_workers, context, initialise, arguments)
        return self._pool

    def _forward(self, queue: "Queue[int | None]") -> None:
        while (amount := queue.get()) is not None:
            self._done(amount)
            self._received += amount


def ignore(_amount: int) -> None:
    """Progress that nobody looks at."""


def collect(futures: dict[Future[int], Task]) -> int:
    """Waits for all tasks, raising the first failure; how much they reported in all."""
    total = 0
    for future in as_completed(futures):
        try:
            total += future.result()
        except BrokenProcessPool as error:
            raise UserError(
                f"A worker died while {futures[future].name} was under way, most likely for want of memory. "
                "Run the same command again (what is done is kept), with a lower engine.workers."
            ) from error
    return total


_queue: Any = None


def initialise(queue: Any, threads: int, parent: int) -> None:
    """Prepares a worker process."""
    global _queue  # noqa: PLW0603 - a pool's initialiser has no other place to leave it
    _queue = queue
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    prepare(threads)


def end_with(parent: int) -> None:
    """Ends this worker when its parent was killed, so that two runs never write one folder."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)


def run_in_worker(task: Task) -> int:
    """What a pool calls; how much the task reported."""
    reported: list[int] = [0]

    def done(amount: int) -> None:
        reported[0] += amount
        _queue.put(amount)

    task.run(done)
    return reported[0]


def prepare(threads: int) -> None:
    """Sets the threads of torch and keeps freed memory for the next step.

    Source: measured on 2 cores, small decoder: large temporaries that go back to the system after each operation
    cost 1.6 times the whole forward pass in page faults.
    """
    import torch  # the front door answers before it is loaded

    torch.set_num_threads(threads)
    if platform.system() == "Linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        mmap_threshold, trim_threshold, largest = -3, -1, 2**31 - 1
        libc.mallopt(mmap_threshold, largest)
        libc.mallopt(trim_threshold, largest)
