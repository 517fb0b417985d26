"""Jobs as Slurm jobs, submitted by submitit.

How a job stands is read from the job table and, for those that vanished, from `squeue`; never from accounting, which
many clusters have not. A job that Slurm ended (time limit, node failure) counts as lost and is tried again, where it
goes on from its last checkpoint. The run folder must lie at the same path on every node.

submitit hands the work over as pickles. They are written by this process into a folder that only its owner may read
and enter, and taken away afterwards; nothing else is ever unpickled, results do not come back that way.
"""

import logging
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from sae import artefact
from sae.errors import UserError
from training.config import EngineConfig
from training.executors.executor import Executor
from training.jobs import JobTable, Outcome, Task, perform, prepare

log = logging.getLogger("clinlens")
LOOK_EVERY_S = 1.0
"""How often the job table is read; the controller is asked a tenth as often."""
GRACE_S = 10.0
"""How long a job that Slurm no longer lists may still show its result through a shared file system."""
ORDINARY = ("None", "Resources", "Priority", "")
"""Reasons for waiting that pass by themselves."""
SUBMITTED = "submitted.json"


@dataclass
class Running:
    """A job in Slurm's hands."""

    task: Task
    attempt: int
    vanished: float | None = None
    """When it was first missed in the queue."""


class Slurm(Executor):
    """Attempts as Slurm jobs.

    Args:
        cfg: What to ask Slurm for.
        table: Where entries and logs go; submitit's files lie inside.

    Raises:
        UserError: submitit is not installed, or there is no Slurm here.
    """

    def __init__(self, cfg: EngineConfig, table: JobTable) -> None:
        super().__init__()
        self._cfg, self._table = cfg, table
        self._folder = table.folder / "slurm"
        self._room = cfg.workers or 10**9
        self._running: dict[str, Running] = {}
        self._asked = 0.0
        self._told: set[str] = set()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self._executor = open_submitit(cfg, self._folder)
        self._end_leftovers()

    @override
    def wait(self, seconds: float) -> list[Outcome]:
        time.sleep(min(seconds, LOOK_EVERY_S))
        if time.monotonic() - self._asked > 10 * LOOK_EVERY_S or any(r.vanished for r in self._running.values()):
            self._asked = time.monotonic()
            self._look_at_queue()
        found = [outcome for job in list(self._running) if (outcome := self._outcome(job))]
        self._hand_out()
        return found

    @override
    def close(self, *, hastily: bool) -> None:
        self._waiting.clear()
        if self._running:
            cancel(list(self._running))
        shutil.rmtree(self._folder, ignore_errors=True)

    @override
    def _hand_out(self) -> None:
        while self._waiting and len(self._running) < self._room:
            task, attempt = self._waiting.popleft()
            try:
                job = self._executor.submit(work, task, self._table, attempt, self._cfg.threads)
            except RuntimeError as error:  # submitit's word for what sbatch refused
                raise UserError(
                    f"Slurm did not take {task.name} ({last_line(error)}), expected resources that the cluster has. "
                    "Correct engine.slurm, engine.threads or engine.gpus."
                ) from error
            self._running[job.job_id] = Running(task, attempt)
            artefact.write_json(self._folder / SUBMITTED, list(self._running), durable=False)

    def _outcome(self, job: str) -> Outcome | None:
        """How a job ended; none while it has not."""
        running = self._running[job]
        entry = self._table.entry(running.task.id)
        if entry is not None and entry.attempt == running.attempt and entry.state not in ("running", "lost"):
            del self._running[job]
            return Outcome(running.task, running.attempt, entry.state, entry.error)
        if running.vanished is not None and time.monotonic() - running.vanished > GRACE_S:
            del self._running[job]
            self._keep_last_words(job, running.task)
            return Outcome(running.task, running.attempt, "lost", f"Slurm ended it ({cause(job)})")
        return None

    def _keep_last_words(self, job: str, task: Task) -> None:
        """Puts what a job said outside our hands, e.g. before Python began, into its log."""
        for path in sorted(self._folder.glob(f"{job}_*.err")):
            with self._table.log_path(task.id).open("a", encoding="utf-8") as log:
                log.writelines(path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)[-20:])

    def _look_at_queue(self) -> None:
        queue = queued()
        if queue is None:  # the controller does not answer: nothing is known
            return
        for job, running in self._running.items():
            if job not in queue:
                running.vanished = running.vanished or time.monotonic()
                continue
            running.vanished = None
            state, reason = queue[job]
            if state == "PENDING" and reason not in ORDINARY and reason not in self._told:
                self._told.add(reason)
                log.warning("slurm: %s waits (%s)", running.task.name, reason)

    def _end_leftovers(self) -> None:
        """Ends jobs of an earlier run that was killed, so that two never write one folder."""
        path = self._folder / SUBMITTED
        if not path.is_file():
            return
        ours = set(artefact.read_json(path))
        left = ours & set(queued() or {})
        if left:
            log.info("slurm: ending %d jobs of an earlier run", len(left))
            cancel(sorted(left))
        while ours & set(queued() or {}):
            time.sleep(LOOK_EVERY_S)


def work(task: Task, table: JobTable, attempt: int, threads: int) -> None:
    """What Slurm runs; the outcome is in the job table."""
    prepare(threads)
    perform(task, table, attempt, take_output=True)


def open_submitit(cfg: EngineConfig, folder: Any) -> Any:
    """submitit's executor with what the config asks of Slurm.

    Raises:
        UserError: It is not installed, or there is no Slurm here.
    """
    try:
        import submitit  # an extra
    except ImportError as error:
        raise UserError(
            "engine.kind is slurm, but submitit is not installed here. Run `pip install 'clinlens[slurm]'`, "
            "or set engine.kind=processes."
        ) from error
    if shutil.which("sbatch") is None or shutil.which("squeue") is None:
        raise UserError(
            "engine.kind is slurm, but this machine has no sbatch and squeue, expected a login node of a Slurm cluster. "
            "Run it there, or set engine.kind=processes."
        )
    asked = {
        "time": cfg.slurm.minutes,
        "cpus_per_task": cfg.threads,
        "use_srun": False,
        "job_name": "clinlens",
        "partition": cfg.slurm.partition,
        "account": cfg.slurm.account,
        "mem": None if cfg.slurm.memory_gb is None else f"{max(round(cfg.slurm.memory_gb * 1024), 1)}M",
        "gpus_per_node": round(cfg.gpus) or None,
        "setup": list(cfg.slurm.setup) or None,
    }
    executor = submitit.SlurmExecutor(folder=folder)
    executor.update_parameters(**{key: value for key, value in asked.items() if value is not None})
    return executor


def queued() -> dict[str, tuple[str, str]] | None:
    """The user's jobs that Slurm lists, with state and reason; none if the controller does not answer."""
    found = subprocess.run(
        ["squeue", "--me", "-h", "--array", "-o", "%i|%T|%r"],  # noqa: S607 - wherever the site has it
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode != 0:
        return None
    rows = (line.split("|") for line in found.stdout.splitlines())
    return {job: (state, reason) for job, state, reason in rows if state != "COMPLETING"}


def cause(job: str) -> str:
    """What Slurm still says of a job that ended."""
    found = subprocess.run(  # noqa: S603 - fixed words
        ["scontrol", "-o", "show", "job", job], capture_output=True, text=True, check=False,  # noqa: S607
    )  # fmt: skip
    facts = dict(part.split("=", 1) for part in found.stdout.split() if "=" in part)
    return " ".join(facts[key] for key in ("JobState", "Reason") if key in facts) or "it is no longer listed"


def cancel(jobs: list[str]) -> None:
    """Ends jobs at once; submitit's runner takes no notice of a gentler signal."""
    subprocess.run(["scancel", "--full", "--signal=KILL", *jobs], capture_output=True, check=False)  # noqa: S603, S607
    subprocess.run(["scancel", *jobs], capture_output=True, check=False)  # noqa: S603, S607 - those that still wait


def last_line(error: BaseException) -> str:
    """The line of sbatch's complaint that says why."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
