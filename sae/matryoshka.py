"""The Matryoshka autoencoder.

Bussmann et al. 2025, "Learning Multi-Level Features with Matryoshka Sparse Autoencoders" (arXiv:2503.17547):

1. Features are ordered in nested groups: the first m₁, the first m₂ > m₁, …, all of them.
2. f as in BatchTopK, chosen among all features at once; x̂ⱼ = f[:mⱼ] · W_dec[:mⱼ] + b_dec.
3. L = mean over j of d_in · ‖x − x̂ⱼ‖² / Var(x), plus TopK's auxiliary loss: early features must do without the late ones,
   so that general concepts are not absorbed by special ones.

Differs from the paper: the mean over groups instead of the sum, so that the auxiliary loss weighs as much as in
TopK; groups of fixed width, as in sae-lens, instead of random ones.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from sae.batchtopk import BatchTopKSAE
from sae.config import MatryoshkaConfig
from sae.sparse.engine import Codes


class MatryoshkaSAE(BatchTopKSAE):
    """BatchTopK whose first features can stand alone."""

    def __init__(self, cfg: MatryoshkaConfig, d_in: int, d_sae: int) -> None:
        super().__init__(cfg, d_in, d_sae)
        widths = {max(1, round(d_sae * share)) for share in cfg.prefixes} | {d_sae}
        self.widths = tuple(sorted(widths))
        """Features of each group, all of them last."""

    @override
    def reconstructions(self, feature_acts: Float[Tensor, "batch d_sae"]) -> Float[Tensor, "prefixes batch d_in"]:
        prefixes = [feature_acts[:, :width] @ self.W_dec[:width] for width in self.widths]
        return torch.stack(prefixes) + self.b_dec

    @override
    def sparse_reconstructions(self, feature_acts: Codes) -> Float[Tensor, "prefixes batch d_in"]:
        parts = cast(Tensor, feature_acts.decode_parts(self.W_dec, self.widths))
        return parts.cumsum(dim=1).transpose(0, 1) + self.b_dec
