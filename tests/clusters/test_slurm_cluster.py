import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.clusters.slurm import SlurmCluster


def submit(*arguments: str) -> str:
    """The job's number."""
    command = ["sbatch", "--parsable", "--output=/dev/null", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def states() -> dict[str, str]:
    """The state of every job that waits or runs."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i %T"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(line.split() for line in lines)


def until_gone(*jobs: str) -> None:
    deadline = time.monotonic() + 30
    while set(jobs) & states().keys():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def until_written(path: Path) -> str:
    deadline = time.monotonic() + 30
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return path.read_text().strip()


def test_two_jobs_run_at_once_and_leave_the_queue(slurm: SlurmCluster, tmp_path: Path) -> None:
    marks = [tmp_path / "a", tmp_path / "b"]
    waits = "for _ in $(seq 200); do [ -e {other} ] && exit 0; sleep 0.1; done"  # each ends only beside the other
    jobs = [
        submit(f"--wrap=echo begun > {mark}; {waits.format(other=other)}")
        for mark, other in zip(marks, reversed(marks), strict=True)
    ]
    assert states().keys() >= set(jobs)
    until_gone(*jobs)
    assert [mark.read_text() for mark in marks] == ["begun\n", "begun\n"]


def test_a_job_whose_process_is_killed_leaves_the_queue(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = submit(f"--wrap=echo $$ > {tmp_path / 'pid'}; sleep 60; true")
    pid = int(until_written(tmp_path / "pid"))
    assert states()[job] == "RUNNING"
    os.kill(pid, signal.SIGKILL)
    until_gone(job)


def test_a_cancelled_job_leaves_no_process(slurm: SlurmCluster, tmp_path: Path) -> None:
    job = submit(f"--wrap=trap '' TERM; bash -c 'echo $$ > {tmp_path / 'pid'}; sleep 60; true'; true")
    pid = int(until_written(tmp_path / "pid"))
    command = ["scancel", "--full", "--signal=KILL", job]
    subprocess.run(command, check=True)
    until_gone(job)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_submitit_brings_a_result_back(slurm: SlurmCluster, tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit")
    executor = submitit.SlurmExecutor(folder=tmp_path)
    executor.update_parameters(time=5, use_srun=False)
    job = executor.submit(abs, -3)
    deadline = time.monotonic() + 30
    while not job.paths.result_pickle.exists():  # not job.done(): it asks for the accounting that is not there
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert job.result() == 3
