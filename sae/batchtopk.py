"""The BatchTopK autoencoder.

Bussmann et al. 2024, "BatchTopK Sparse Autoencoders" (arXiv:2412.06410):

1. Training: of the batch's positive pre-activations, the k · batch largest stay, so that a token may have more
   features than another: f = BatchTopK(ReLU((x − b_dec) · W_enc + b_enc)).
2. L = d_in · ‖x − x̂‖² / Var(x) plus the auxiliary loss of TopK for dead features.
3. Inference: one threshold θ for all, the mean over training batches of the smallest activation kept; then
   f = JumpReLU_θ, so that no token depends on its neighbours. Such an SAE is saved as a JumpReLU.

Differs from the paper: θ is a running mean with rate 0.1 (in sae-lens 0.01), since early batches say little about late
weights; where a batch is spread over processes, each keeps the largest of its share.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from sae.base import SAE, Average, Losses, normalised_error, whole
from sae.config import BatchTopKConfig, MatryoshkaConfig
from sae.sparse.engine import Codes, SparseEngine
from sae.sparse.kernels import TorchKernels
from sae.topk import aux_k_of, auxiliary_loss, refuse_large_k

THRESHOLD_RATE = 0.1
"""Weight of a new batch in the running threshold. Source: docs/log.md; with sae-lens' .01, L0 is a tenth
off after 195 steps."""
QUANTILE_ROWS = 4096
"""Rows from which the threshold starts, so that the first checkpoints can be used."""


def keep_top_of_batch(pre_acts: Float[Tensor, "batch d_sae"], k: int) -> Float[Tensor, "batch d_sae"]:
    """The k · batch largest positive entries, the rest 0."""
    flat = torch.relu(pre_acts).flatten()
    values, indices = flat.topk(k * len(pre_acts), sorted=False)
    return torch.zeros_like(flat).scatter(0, indices, values).view_as(pre_acts)


class BatchTopKSAE(SAE):
    """k features per token on average."""

    is_always_sparse = True
    feature_shift_names = ("b_enc", "threshold")
    threshold: Tensor

    def __init__(self, cfg: BatchTopKConfig | MatryoshkaConfig, d_in: int, d_sae: int) -> None:
        super().__init__(d_in, d_sae)
        refuse_large_k(cfg, d_in, d_sae)
        self.cfg = cfg
        self.aux_k = aux_k_of(cfg, d_in, d_sae)
        self.register_buffer("threshold", torch.zeros(d_sae))

    @override
    def activate(self, pre_acts: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        return pre_acts * ((pre_acts > self.threshold) & (pre_acts > 0))

    @override
    def codes(self, x: Float[Tensor, "batch d_in"], engine: SparseEngine) -> Codes:
        return engine.above(x, self.encoder, self.threshold.clamp_min(0))

    @override
    def losses(
        self,
        x: Float[Tensor, "batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        sparsity_weight: float,
        average: Average = whole,
    ) -> Losses:
        feature_acts = keep_top_of_batch(self.pre_acts(x), self.cfg.k)
        total, terms, reconstruction = self.objective(x, self.reconstructions(feature_acts), dead, average)
        fired = (feature_acts > 0).sum(dim=0)
        least = least_of(feature_acts[feature_acts > 0], average)
        return Losses(total, terms, reconstruction, fired, int(fired.sum()), least)

    @override
    def sparse_losses(
        self,
        x: Float[Tensor, "batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        sparsity_weight: float,
        engine: SparseEngine,
        average: Average = whole,
    ) -> Losses:
        pre_acts = engine.top_of_batch(x, self.encoder, self.cfg.k * len(x))
        feature_acts = pre_acts.with_values(torch.relu(pre_acts.values))
        total, terms, reconstruction = self.objective(
            x, self.sparse_reconstructions(feature_acts), dead, average, engine
        )
        least = least_of(feature_acts.values, average)
        return Losses(total, terms, reconstruction, feature_acts.fired, len(pre_acts.values), least)

    def reconstructions(self, feature_acts: Float[Tensor, "batch d_sae"]) -> Float[Tensor, "prefixes batch d_in"]:
        """What the loss compares with the input: here one reconstruction."""
        return self.decode(feature_acts)[None]

    def sparse_reconstructions(self, feature_acts: Codes) -> Float[Tensor, "prefixes batch d_in"]:
        """The same from codes."""
        return (feature_acts.decode(self.W_dec) + self.b_dec)[None]

    def objective(
        self,
        x: Float[Tensor, "batch d_in"],
        reconstructions: Float[Tensor, "prefixes batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        average: Average,
        engine: SparseEngine | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Step 2: the loss, its terms, and the reconstruction by all features."""
        mse = torch.stack([normalised_error(x, one, average) for one in reconstructions]).mean()
        error = x - reconstructions[-1]
        auxk = self.cfg.aux_coefficient * auxiliary_loss(self, x, error, dead, self.aux_k, average, engine)
        return mse + auxk, {"mse": mse, "auxk": auxk}, reconstructions[-1]

    @override
    @torch.no_grad()
    def observe(self, losses: Losses) -> None:
        if losses.least_active is not None:
            self.threshold += THRESHOLD_RATE * (losses.least_active - self.threshold)

    @override
    @torch.no_grad()
    def initialise(self, sample: Float[Tensor, "n d_in"], generator: torch.Generator, encoder_scale: float) -> None:
        super().initialise(sample, generator, encoder_scale)
        rows = sample[:QUANTILE_ROWS]
        acts = SparseEngine(TorchKernels()).top_of_batch(rows, self.encoder, self.cfg.k * len(rows)).values
        self.threshold.fill_(float(acts.min()) if len(acts) else 0.0)


def least_of(positive: Float[Tensor, "n"], average: Average) -> Float[Tensor, ""]:
    """The smallest activation kept, 0 if there is none."""
    values = positive.detach()
    return average(values.min() if len(values) else values.new_zeros(()))
