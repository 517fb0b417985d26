"""The ReLU autoencoder with an L1 penalty.

Cunningham et al. 2023, "Sparse Autoencoders Find Highly Interpretable Features in Language Models"
(arXiv:2309.08600), with the penalty of Conerly et al. 2024, "Update on how we train SAEs" (Circuits Updates, April):

1. f(x) = ReLU((x − b_dec) · W_enc + b_enc)
2. L = ‖x − x̂‖² + λ · Σᵢ fᵢ · ‖W_dec,ᵢ‖

The decoder norm in the penalty takes away the escape of shrinking features and growing decoder rows, so the rows
need no constraint.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from sae.base import SAE, Average, Losses, squared_error, whole
from sae.config import L1Config
from sae.sparse.engine import Codes, SparseEngine


class L1SAE(SAE):
    """ReLU features, L1 penalty weighted by decoder norms."""

    decoder_has_unit_norm = False

    def __init__(self, cfg: L1Config, d_in: int, d_sae: int) -> None:
        super().__init__(d_in, d_sae)
        self.cfg = cfg

    @override
    def activate(self, pre_acts: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        return torch.relu(pre_acts)

    @override
    def codes(self, x: Float[Tensor, "batch d_in"], engine: SparseEngine) -> Codes:
        pre_acts = engine.above(x, self.encoder, torch.zeros_like(self.b_enc))
        return pre_acts.with_values(torch.relu(pre_acts.values))

    @override
    def losses(
        self,
        x: Float[Tensor, "batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        sparsity_weight: float,
        average: Average = whole,
    ) -> Losses:
        feature_acts, reconstruction = self(x)
        mse = squared_error(x, reconstruction, average)
        sparsity = average(feature_acts.mean(dim=0) @ self.W_dec.norm(dim=1))
        l1 = sparsity_weight * self.cfg.l1_coefficient * sparsity
        fired = (feature_acts > 0).sum(dim=0)
        return Losses(mse + l1, {"mse": mse, "l1": l1}, reconstruction, fired, int(fired.sum()))

    @override
    def sparse_losses(
        self,
        x: Float[Tensor, "batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        sparsity_weight: float,
        engine: SparseEngine,
        average: Average = whole,
    ) -> Losses:
        feature_acts = self.codes(x, engine)
        reconstruction = feature_acts.decode(self.W_dec) + self.b_dec
        mse = squared_error(x, reconstruction, average)
        sparsity = average(feature_acts.values @ feature_acts.of(self.W_dec.norm(dim=1)) / len(x))
        l1 = sparsity_weight * self.cfg.l1_coefficient * sparsity
        return Losses(mse + l1, {"mse": mse, "l1": l1}, reconstruction, feature_acts.fired, len(feature_acts.values))
