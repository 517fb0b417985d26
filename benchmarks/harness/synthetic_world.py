"""A world of known features with a hierarchy, scored by sae-lens: SynthSAEBench, small enough for a laptop.

SynthSAEBench-16k has 16,384 features in 768 dimensions, firing by Zipf's law (exponent .5, .4 to 5e-4), under 128 roots of
four children each to a depth of three that exclude each other, with low-rank correlations, 34 at a time; autoencoders of 4,096
at L0 25 read 200 million samples, which takes two cores 33 hours to draw. Here all sizes are a sixteenth, and the
dimensions a fourth: 1,024 features under 8 roots in 192 dimensions, autoencoders of 256.

Source: Chanin & Garriga-Alonso 2026, arXiv:2602.14687; the documentation of sae-lens, "SynthSAEBench".
"""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import sae_lens
import torch
from sae_lens.synthetic import SyntheticModel, SyntheticModelConfig, eval_sae_on_synthetic_data
from sae_lens.synthetic.firing_magnitudes import FoldedNormalMagnitudeConfig, LinearMagnitudeConfig
from sae_lens.synthetic.firing_probabilities import ZipfianFiringProbabilityConfig
from sae_lens.synthetic.hierarchy import HierarchyConfig
from sae_lens.synthetic.synthetic_model import LowRankCorrelationConfig, OrthogonalizationConfig
from sae_lens.training.activation_scaler import ActivationScaler
from torch import Tensor

from benchmarks.harness.peers import quiet
from sae import saelens_format
from sae.base import SAE
from sae.config import SAEConfig

N_SCORED = 20_000


class WorldSize(NamedTuple):
    """How large a world is, and the autoencoders that read it."""

    d_in: int
    n_features: int
    n_roots: int
    """Of trees; features beyond them stand alone."""
    d_sae: int
    k: int
    """Features kept of each sample on average: three in four of those that are there, as 25 are of 34."""


SIXTEENTH = WorldSize(192, 1024, 8, 256, 5)
TINY = WorldSize(48, 128, 1, 32, 1)


class Truth(NamedTuple):
    """What sae-lens says of an autoencoder beside the world's features."""

    f1: float
    mcc: float
    explained_variance: float
    l0: float
    dead: int


class SyntheticWorld:
    """The world and its samples, scaled to a mean norm of √d_in. Its seed is not one that an autoencoder starts from."""

    def __init__(self, size: WorldSize = SIXTEENTH, seed: int = 7) -> None:
        config = SyntheticModelConfig(
            num_features=size.n_features,
            hidden_dim=size.d_in,
            firing_probability=ZipfianFiringProbabilityConfig(exponent=0.5, max_prob=0.4, min_prob=5e-4),
            hierarchy=HierarchyConfig(
                total_root_nodes=size.n_roots,
                branching_factor=4,
                max_depth=3,
                mutually_exclusive_portion=1.0,
                compensate_probabilities=True,
                scale_children_by_parent=True,
            ),
            orthogonalization=OrthogonalizationConfig(num_steps=100, lr=3e-4),
            correlation=LowRankCorrelationConfig(rank=25, correlation_scale=0.1),
            mean_firing_magnitudes=LinearMagnitudeConfig(5.0, 4.0),
            std_firing_magnitudes=FoldedNormalMagnitudeConfig(0.5, 0.5),
            seed=seed,
        )
        torch.manual_seed(seed)
        with quiet():
            self.model = SyntheticModel(config)
        rows, features = self.model.sample_with_features(4096)
        self.scale = size.d_in**0.5 / float(rows.norm(dim=1).mean())
        self.l0 = float((features > 0).sum(1).float().mean())

    def sample(self, n: int) -> Tensor:
        """n rows."""
        return self.model.sample(n) * self.scale

    def score(self, coder: Any) -> Truth:
        """How well an autoencoder in sae-lens' hands finds the features."""
        torch.manual_seed(1)
        found = eval_sae_on_synthetic_data(
            coder,
            self.model.feature_dict,
            self.model.activation_generator,
            N_SCORED,
            4096,
            ActivationScaler(self.scale),
        )
        return Truth(
            found.classification.f1_score, found.mcc, found.explained_variance, found.sae_l0, found.dead_latents
        )


def opened(sae: SAE, cfg: SAEConfig) -> Any:
    """Our autoencoder as sae-lens reads it from the folder that we save."""
    with tempfile.TemporaryDirectory() as folder:
        saelens_format.save(sae, cfg, Path(folder), {"model_name": "synthetic", "hook_name": "synthetic"})
        return sae_lens.SAE.load_from_disk(folder)


def opened_theirs(trained: Any) -> Any:
    """What sae-lens trained, as it would be used."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        trained.save_inference_model(folder)
        return sae_lens.SAE.load_from_disk(folder)
