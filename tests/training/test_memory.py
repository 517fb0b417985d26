"""What is planned for a step is enough for what it holds."""

import sys
from pathlib import Path

import pytest
import torch

from benchmarks.harness.transient import transient_mb
from sae.build import build
from sae.config import BatchTopKConfig, MatryoshkaConfig, TopKConfig
from sae.sparse.engine import SparseEngine
from sae.sparse.kernels import TorchKernels
from training.config import TrainingConfig
from training.memory import step_bytes
from training.spec import Fit
from training.trainee import ENCODER_SCALE, descend, new_optimiser

D_IN, EXPANSION, BATCH = 128, 32, 1024
D_SAE = D_IN * EXPANSION
GRADIENT_BYTES = 4 * 2 * D_IN * D_SAE
"""Of encoder and decoder; they are planned with the weights, but come to be in the step."""


def held_bytes(cfg: TopKConfig | BatchTopKConfig | MatryoshkaConfig, n_dead: int) -> float:
    """Most that one sparse step held beside weights, gradients and moments."""
    generator = torch.Generator().manual_seed(0)
    x, dead = torch.randn(BATCH, D_IN, generator=generator), torch.arange(D_SAE) < n_dead
    sae, engine = build(cfg, D_IN), SparseEngine(TorchKernels())
    sae.initialise(x, generator, ENCODER_SCALE)
    optimiser = new_optimiser(sae, 1e-5)

    def step() -> None:
        losses = sae.sparse_losses(x, dead, 1.0, engine)
        descend(sae, optimiser, losses.total, gradient_clip=1.0)

    return transient_mb(step, engine.release) * 2**20 - GRADIENT_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("architecture", "n_dead"),
    [(TopKConfig, 0), (TopKConfig, 1000), (TopKConfig, 4000), (BatchTopKConfig, 0), (MatryoshkaConfig, 1000)],
)
def test_a_step_holds_no_more_than_is_planned(
    architecture: type[TopKConfig | BatchTopKConfig | MatryoshkaConfig], n_dead: int
):
    """With no dead features, with few enough for a dense auxiliary loss, and with so many that it is sparse."""
    cfg = architecture(expansion_factor=EXPANSION, k=16)
    training = TrainingConfig(batch_tokens=BATCH, n_tokens=BATCH, kernels="torch")
    planned = step_bytes(Fit(Path("run"), "blocks.0.hook_resid_post", cfg, training, 0, "store", 1), D_IN)
    held = min(held_bytes(cfg, n_dead) for _ in range(3))  # what else the process does can only add to a measurement
    assert 4 * D_SAE * BATCH < held <= planned, "the buffer of pre-activations is the least"
