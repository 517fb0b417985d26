"""Engines: every job runs once, a dead worker is replaced, one job's failure is its own, logs hold no text."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from sae.errors import JobFailed, UserError
from tests.training.engine_jobs import capture_gives_the_same_bytes
from tests.training.work import Add, Break, Die, Full, Mistake, SeeGPUs, Wait
from training.config import EngineConfig
from training.engine import Engine
from training.jobs import JobTable


def ignore(_amount: int) -> None:
    """No progress bar."""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Engine]:
    def engine(kind: str = "processes", **settings: object) -> Engine:
        return Engine(EngineConfig.model_validate({"kind": kind, "workers": 2} | settings), tmp_path / "jobs")

    return engine


@pytest.mark.parametrize("kind", ["inline", "processes"])
def test_every_task_runs_and_its_amount_is_shown_once(kind: str, make: Callable[..., Engine], tmp_path: Path):
    seen: list[int] = []
    with make(kind) as engine:
        engine.run([Add(number, tmp_path) for number in (1, 2, 3)], seen.append)
        engine.run([Add(number, tmp_path) for number in (10, 20)], seen.append)
    assert sum(seen) == 36
    pids = {int(path.read_text()) for path in tmp_path.glob("*.pid")}
    assert (pids == {os.getpid()}) is (kind == "inline")
    assert len(pids) <= 2, "the pool serves every stage"
    assert {entry.state for entry in JobTable(tmp_path / "jobs").entries()} == {"done"}


def test_progress_is_seen_while_a_job_runs(make: Callable[..., Engine], tmp_path: Path):
    seen: list[int] = []
    with make() as engine:
        engine.run([Wait(1, 1.6, tmp_path), Wait(2, 1.6, tmp_path)], seen.append)
    assert len(seen) >= 3


def test_a_worker_that_dies_is_replaced_and_its_job_tried_again(make: Callable[..., Engine], tmp_path: Path):
    seen: list[int] = []
    with make() as engine:
        engine.run([Die(1, tmp_path, times=2), Add(5, tmp_path), Add(6, tmp_path)], seen.append)
    assert sum(seen) == 13
    entry = JobTable(tmp_path / "jobs").entry("sum-1")
    assert entry is not None
    assert (entry.state, entry.attempt, entry.amount) == ("done", 3, 2)


def test_a_worker_that_dies_for_ever_fails_its_job_and_the_others_finish(make: Callable[..., Engine], tmp_path: Path):
    with make(retries=1) as engine, pytest.raises(UserError, match=r"sum 1 failed 2 times: its worker died \(SIGKILL"):
        engine.run([Die(1, tmp_path), *(Add(number, tmp_path) for number in range(2, 8))], ignore)
    assert len(list(tmp_path.glob("*.pid"))) == 6
    log = (tmp_path / "jobs" / "sum-1.log").read_text()
    assert log.count("of sum 1 on") == 2
    assert log.count("worker died (SIGKILL") == 2


def test_a_users_mistake_keeps_its_sentence_and_is_not_tried_again(make: Callable[..., Engine], tmp_path: Path):
    with make() as engine, pytest.raises(UserError, match=r"^lower k 2 of 3 jobs failed, the others are done\.$"):
        engine.run([Mistake(1), Mistake(2), Add(3, tmp_path)], ignore)
    assert (tmp_path / "jobs" / "sum-1.log").read_text().count("attempt") == 1
    assert (tmp_path / "3.pid").is_file()


@pytest.mark.parametrize("kind", ["inline", "processes"])
def test_a_failure_names_its_log_which_shows_the_place_and_no_text(
    kind: str, make: Callable[..., Engine], tmp_path: Path
):
    with (
        make(kind, retries=1) as engine,
        pytest.raises(JobFailed, match=r"sum 1 failed 2 times: KeyError\. .*sum-1.log"),
    ):
        engine.run([Break(1), Add(2, tmp_path)], ignore)
    log = (tmp_path / "jobs" / "sum-1.log").read_text()
    assert "work.py" in log
    assert "Miller" not in log + (tmp_path / "jobs" / "sum-1.json").read_text()


def test_what_a_job_prints_goes_into_its_log(make: Callable[..., Engine], tmp_path: Path):
    with make() as engine:
        engine.run([Add(1, tmp_path), Add(2, tmp_path)], ignore)
    assert "adding 1\n" in (tmp_path / "jobs" / "sum-1.log").read_text()
    assert "adding 2\n" in (tmp_path / "jobs" / "sum-2.log").read_text()


def test_a_worker_killed_between_two_jobs_or_before_it_read_its_order_is_replaced(
    make: Callable[..., Engine], tmp_path: Path
):
    with make() as engine:
        engine.run([Add(1, tmp_path), Add(2, tmp_path)], ignore)
        for path in tmp_path.glob("*.pid"):
            os.kill(int(path.read_text()), signal.SIGKILL)
        engine.run([Add(3, tmp_path), Add(4, tmp_path), Add(5, tmp_path)], ignore)
    assert {path.stem for path in tmp_path.glob("*.pid")} == {"1", "2", "3", "4", "5"}


def test_a_full_disk_is_the_users_to_mend_and_not_tried_again(make: Callable[..., Engine], tmp_path: Path):
    with (
        make("inline") as engine,
        pytest.raises(UserError, match=r"^The disk of the run folder is full, expected room"),
    ):
        engine.run([Full(1)], ignore)
    assert (tmp_path / "jobs" / "sum-1.log").read_text().count("attempt") == 1


def test_an_interrupt_ends_the_workers_at_once(make: Callable[..., Engine], tmp_path: Path):
    def interrupt(_amount: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), make() as engine:
        engine.run([Wait(1, 60, tmp_path), Wait(2, 60, tmp_path)], interrupt)
    assert not list(tmp_path.glob("*.pid"))


def test_a_capture_whose_worker_is_killed_ends_in_the_same_bytes(tiny_model: Path, tiny_corpus: Path, tmp_path: Path):
    capture_gives_the_same_bytes(EngineConfig(kind="processes", workers=2), tiny_model, tiny_corpus, tmp_path)


def test_each_worker_has_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("training.engine.visible_gpus", lambda: ("3", "5"))
    with Engine(EngineConfig(kind="processes"), tmp_path / "jobs") as engine:
        engine.run([SeeGPUs(1, tmp_path), SeeGPUs(2, tmp_path)], ignore)
    assert {path.read_text() for path in tmp_path.glob("*.gpu")} == {"3", "5"}
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
