"""Trials under `wandb agent`, whose one W&B run waits for the figures of the evaluation."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml

from clinlens.sweep import trial as trials
from clinlens.sweep.trial import AGENT, trial
from sae.errors import UserError
from training import tracking


@pytest.fixture
def base(tiny_model: Path, tiny_corpus: Path, tmp_path: Path) -> dict[str, Any]:
    """A run config's values."""
    return {
        "folder": str(tmp_path / "base"),
        "model": {"name": str(tiny_model)},
        "corpus": {"name": str(tiny_corpus)},
        "capture": {"context_tokens": 16, "hook_points": ["blocks.1.hook_resid_post"]},
        "sae": [{"architecture": "topk", "expansion_factor": 2, "k": 4}],
        "training": {"n_tokens": 6400, "batch_tokens": 64, "log_every_steps": 10, "lr": 0.003},
        "evaluation": {"n_tokens": 200, "splice_tokens": 100},
        "engine": {"kind": "inline"},
    }


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Stands for `wandb agent`, with an offline run in the place of the online one; keeps the runs that were started."""
    runs: list[Any] = []

    def started(cfg: Any, *arguments: Any) -> Any:
        assert cfg.wandb == "online"
        runs.append(tracking.started(cfg.model_copy(update={"wandb": "offline"}), *arguments))
        return runs[-1]

    monkeypatch.setenv(AGENT, "sweep1")
    monkeypatch.setattr(trials, "started", started)
    yield runs
    wandb.teardown()  # else W&B goes on under this agent in the tests that follow


def written(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "base.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def summary(folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(folder)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def test_the_agents_run_has_every_row_and_the_evaluation_before_it_ends(
    base: dict[str, Any], agent: list[Any], tmp_path: Path
):
    result = trial(written(tmp_path, base), ("sae.k=3",))
    assert len(agent) == 1, "one run, held open from the training to the evaluation"
    (log,) = Path(result["folder"]).glob("wandb/offline-run-*")
    found, (sae,) = summary(log), result["saes"]
    assert found["state"] == "finished"
    assert found["exit_code"] == 0
    assert found["step"] == 100
    for name in ("explained_variance", "ce_loss_score", "l0"):
        assert found["summary"][name] == pytest.approx(sae["figures"][name]), name


def test_a_point_that_was_trained_before_has_its_curve_in_the_agents_new_run(
    base: dict[str, Any], agent: list[Any], tmp_path: Path
):
    path = written(tmp_path, base)
    first = trial(path, ("sae.k=3",))
    (log,) = Path(first["folder"]).glob("wandb/offline-run-*")
    before = summary(log)["summary"]
    assert trial(path, ("sae.k=3",)) == first
    latest = max(Path(first["folder"]).glob("wandb/offline-run-*"), key=lambda one: one.stat().st_mtime_ns)
    after = summary(latest)["summary"]
    assert {key: value for key, value in after.items() if not key.startswith("_")} == {
        key: value for key, value in before.items() if not key.startswith("_")
    }


def test_a_trial_of_several_architectures_is_refused_before_anything_is_captured(
    base: dict[str, Any], agent: list[Any], tmp_path: Path
):
    base["sae"].append({"architecture": "l1"})
    with pytest.raises(UserError, match="The trial has 2 SAEs, but `wandb agent` gives it one run, expected one SAE"):
        trial(written(tmp_path, base), ("training.lr=0.1",))
    assert agent == []
    assert not list(tmp_path.rglob("acts"))


def test_a_trial_of_several_layers_is_refused_before_the_training(
    base: dict[str, Any], agent: list[Any], tmp_path: Path
):
    base["capture"]["hook_points"] = ["blocks.*.hook_resid_post"]
    with pytest.raises(UserError, match="The trial has 3 SAEs"):
        trial(written(tmp_path, base), ("sae.k=3",))
    assert not list(tmp_path.rglob("saes"))


def test_a_trial_that_fails_ends_the_agents_run_as_failed(
    base: dict[str, Any], agent: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trials.Run, "evaluate_saes", lambda _: (_ for _ in ()).throw(UserError("no")))
    with pytest.raises(UserError, match="no"):
        trial(written(tmp_path, base), ("sae.k=3",))
    (log,) = tmp_path.rglob("offline-run-*")
    assert summary(log)["exit_code"] == 1
