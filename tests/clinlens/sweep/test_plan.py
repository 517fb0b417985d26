"""What a plan times, and what it takes for the time of every SAE."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from clinlens.sweep import trials
from clinlens.sweep.plan import Planned, plan
from sae.config import JumpReLUConfig, L1Config, SAEConfig, TopKConfig
from training import rates
from training.config import TrainingConfig

PLANNED = Planned("blocks.0.hook_resid_post", TopKConfig(k=8), TrainingConfig(), 0, 64)


@pytest.mark.parametrize(
    "other",
    [
        PLANNED._replace(sae=TopKConfig(k=16)),
        PLANNED._replace(sae=TopKConfig(k=8, aux_k=4)),
        PLANNED._replace(sae=TopKConfig(k=8, expansion_factor=9)),
        PLANNED._replace(d_in=65),
        PLANNED._replace(training=TrainingConfig(kernels="dense")),
        PLANNED._replace(training=TrainingConfig(encoder_dtype="bfloat16")),
        PLANNED._replace(training=TrainingConfig(batch_tokens=2048)),
    ],
)
def test_what_decides_the_time_of_a_step_is_timed_anew(other: Planned):
    assert other.shape != PLANNED.shape


def test_what_does_not_decide_it_is_timed_once():
    alike = [
        PLANNED._replace(sae=TopKConfig(k=8, aux_coefficient=0.5)),
        PLANNED._replace(seed=1, hook_point="blocks.1.hook_resid_post"),
        PLANNED._replace(training=TrainingConfig(lr=0.1, n_tokens=10)),
    ]
    assert {one.shape for one in alike} == {PLANNED.shape}
    assert len({PLANNED._replace(sae=L1Config(l1_coefficient=weight)).shape for weight in (1, 2, 4)}) == 1


def test_draws_of_a_sparsity_are_timed_by_half_octaves():
    shapes = {PLANNED._replace(sae=JumpReLUConfig(target_l0=8 + 56 * n / 199)).shape for n in range(200)}
    assert len(shapes) == 7, "8 to 64 are three octaves: both ends, and five between"


def test_each_sparsity_is_timed_once_and_counts_with_its_own_time(
    tiny_model: Path, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    base = {
        "folder": str(tmp_path / "base"),
        "model": {"name": str(tiny_model)},
        "corpus": {"name": str(tiny_corpus)},
        "capture": {"context_tokens": 16},
        "sae": [{"architecture": "topk", "expansion_factor": 2, "k": 4}],
        "training": {"n_tokens": 640, "batch_tokens": 64},
        "engine": {"kind": "inline"},
    }
    parameters: dict[str, Any] = {
        "sae.k": {"values": [2, 8]},
        "training.hook_points": {"values": ["blocks.0.*", "blocks.2.*"]},
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "sweep.yaml").write_text(
        yaml.safe_dump({"program": "base.yaml", "method": "grid", "parameters": parameters})
    )
    timed: list[int] = []

    def seconds(sae: SAEConfig, d_in: int, cfg: TrainingConfig) -> float:
        assert isinstance(sae, TopKConfig)
        timed.append(sae.k)
        return float(sae.k)

    monkeypatch.setattr(rates, "step_seconds", seconds)
    found = plan(trials.read(tmp_path / "sweep.yaml"))
    assert sorted(timed) == [2, 8]
    assert found["train_s"] == 10 * 2 * (2 + 8)  # ten steps each, at two hook points
