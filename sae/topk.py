"""The TopK autoencoder.

Gao et al. 2024, "Scaling and evaluating sparse autoencoders" (arXiv:2406.04093):

1. f(x) = TopK((x − b_dec) · W_enc + b_enc): the k largest pre-activations stay, the others are 0.
2. L = d_in · ‖x − x̂‖² / Var(x): the squared error, normalised by that of always answering the mean.
3. Dead features learn from what the live ones leave over (AuxK): e = x − x̂, ê = W_dec · TopK_aux(dead
   pre-activations), L_aux = d_in · ‖e − ê‖² / Var(e), weight 1/32, k_aux a power of two near d_in / 2; zero if not finite.

Differs from the paper: the kept values pass through a ReLU, as in the authors' code, so that features are never
negative; the encoder has a bias, as SAELens' format wants; losses are d_in times as large, see `normalised_error`.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from typing_extensions import override

from sae.base import SAE, Average, Losses, normalised_error, whole
from sae.config import BatchTopKConfig, MatryoshkaConfig, TopKConfig
from sae.errors import UserError
from sae.sparse.engine import Codes, SparseEngine

AUX_SHARE = 1 / 16
"""Share of the dead features, k_aux of them, up to which the auxiliary loss is computed sparsely. Source: measured with numba at
128 × 2,048 (.22 of the dense time at 1/29, .5 at 1/16, .9 at 1/8) and 512 × 8,192 (.55 at 1/29, 1.06 at 1/16)."""


def keep_top(pre_acts: Float[Tensor, "*batch d_sae"], k: int) -> Float[Tensor, "*batch d_sae"]:
    """The k largest entries of each row, negative ones set to 0, the rest 0."""
    values, indices = pre_acts.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(pre_acts).scatter(-1, indices, torch.relu(values))


def refuse_large_k(cfg: TopKConfig | BatchTopKConfig | MatryoshkaConfig, d_in: int, d_sae: int) -> None:
    """Stops where more features should be active than there are.

    Raises:
        UserError: k is larger than d_sae.
    """
    if cfg.k > d_sae:
        raise UserError(
            f"k={cfg.k} features per token, but the SAE has only d_sae={d_sae} "
            f"(d_in={d_in} × expansion_factor={cfg.expansion_factor}). Lower k or raise expansion_factor."
        )


def aux_k_of(cfg: TopKConfig | BatchTopKConfig | MatryoshkaConfig, d_in: int, d_sae: int) -> int:
    """Dead features that the auxiliary loss reconstructs with."""
    return min(cfg.aux_k or 2 ** round(math.log2(max(d_in / 2, 1))), d_sae)


class TopKSAE(SAE):
    """Exactly k features per token (fewer where fewer than k pre-activations are positive)."""

    is_always_sparse = True

    def __init__(self, cfg: TopKConfig, d_in: int, d_sae: int) -> None:
        super().__init__(d_in, d_sae)
        refuse_large_k(cfg, d_in, d_sae)
        self.cfg = cfg
        self.aux_k = aux_k_of(cfg, d_in, d_sae)

    @override
    def activate(self, pre_acts: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        return keep_top(pre_acts, self.cfg.k)

    @override
    def codes(self, x: Float[Tensor, "batch d_in"], engine: SparseEngine) -> Codes:
        pre_acts = engine.top(x, self.encoder, self.cfg.k)
        return pre_acts.with_values(torch.relu(pre_acts.values))

    @override
    def losses(
        self,
        x: Float[Tensor, "batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        sparsity_weight: float,
        average: Average = whole,
    ) -> Losses:
        feature_acts = self.activate(self.pre_acts(x))
        total, terms, reconstruction = self.objective(x, self.decode(feature_acts), dead, average)
        return Losses(total, terms, reconstruction, (feature_acts > 0).sum(dim=0), self.cfg.k * len(x))

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
        total, terms, reconstruction = self.objective(x, reconstruction, dead, average, engine)
        return Losses(total, terms, reconstruction, feature_acts.fired, len(feature_acts.values))

    def objective(
        self,
        x: Float[Tensor, "batch d_in"],
        reconstruction: Float[Tensor, "batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        average: Average,
        engine: SparseEngine | None = None,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Steps 2 and 3: the loss, its terms, and the reconstruction it is of."""
        mse = normalised_error(x, reconstruction, average)
        auxk = self.cfg.aux_coefficient * auxiliary_loss(self, x, x - reconstruction, dead, self.aux_k, average, engine)
        return mse + auxk, {"mse": mse, "auxk": auxk}, reconstruction


def auxiliary_loss(
    sae: SAE,
    x: Float[Tensor, "batch d_in"],
    error: Float[Tensor, "batch d_in"],
    dead: Bool[Tensor, "d_sae"],
    aux_k: int,
    average: Average = whole,
    engine: SparseEngine | None = None,
) -> Float[Tensor, ""]:
    """Normalised error of reconstructing `error` from the strongest dead features alone (step 3).

    Its gradient reaches both encoder and decoder rows of the dead features, and no live feature: the error is a
    constant. With an engine it is computed on the chosen features only, where they are few among the dead.
    """
    features = dead.nonzero().squeeze(1)
    if len(features) == 0:
        return error.new_zeros(())
    error = error.detach()
    k, rows = min(aux_k, len(features)), sae.W_dec.index_select(0, features)
    if engine is None or k > AUX_SHARE * len(features):
        estimate = keep_top(sae.pre_acts_of(x, features), k) @ rows
    else:
        chosen = engine.top(x, sae.encoder_of(features), k)
        estimate = chosen.with_values(torch.relu(chosen.values)).decode(rows)
    return torch.nan_to_num(normalised_error(error, estimate, average), nan=0.0, posinf=0.0, neginf=0.0)
