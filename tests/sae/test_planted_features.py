"""Features that were planted are found again: what ClinLens trains and saves, scored by sae-lens' ground truth."""

from pathlib import Path

import pytest
import torch
from sae_lens import SAE as SAELensSAE
from sae_lens.synthetic import SyntheticModel, SyntheticModelConfig, eval_sae_on_synthetic_data
from sae_lens.synthetic.evals import SyntheticDataEvalResult
from sae_lens.synthetic.firing_probabilities import ConstantFiringProbabilityConfig

from sae import saelens_format
from sae.build import build
from sae.config import JumpReLUConfig, L1Config, SAEConfig, TopKConfig
from training.trainee import ENCODER_SCALE, descend

N_FEATURES, D_IN, STEPS, BATCH, DEAD_AFTER_STEPS = 48, 32, 800, 256, 20
CONFIGS: list[SAEConfig] = [TopKConfig(k=3), JumpReLUConfig(target_l0=3), L1Config(l1_coefficient=1.0)]
LEAST = {"topk": (0.88, 0.62), "jumprelu": (0.88, 0.72), "l1": (0.92, 0.78)}
"""MCC and F1 to reach. Measured: topk .911 and .668, jumprelu .926 and .775, l1 .964 and .831; the margin is for other
processors' arithmetic. F1 is held down by L0, 3 where 2.4 features are there."""


@pytest.fixture(scope="module")
def world() -> SyntheticModel:
    """48 features in 32 dimensions, 2.4 of them at a time. Of another seed than the autoencoders: theirs would draw the same."""
    probability = ConstantFiringProbabilityConfig(probability=0.05)
    return SyntheticModel(
        SyntheticModelConfig(N_FEATURES, D_IN, probability, std_firing_magnitudes=0.2, bias=2.0, seed=7)
    )


def scored(cfg: SAEConfig, world: SyntheticModel, folder: Path, steps: int) -> SyntheticDataEvalResult:
    """An autoencoder after some steps, folded, saved, read by sae-lens and scored by it."""
    torch.manual_seed(0)
    scale = D_IN**0.5 / float(world.sample(4096).norm(dim=1).mean())
    sae = build(cfg, D_IN, N_FEATURES)
    sae.initialise(world.sample(4096) * scale, torch.Generator().manual_seed(0), ENCODER_SCALE)
    groups = [{"params": [p], "lr": 3e-3 * sae.lr_scales.get(name, 1.0)} for name, p in sae.named_parameters()]
    optimiser = torch.optim.Adam(groups)
    silent_steps = torch.zeros(N_FEATURES)
    for step in range(steps):
        losses = sae.losses(world.sample(BATCH) * scale, silent_steps >= DEAD_AFTER_STEPS, min(step / 100, 1.0))
        descend(sae, optimiser, losses.total, gradient_clip=1.0)
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
