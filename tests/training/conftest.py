"""A small store to train on."""

from pathlib import Path

import pytest

from hooks import capture, corpus
from hooks.capture import Job
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.model import load
from hooks.store import Store


@pytest.fixture(scope="session")
def run_folder(tiny_model: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder that holds a store of two hook points and nothing else."""
    folder = tmp_path_factory.mktemp("run")
    settings = CaptureConfig(hook_points=("blocks.*.hook_resid_post",), context_tokens=16, shard_tokens=300)
    job = Job(ModelConfig(name=str(tiny_model)), CorpusConfig(name=str(tiny_corpus), held_out=0.2), settings, 0)
    plan = capture.prepare(job, corpus.read(job.corpus), load(job.model), folder / "acts")
    for task in plan.tasks(1):
        task.run(lambda _: None)
    capture.conclude(plan)
    return folder


@pytest.fixture
def store(run_folder: Path) -> Store:
    """That store, open."""
    return Store.open(run_folder / "acts")
