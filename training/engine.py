"""Running work: one task after another, in a pool of processes, on a Ray cluster or by Slurm.

A task knows only how to run and whether it is complete; an engine knows nothing of what it runs. Running again is
resuming, since complete tasks do nothing. A job whose worker died is tried again; one that fails for good does not
stop the others.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import assert_never

from sae.errors import JobFailed, UserError
from training.config import EngineConfig
from training.executors.executor import Executor
from training.executors.inline import Inline
from training.executors.processes import Processes
from training.jobs import Done, JobTable, Outcome, Task, prepare
from training.resources import visible_gpus

__all__ = ["Done", "Engine", "Task", "prepare"]

LOOK_EVERY_S = 0.25
"""How often progress is read from the job table."""


class Engine:
    """Runs tasks as configured; its workers start with the first tasks and serve every stage until it is closed.

    Args:
        cfg: How the work is spread.
        jobs: Folder of the job table.
    """

    def __init__(self, cfg: EngineConfig, jobs: Path) -> None:
        self.cfg = cfg
        self.table = JobTable(jobs)
        self.distant_cpu_s = 0.0
        """Processor time of jobs that ran outside this process and its children."""
        self._executor: Executor | None = None
        self._inline = Inline(self.table)

    def __enter__(self) -> "Engine":
        prepare(self.cfg.threads)
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if self._executor is not None:  # after a failure nobody should wait for what the next run resumes anyway
            self._executor.close(hastily=failure is not None and not issubclass(failure, UserError | JobFailed))

    @property
    def n_shares(self) -> int:
        """Into how many portions a large job is worth cutting."""
        return self._n_workers * 4 if self.cfg.is_local else 64

    @property
    def n_workers(self) -> int:
        """Jobs at once, as far as is known: a cluster takes as many as it has room for."""
        return self._n_workers if self.cfg.is_local else self.cfg.workers or 64

    @cached_property
    def _gpus(self) -> tuple[str, ...]:
        """The GPUs of this machine, where the work stays on it."""
        return visible_gpus() if self.cfg.kind == "processes" else ()

    @property
    def _n_workers(self) -> int:
        """Jobs at once on this machine: one per GPU, since each holds a model, else as configured."""
        return len(self._gpus) if self._gpus and self.cfg.workers is None else self.cfg.n_workers

    def run(self, tasks: Sequence[Task], done: Done) -> None:
        """Runs all tasks.

        Args:
            tasks: What to run; independent of each other.
            done: Told of progress, from this process.

        Raises:
            UserError: A task met a user's mistake, or its worker died at every attempt. The others are done.
            JobFailed: A task failed for another reason.
        """
        executor = self._executor_for(tasks)
        progress = self._inline.watch = Progress(done)
        for task in tasks:
            self.table.forget(task.id)
            executor.submit(task, 1)
        waiting = {task.id for task in tasks}
        failed: list[Outcome] = []
        while waiting:
            for outcome in executor.wait(LOOK_EVERY_S):
                self._look([outcome.task.id], progress)
                self._count(outcome)
                if outcome.state == "lost":
                    self.table.record_loss(outcome)
                if outcome.state in ("lost", "failure") and outcome.attempt <= self.cfg.retries:
                    executor.submit(outcome.task, outcome.attempt + 1)
                    continue
                waiting.remove(outcome.task.id)
                if outcome.state != "done":
                    failed.append(outcome)
            if executor is not self._inline:
                self._look(waiting, progress)
        if failed:
            self._raise(failed, len(tasks))

    def _look(self, jobs: Iterable[str], progress: "Progress") -> None:
        """Reads from the job table what jobs did since the last look."""
        for job in jobs:
            entry = self.table.entry(job)
            if entry is None:
                continue
            progress(job, entry.amount)

    def _count(self, outcome: Outcome) -> None:
        """Adds up the processor time of an attempt that ended elsewhere."""
        entry = self.table.entry(outcome.task.id)
        if entry is not None and entry.attempt == outcome.attempt and not self.cfg.is_local:
            self.distant_cpu_s += entry.cpu_s

    def _executor_for(self, tasks: Sequence[Task]) -> Executor:
        """One task alone on this machine needs no other process."""
        if self.cfg.is_local and (self._n_workers == 1 or len(tasks) <= 1):
            return self._inline
        self._executor = self._executor or build_executor(self.cfg, self.table, self._n_workers, self._gpus)
        return self._executor

    def _raise(self, failed: list[Outcome], n_tasks: int) -> None:
        """One sentence on the first failure and on how many there are."""
        first = next((outcome for outcome in failed if outcome.state == "mistake"), failed[0])
        others = "" if len(failed) == n_tasks else f" {len(failed)} of {n_tasks} jobs failed, the others are done."
        if first.state == "mistake":
            raise UserError(f"{first.error}{others}") from first.cause
        log = self.table.log_path(first.task.id)
        what = f"{first.task.name} failed {first.attempt} times: {first.error}.{others} Its log is {log}."
        if first.state == "lost":
            raise UserError(
                f"{what} Run the same command again (what is done is kept), with a lower engine.workers or more memory."
            )
        raise JobFailed(what) from first.cause


class Progress:
    """Turns the amounts of many jobs into steps of one bar, which never goes back."""

    def __init__(self, done: Done) -> None:
        self._done = done
        self._amounts: dict[str, int] = {}
        self._shown = 0

    def __call__(self, job: str, amount: int) -> None:
        self._amounts[job] = amount
        total = sum(self._amounts.values())
        if total > self._shown:
            self._done(total - self._shown)
            self._shown = total


def build_executor(cfg: EngineConfig, table: JobTable, n_workers: int, gpus: Sequence[str]) -> Executor:
    """The executor of an engine kind. Others than processes are imported here only: their packages are extras."""
    match cfg.kind:
        case "inline" | "processes":
            return Processes(n_workers, cfg.threads, table, gpus)
        case "ray":
            from training.executors.ray_cluster import RayCluster

            return RayCluster(cfg, table)
        case "slurm":
            from training.executors.slurm import Slurm

            return Slurm(cfg, table)
        case _:
            assert_never(cfg.kind)
