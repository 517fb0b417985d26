"""Features that were planted are found again: what ClinLens trains and saves, scored by sae-lens' ground truth."""

from functools import cache
from pathlib import Path

import pytest
import torch
from sae_lens import SAE as SAELensSAE
from sae_lens.synthetic import SyntheticModel, SyntheticModelConfig, eval_sae_on_synthetic_data
from sae_lens.synthetic.evals import SyntheticDataEvalResult
from sae_lens.synthetic.firing_probabilities import ConstantFiringProbabilityConfig

from sae import saelens_format
from sae.build import build
from sae.config import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    L1Config,
    MatryoshkaConfig,
    SAEConfig,
    TopKConfig,
)
from sae.sparse.engine import SparseEngine
from sae.sparse.kernels import TorchKernels
from training.trainee import ENCODER_SCALE, descend

N_FEATURES, D_IN, STEPS, BATCH, DEAD_AFTER_STEPS = 48, 32, 160, 256, 10
CONFIGS: list[SAEConfig] = [
    TopKConfig(k=3),
    JumpReLUConfig(target_l0=3),
    L1Config(l1_coefficient=1.0),
    BatchTopKConfig(k=3),
    MatryoshkaConfig(k=3),
    GatedConfig(l1_coefficient=1.0),
]
LEAST = {
    "topk": (0.87, 0.62),
    "jumprelu": (0.86, 0.74),
    "l1": (0.90, 0.73),
    "batchtopk": (0.86, 0.69),
    "matryoshka": (0.79, 0.64),
    "gated": (0.73, 0.53),
}
"""MCC and F1 to reach. Measured: topk .921 and .683, jumprelu .905 and .795, l1 .951 and .786, batchtopk .906 and .745, matryoshka
.841 and .700, gated .790 and .588; the margin is for other processors' arithmetic. F1 is held down by L0, 3 where 2.4 features
are there."""


@pytest.fixture(scope="module")
def world() -> SyntheticModel:
    """48 features in 32 dimensions, 2.4 of them at a time. Of another seed than the autoencoders: theirs would draw the same."""
    probability = ConstantFiringProbabilityConfig(probability=0.05)
    return SyntheticModel(
        SyntheticModelConfig(N_FEATURES, D_IN, probability, std_firing_magnitudes=0.2, bias=2.0, seed=7)
    )


@cache
def samples(world: SyntheticModel, steps: int) -> torch.Tensor:
    """[steps, batch, d_in], drawn once for all autoencoders."""
    return world.sample(max(steps, 1) * BATCH).view(-1, BATCH, D_IN)


def scored(cfg: SAEConfig, world: SyntheticModel, folder: Path, steps: int) -> SyntheticDataEvalResult:
    """An autoencoder after some steps, folded, saved, read by sae-lens and scored by it."""
    torch.manual_seed(0)
    scale = D_IN**0.5 / float(world.sample(4096).norm(dim=1).mean())
    sae = build(cfg, D_IN, N_FEATURES)
    sae.initialise(world.sample(4096) * scale, torch.Generator().manual_seed(0), ENCODER_SCALE)
    batches = samples(world, steps) * scale
    groups = [{"params": [p], "lr": 1.2e-2 * sae.lr_scales.get(name, 1.0)} for name, p in sae.named_parameters()]
    optimiser, engine = torch.optim.Adam(groups), SparseEngine(TorchKernels())
    silent_steps = torch.zeros(N_FEATURES)
    for step in range(steps):
        dead = silent_steps >= DEAD_AFTER_STEPS
        losses = sae.sparse_losses(batches[step], dead, min(step / 40, 1.0), engine)
        descend(sae, optimiser, losses.total, gradient_clip=1.0)
        sae.observe(losses)
        silent_steps = (silent_steps + 1).masked_fill(losses.fired > 0, 0)
    sae.fold(scale)
    saelens_format.save(sae, cfg, folder, {"model_name": "planted", "hook_name": "planted"})
    theirs = SAELensSAE.load_from_disk(folder)
    return eval_sae_on_synthetic_data(theirs, world.feature_dict, world.activation_generator, 20_000, 4096)


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.architecture)
def test_planted_features_are_found_again(cfg: SAEConfig, world: SyntheticModel, tmp_path: Path):
    before = scored(cfg, world, tmp_path / "before", 0)
    found = scored(cfg, world, tmp_path / "after", STEPS)
    mcc, f1 = LEAST[cfg.architecture]
    assert found.mcc > mcc > before.mcc
    assert found.classification.f1_score > f1 > before.classification.f1_score
    assert found.dead_latents <= 3
