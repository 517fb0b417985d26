"""The JumpReLU autoencoder.

Rajamanoharan et al. 2024, "Jumping Ahead" (arXiv:2407.14435):

1. f(x) = JumpReLU_θ(π) = π · H(π − θ), π = (x − b_dec) · W_enc + b_enc, one threshold θ > 0 per feature.
2. L = ‖x − x̂‖² + λ · ‖f‖₀. The L0 norm and the jump have no useful gradient in θ, so a straight-through
   estimator gives the gradient of their expectation, by a kernel density estimate with a rectangle kernel K of
   bandwidth ε (equations 11 and 12):
       ∂ JumpReLU_θ(π) / ∂θ  :=  −(θ / ε) · K((π − θ) / ε)
       ∂ H(π − θ) / ∂θ       :=  −(1 / ε) · K((π − θ) / ε)
3. To reach a given sparsity the penalty is λ · (‖f‖₀ / L0_target − 1)², whose pull vanishes at the target, from above
   and from below (the quadratic L0 penalty of Gemma Scope 2, and sae-lens' target_l0).

Differs from the paper: thresholds are stored as they are and held above 0 after each step, not as logarithms, so
that a saved SAE loads with the same bits; they start at the quantile of the pre-activations that meets the target;
the error is divided by the variance of the inputs, so that λ means the same at every layer, and all of the loss is
times d_in, see `normalised_error`; dead features get a small loss that lifts their pre-activations (Conerly et al. 2025,
"JumpReLU SAEs", Circuits Updates January), because nothing else reaches them.
"""

from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from typing_extensions import override

from sae.base import SAE, Average, Losses, normalised_error, whole
from sae.config import JumpReLUConfig
from sae.sparse.engine import Codes, SparseEngine

QUANTILE_ROWS = 8192
"""Rows from which the first thresholds are estimated; the quantile's error is then far below what training moves."""
QUANTILE_FEATURES = 1024
"""Features whose thresholds are estimated at a time: 32 MiB of pre-activations."""
SMALLEST_THRESHOLD = 1e-4
"""Thresholds stay above this, for inputs of mean norm √d_in."""


def upper_quantile(values: Float[Tensor, "n f"], share: float) -> Float[Tensor, "f"]:
    """What each column exceeds in such a share of its rows, between two rows by proportion.

    Source: as `torch.quantile` has it, which sorts everything: the largest values alone take a 26th of its time at a
    share of 1/256.
    """
    place = share * (len(values) - 1)
    whole_place = min(int(place), len(values) - 2) if len(values) > 1 else 0
    largest = values.T.contiguous().topk(min(whole_place + 2, len(values)), dim=1).values
    return torch.lerp(largest[:, whole_place], largest[:, -1], place - whole_place)


class JumpAndCount(torch.autograd.Function):
    """JumpReLU_θ(π) and ‖f‖₀ (summed), with the straight-through gradients in θ, for pre-activations of any shape.

    Both in one function, since both gradients rest on which π lie within ε / 2 of θ. The L0 norm gives π no gradient,
    as in the paper. Entries below θ − ε / 2 neither give nor get anything: a sparse step can leave them out.
    """

    @staticmethod
    def forward(ctx: Any, pre_acts: Tensor, threshold: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
        active = pre_acts > threshold
        ctx.save_for_backward(pre_acts, threshold, active)
        ctx.bandwidth = bandwidth
        return pre_acts * active, active.sum().to(pre_acts.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_acts, grad_l0 = grad_outputs
        pre_acts, threshold, active = ctx.saved_tensors
        near = (pre_acts - threshold).abs_() < ctx.bandwidth / 2
        pull = (threshold * grad_acts).add_(grad_l0).mul_(near)
        return grad_acts * active, pull.mul_(-1 / ctx.bandwidth), None


class JumpReLUSAE(SAE):
    """Features above a threshold of their own."""

    feature_shift_names = ("b_enc", "threshold")
    lr_scales: ClassVar[dict[str, float]] = SAE.lr_scales | {
        "threshold": 10.0
    }  # docs/log.md: else L0 stays far from its target

    def __init__(self, cfg: JumpReLUConfig, d_in: int, d_sae: int) -> None:
        super().__init__(d_in, d_sae)
        self.cfg = cfg
        self.threshold = nn.Parameter(torch.full((d_sae,), cfg.initial_threshold))

    @override
    @torch.no_grad()
    def initialise(self, sample: Float[Tensor, "n d_in"], generator: torch.Generator, encoder_scale: float) -> None:
        super().initialise(sample, generator, encoder_scale)
        if self.cfg.target_l0 is not None:
            active = min(self.cfg.target_l0 / self.d_sae, 0.5)
            rows = sample[:QUANTILE_ROWS]
            blocks = torch.arange(self.d_sae).split(QUANTILE_FEATURES)
            upper = torch.cat([upper_quantile(self.pre_acts_of(rows, block), active) for block in blocks])
            self.threshold.copy_(upper.clamp_min(self.cfg.initial_threshold))

    @override
    def activate(self, pre_acts: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        return pre_acts * (pre_acts > self.threshold)

    @override
    def codes(self, x: Float[Tensor, "batch d_in"], engine: SparseEngine) -> Codes:
        return engine.above(x, self.encoder, self.threshold)

    @override
    def losses(
        self,
        x: Float[Tensor, "batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        sparsity_weight: float,
        average: Average = whole,
    ) -> Losses:
        pre_acts = self.pre_acts(x)
        feature_acts, active = JumpAndCount.apply(  # pyright: ignore[reportGeneralTypeIssues]
            pre_acts, self.threshold.expand_as(pre_acts), self.cfg.bandwidth
        )
        n_codes = int((pre_acts.detach() > self.threshold.detach() - self.cfg.bandwidth / 2).sum())
        reconstruction = self.decode(feature_acts)
        total, terms = self.objective(x, reconstruction, active / len(x), dead, sparsity_weight, average)
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
        pre_acts = engine.above(x, self.encoder, self.threshold - self.cfg.bandwidth / 2)
        values, active = JumpAndCount.apply(  # pyright: ignore[reportGeneralTypeIssues]
            pre_acts.values, pre_acts.of(self.threshold), self.cfg.bandwidth
        )
        feature_acts = pre_acts.with_values(values)
        reconstruction = feature_acts.decode(self.W_dec) + self.b_dec
        total, terms = self.objective(x, reconstruction, active / len(x), dead, sparsity_weight, average)
        return Losses(total, terms, reconstruction, feature_acts.fired, len(values))

    def objective(
        self,
        x: Float[Tensor, "batch d_in"],
        reconstruction: Float[Tensor, "batch d_in"],
        l0: Float[Tensor, ""],
        dead: Bool[Tensor, "d_sae"],
        sparsity_weight: float,
        average: Average,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Steps 2 and 3: the loss and its terms."""
        mse = normalised_error(x, reconstruction, average)
        l0 = average(l0)
        penalty = l0 if self.cfg.target_l0 is None else (l0 / self.cfg.target_l0 - 1).square()
        sparsity = self.d_in * sparsity_weight * self.cfg.l0_coefficient * penalty
        revival = self.d_in * self.cfg.pre_act_coefficient * average(self.depth_below(x, dead))
        return mse + sparsity + revival, {"mse": mse, "l0_penalty": sparsity, "pre_act": revival}

    def depth_below(self, x: Float[Tensor, "batch d_in"], dead: Bool[Tensor, "d_sae"]) -> Float[Tensor, ""]:
        """How far dead features' pre-activations lie below their thresholds, summed over features, mean over tokens."""
        features = dead.nonzero().squeeze(1)
        if len(features) == 0:
            return x.new_zeros(())
        return torch.relu(self.threshold[features] - self.pre_acts_of(x, features)).mean(dim=0).sum()

    @override
    @torch.no_grad()
    def constrain(self) -> None:
        super().constrain()
        self.threshold.clamp_(min=SMALLEST_THRESHOLD)
