"""What every engine that spreads work must do; run on real clusters by the tests beside this file."""

import shutil
from pathlib import Path

import pytest

from hooks import capture, corpus
from hooks.capture import Job
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.model import load
from sae.errors import UserError
from tests.training.work import Add, Die, KilledInside, Mistake
from training.config import EngineConfig
from training.engine import Engine
from training.jobs import JobTable


def run_every_kind_of_job(cfg: EngineConfig, folder: Path) -> None:
    """Work that is done, a worker killed in mid-job and tried again, one that dies for ever, a user's mistake."""
    seen: list[int] = []
    table = JobTable(folder / "jobs")
    with Engine(cfg, folder / "jobs") as engine:
        engine.run([Die(1, folder, times=1), Add(5, folder), Add(6, folder)], seen.append)
        assert sum(seen) == 13
        entry = table.entry("sum-1")
        assert entry is not None
        assert (entry.state, entry.attempt) == ("done", 2)
        with pytest.raises(UserError, match=r"sum 11 failed 2 times: .*Its log is .*sum-11.log"):
            engine.run([Die(11, folder), Add(12, folder)], seen.append)
        with pytest.raises(UserError, match=r"^lower k 1 of 2 jobs failed, the others are done\.$"):
            engine.run([Mistake(21), Add(22, folder)], seen.append)
    assert {path.stem for path in folder.glob("*.pid")} == {"5", "6", "12", "22"}
    assert "adding 5" in table.log_path("sum-5").read_text()


def capture_gives_the_same_bytes(cfg: EngineConfig, model: Path, notes: Path, folder: Path) -> None:
    """A real capture, spread over workers of which one is killed in mid-job, beside the same capture in this process."""
    job = Job(
        ModelConfig(name=str(model)),
        CorpusConfig(name=str(notes)),
        CaptureConfig(context_tokens=16, shard_tokens=300),
        seed=0,
    )
    for kind, place in ((EngineConfig(kind="inline"), folder / "here"), (cfg, folder / "there")):
        plan = capture.prepare(job, corpus.read(job.corpus), load(job.model), place / "acts")
        with Engine(kind, place / "jobs") as engine:
            first, *others = plan.tasks(2)
            spread = [KilledInside(first, folder / "killed"), *others] if kind is cfg else [first, *others]
            engine.run(spread, lambda _amount: None)
            assert (engine.distant_cpu_s > 0) is not kind.is_local
        capture.conclude(plan)
    here, there = (
        {path.name: path.read_bytes() for path in (folder / name / "acts").iterdir()} for name in ("here", "there")
    )
    assert (folder / "killed").exists()
    assert len(here) > 4
    assert here == there
    shutil.rmtree(folder / "here")
