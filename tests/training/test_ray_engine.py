"""The ray engine, on a real Ray of two nodes."""

import os
import signal
import threading
from pathlib import Path

import pytest

from sae.errors import UserError
from tests.clusters.ray import RayCluster
from tests.training.engine_jobs import capture_gives_the_same_bytes, run_every_kind_of_job
from tests.training.work import Wait
from training.config import EngineConfig, RayConfig
from training.engine import Engine

pytest.importorskip("ray", reason="no ray here: pip install 'clinlens[ray]'")


@pytest.fixture
def cfg(ray_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> EngineConfig:
    for name, value in ray_cluster.environment.items():
        monkeypatch.setenv(name, value)
    return EngineConfig(kind="ray", retries=1, ray=RayConfig(address=ray_cluster.address))


def test_jobs_run_on_two_nodes_and_survive_workers_and_a_node(
    cfg: EngineConfig, ray_cluster: RayCluster, tiny_model: Path, tiny_corpus: Path, tmp_path: Path
):
    before = signal.getsignal(signal.SIGTERM)
    run_every_kind_of_job(cfg, tmp_path)
    capture_gives_the_same_bytes(cfg, tiny_model, tiny_corpus, tmp_path)
    with Engine(cfg, tmp_path / "jobs") as engine:
        threading.Timer(1.5, ray_cluster.remove_node).start()
        engine.run([Wait(31, 4, tmp_path), Wait(32, 4, tmp_path)], lambda _amount: None)
    assert {(tmp_path / f"{n}.pid").is_file() for n in (31, 32)} == {True}
    assert signal.getsignal(signal.SIGTERM) is before
    assert Path.cwd() == Path(os.getcwd())


def test_an_unreachable_head_is_one_sentence_within_seconds(tmp_path: Path):
    cfg = EngineConfig(kind="ray", ray=RayConfig(address="127.0.0.1:1"))
    with (
        Engine(cfg, tmp_path) as engine,
        pytest.raises(UserError, match=r"^No Ray head answers at 127.0.0.1:1 \(.*\), "),
    ):
        engine.run([Wait(1, 0, tmp_path), Wait(2, 0, tmp_path)], lambda _amount: None)


def test_an_address_without_a_port_is_refused(tmp_path: Path):
    cfg = EngineConfig(kind="ray", ray=RayConfig(address="head"))
    with Engine(cfg, tmp_path) as engine, pytest.raises(UserError, match="is 'head', expected host:port"):
        engine.run([Wait(1, 0, tmp_path)], lambda _amount: None)
