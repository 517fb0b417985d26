"""The slurm engine, on a real Slurm of one node."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sae.errors import UserError
from tests.clusters.slurm import SlurmCluster
from tests.training.engine_jobs import capture_gives_the_same_bytes, run_every_kind_of_job
from tests.training.work import Add, Wait
from training.config import EngineConfig, SlurmConfig
from training.engine import Engine
from training.executors import slurm as slurm_executor

pytest.importorskip("submitit", reason="no submitit here: pip install 'clinlens[slurm]'")


@pytest.fixture
def cfg(slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> EngineConfig:
    monkeypatch.setattr(slurm_executor, "GRACE_S", 1.0)
    monkeypatch.setattr(slurm_executor, "LOOK_EVERY_S", 0.2)
    return EngineConfig(kind="slurm", retries=1, slurm=SlurmConfig(minutes=5))


def test_jobs_run_and_survive_their_workers(cfg: EngineConfig, tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    run_every_kind_of_job(cfg, tmp_path)
    capture_gives_the_same_bytes(cfg, tiny_model, tiny_corpus, tmp_path)
    assert not (tmp_path / "jobs" / "slurm").exists(), "submitit's pickles are taken away"


def test_what_the_cluster_has_not_is_one_sentence(cfg: EngineConfig, tmp_path: Path):
    wrong = cfg.model_copy(update={"slurm": SlurmConfig(partition="nowhere")})
    with Engine(wrong, tmp_path) as engine, pytest.raises(UserError, match=r"Slurm did not take sum 1 \(.*partition"):
        engine.run([Add(1, tmp_path)], lambda _amount: None)


def test_jobs_of_a_run_that_was_killed_are_ended_before_they_are_submitted_again(cfg: EngineConfig, tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from tests.training.work import Wait; from training.engine import Engine\n"
        "from training.config import EngineConfig\n"
        "folder = Path(sys.argv[1])\n"
        "with Engine(EngineConfig(kind='slurm'), folder / 'jobs') as engine:\n"
        "    engine.run([Wait(7, 300, folder)], lambda _amount: None)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=Path(__file__).parents[2])
    entry = tmp_path / "jobs" / "sum-7.json"
    deadline = time.monotonic() + 60
    while not entry.is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    process.kill()
    process.wait()
    assert len(slurm_executor.queued() or {}) == 1
    with Engine(cfg, tmp_path / "jobs") as engine:
        engine.run([Wait(8, 0.1, tmp_path)], lambda _amount: None)
    assert "1" not in (slurm_executor.queued() or {}), "the job of the killed run"
    assert not (tmp_path / "7.pid").is_file()


def test_a_machine_without_slurm_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        Engine(EngineConfig(kind="slurm"), tmp_path) as engine,
        pytest.raises(UserError, match="this machine has no sbatch and squeue"),
    ):
        engine.run([Add(1, tmp_path)], lambda _amount: None)
