"""The gated autoencoder.

Rajamanoharan et al. 2024, "Improving Dictionary Learning with Gated Sparse Autoencoders" (arXiv:2404.16014):

1. One projection v = (x − b_dec) · W_enc serves both paths: the gate π = v + b_gate says whether a feature is active,
   the magnitude m = exp(r_mag) ⊙ v + b_mag how strongly: f = 1[π > 0] ⊙ ReLU(m).
2. L = ‖x − x̂(f)‖² + λ · ‖ReLU(π)‖₁ + ‖x − x̂_frozen(ReLU(π))‖²: the penalty acts on the gate alone, so that
   magnitudes do not shrink, and the last term, through a decoder without gradient, teaches the gate.
3. Decoder rows have norm 1, which closes the escape from the penalty.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from typing_extensions import override

from sae.base import SAE, Average, Losses, squared_error, whole
from sae.config import GatedConfig
from sae.sparse.engine import Codes, Encoder, SparseEngine


class GatedSAE(SAE):
    """Features that a gate opens and a magnitude fills. `b_enc` has two successors: `b_gate` and `b_mag`."""

    feature_shift_names = ("b_gate", "b_mag")

    def __init__(self, cfg: GatedConfig, d_in: int, d_sae: int) -> None:
        super().__init__(d_in, d_sae)
        del self.b_enc
        self.cfg = cfg
        self.b_gate = nn.Parameter(torch.zeros(d_sae))
        self.b_mag = nn.Parameter(torch.zeros(d_sae))
        self.r_mag = nn.Parameter(torch.zeros(d_sae))

    @property
    @override
    def encoder(self) -> Encoder:
        return Encoder(self.W_enc, self.b_gate, self.b_dec)

    @override
    def pre_acts(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        return (x - self.b_dec) @ self.W_enc + self.b_gate

    @override
    def pre_acts_of(self, x: Float[Tensor, "*batch d_in"], features: Int[Tensor, "n"]) -> Float[Tensor, "*batch n"]:
        return (x - self.b_dec) @ self.W_enc.T.index_select(0, features).T + self.b_gate[features]

    @override
    def activate(self, pre_acts: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        return gated(pre_acts, self.b_gate, self.b_mag, self.r_mag)

    @override
    def codes(self, x: Float[Tensor, "batch d_in"], engine: SparseEngine) -> Codes:
        gate = engine.above(x, self.encoder, torch.zeros_like(self.b_gate))
        return gate.with_values(self.magnitudes(gate))

    def magnitudes(self, gate: Codes) -> Float[Tensor, "n"]:
        """Feature activations at the open gates."""
        return gated(gate.values, gate.of(self.b_gate), gate.of(self.b_mag), gate.of(self.r_mag))

    @override
    @torch.no_grad()
    def initialise(self, sample: Float[Tensor, "n d_in"], generator: torch.Generator, encoder_scale: float) -> None:
        self.W_dec.copy_(torch.randn(self.d_sae, self.d_in, generator=generator))
        self.W_dec /= self.W_dec.norm(dim=1, keepdim=True)
        self.W_enc.copy_(self.W_dec.T * encoder_scale)
        for parameter in (self.b_gate, self.b_mag, self.r_mag):
            parameter.zero_()
        self.b_dec.copy_(sample.mean(0))

    @override
    def losses(
        self,
        x: Float[Tensor, "batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        sparsity_weight: float,
        average: Average = whole,
    ) -> Losses:
        gate = self.pre_acts(x)
        feature_acts, opening = self.activate(gate), torch.relu(gate)
        reconstruction = self.decode(feature_acts)
        by_gate = opening @ self.W_dec.detach() + self.b_dec.detach()
        l1 = opening.sum() / len(x)
        total, terms = self.objective(x, reconstruction, by_gate, l1, sparsity_weight, average)
        n_codes = int((gate.detach() > 0).sum())
        return Losses(total, terms, reconstruction, (feature_acts > 0).sum(dim=0), n_codes)

    @override
    def sparse_losses(
        self,
        x: Float[Tensor, "batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        sparsity_weight: float,
        engine: SparseEngine,
        average: Average = whole,
    ) -> Losses:
        gate = engine.above(x, self.encoder, torch.zeros_like(self.b_gate))
        opening = gate.with_values(torch.relu(gate.values))
        feature_acts = gate.with_values(self.magnitudes(gate))
        reconstruction = feature_acts.decode(self.W_dec) + self.b_dec
        by_gate = opening.decode(self.W_dec.detach()) + self.b_dec.detach()
        l1 = opening.values.sum() / len(x)
        total, terms = self.objective(x, reconstruction, by_gate, l1, sparsity_weight, average)
        return Losses(total, terms, reconstruction, feature_acts.fired, len(gate.values))

    def objective(
        self,
        x: Float[Tensor, "batch d_in"],
        reconstruction: Float[Tensor, "batch d_in"],
        by_gate: Float[Tensor, "batch d_in"],
        l1: Float[Tensor, ""],
        sparsity_weight: float,
        average: Average,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Step 2: the loss and its terms."""
        mse = squared_error(x, reconstruction, average)
        penalty = sparsity_weight * self.cfg.l1_coefficient * average(l1)
        gate = squared_error(x, by_gate, average)
        return mse + penalty + gate, {"mse": mse, "l1": penalty, "gate_mse": gate}


def gated(gate: Tensor, b_gate: Tensor, b_mag: Tensor, r_mag: Tensor) -> Tensor:
    """Step 1, for pre-activations of any shape and parameters that fit it."""
    return (gate > 0) * torch.relu(torch.exp(r_mag) * (gate - b_gate) + b_mag)
