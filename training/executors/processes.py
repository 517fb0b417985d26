"""A pool of processes on this machine.

Not `concurrent.futures`: there, a worker that dies takes the whole pool and all waiting work with it, and nobody
learns which job killed it. Here it is replaced, and its job is known.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from typing_extensions import override

from training.executors.executor import Executor
from training.jobs import JobTable, Outcome, State, Task, perform, prepare

PATIENCE_S = 5.0
"""How long a worker that was told to end may take."""


@dataclass
class Worker:
    """A process and what it is doing."""

    process: BaseProcess
    pipe: Connection
    gpu: str | None
    """The only one it sees, of several."""
    task: Task | None = None
    attempt: int = 0


class Processes(Executor):
    """Spawned workers that start with the first jobs and serve until closed.

    Args:
        n_workers: Processes at most.
        threads: Threads of each one's arithmetic.
        table: Where entries and logs go.
        gpus: Numbers of the GPUs, of which each worker sees one; as many share one as it takes.
    """

    def __init__(self, n_workers: int, threads: int, table: JobTable, gpus: Sequence[str] = ()) -> None:
        super().__init__()
        self._n_workers, self._threads, self._table, self._gpus = n_workers, threads, table, gpus
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[Worker] = []

    @override
    def wait(self, seconds: float) -> list[Outcome]:
        busy = [worker for worker in self._workers if worker.task is not None]
        events = [worker.pipe for worker in busy] + [worker.process.sentinel for worker in busy]
        ready = set(wait(events, seconds))
        found = [self._outcome(worker) for worker in busy if worker.pipe in ready or worker.process.sentinel in ready]
        self._hand_out()
        return found

    @override
    def close(self, *, hastily: bool) -> None:
        self._waiting.clear()
        for worker in self._workers:
            if hastily:
                worker.process.terminate()
            else:
                with suppress(OSError):  # it is gone already
                    worker.pipe.send(None)
        for worker in self._workers:
            worker.process.join(PATIENCE_S)
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    @override
    def _hand_out(self) -> None:
        while self._waiting:
            for worker in [one for one in self._workers if one.task is None and not one.process.is_alive()]:
                self._discard(worker)  # killed between two jobs
            idle = next((worker for worker in self._workers if worker.task is None), None)
            if idle is None and len(self._workers) < self._n_workers:
                idle = self._start()
            if idle is None:
                return
            idle.task, idle.attempt = self._waiting.popleft()
            with suppress(OSError):  # it died this moment; then its end is seen by `wait`
                idle.pipe.send((idle.task, idle.attempt))

    def _start(self) -> Worker:
        ours, theirs = self._context.Pipe()
        taken = [worker.gpu for worker in self._workers]
        gpu = min(self._gpus, key=taken.count, default=None)
        arguments = (theirs, self._threads, os.getpid(), self._table, gpu)
        process = self._context.Process(target=serve, args=arguments, daemon=True)
        process.start()
        theirs.close()
        self._workers.append(Worker(process, ours, gpu))
        return self._workers[-1]

    def _discard(self, worker: Worker) -> None:
        """Forgets a worker that died."""
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)

    def _outcome(self, worker: Worker) -> Outcome:
        """What a worker reports, or that it died."""
        task, attempt, worker.task = worker.task, worker.attempt, None
        assert task is not None  # noqa: S101 - only busy workers are asked
        try:
            state, error = worker.pipe.recv() if worker.pipe.poll() else ("lost", None)
        except (EOFError, OSError):
            state, error = "lost", None
        if state == "lost":
            self._discard(worker)
            error = f"its worker died ({death(worker.process.exitcode)})"
        return Outcome(task, attempt, state, error)


def death(exit_code: int | None) -> str:
    """How a process ended, in words."""
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"{name}, most likely for want of memory" if name == "SIGKILL" else name
    return f"exit code {exit_code}"


def serve(pipe: Connection, threads: int, parent: int, table: JobTable, gpu: str | None) -> None:
    """A worker's life: jobs come through the pipe until nothing comes."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # CUDA starts later, with the first job that needs it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    prepare(threads)
    while (order := pipe.recv()) is not None:
        task, attempt = order
        outcome = perform(task, table, attempt, take_output=True)
        report: tuple[State, str | None] = (outcome.state, outcome.error)
        pipe.send(report)


def end_with(parent: int) -> None:
    """Ends this worker when its parent was killed, so that two runs never write one folder."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
