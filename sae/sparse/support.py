"""Which features are active on which tokens: the structure that codes, their decoding and all gradients share."""

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from sae.sparse.kernels import Kernels


class Transposed(NamedTuple):
    """The same entries, ordered by feature."""

    feature_ptr: Int[Tensor, "d_sae_plus_1"]
    """Entries `feature_ptr[f]:feature_ptr[f + 1]` are those of feature f."""
    row: Int[Tensor, "n"]
    """Token of each entry."""
    order: Int[Tensor, "n"]
    """Place of each entry in the order by token."""


class Support:
    """Entries of a sparse matrix [n_rows, d_sae] in compressed rows, 32-bit integers.

    Args:
        row_ptr: Entries `row_ptr[b]:row_ptr[b + 1]` are those of token b.
        index: Feature of each entry.
        d_sae: Number of features.
        kernels: What turns it round.
    """

    def __init__(
        self, row_ptr: Int[Tensor, "n_rows_plus_1"], index: Int[Tensor, "n"], d_sae: int, kernels: "Kernels"
    ) -> None:
        self.row_ptr, self.index, self.d_sae = row_ptr, index, d_sae
        self.kernels = kernels

    @property
    def n_rows(self) -> int:
        return len(self.row_ptr) - 1

    @cached_property
    def row(self) -> Int[Tensor, "n"]:
        """Token of each entry, in the order by token."""
        counts = self.row_ptr[1:] - self.row_ptr[:-1]
        rows = torch.arange(self.n_rows, dtype=torch.int32, device=self.index.device)
        return torch.repeat_interleave(rows, counts, output_size=len(self.index))

    @cached_property
    def transposed(self) -> Transposed:
        """The entries by feature; made once, used by every gradient."""
        return self.kernels.transposed(self)

    def where(self, keep: Tensor) -> "Support":
        """The entries of a boolean mask [n], which the caller has to apply to their values too."""
        counts = torch.zeros(self.n_rows + 1, dtype=torch.int32, device=self.index.device)
        counts[1:] = torch.zeros_like(counts[1:]).index_add_(0, self.row, keep.int()).cumsum(0)
        return Support(counts, self.index[keep], self.d_sae, self.kernels)

    def parts(self, ends: tuple[int, ...]) -> "Support":
        """Each token's entries in parts of a row each, cut at these features; their order stays.

        Args:
            ends: First features that no longer belong to each part, the last one d_sae. Entries must be in ascending
                order of features.
        """
        n = len(ends)
        bounds = torch.tensor(ends[:-1], dtype=torch.int32, device=self.index.device)
        part = self.row.long() * n + torch.bucketize(self.index, bounds, right=True)
        ptr = torch.zeros(self.n_rows * n + 1, dtype=torch.int32, device=self.index.device)
        ptr[1:] = torch.bincount(part, minlength=self.n_rows * n).cumsum(0)
        return Support(ptr, self.index, self.d_sae, self.kernels)

    def dense(self, values: Float[Tensor, "n"]) -> Float[Tensor, "n_rows d_sae"]:
        """The whole matrix, for tests and small ones."""
        whole = values.new_zeros(self.n_rows, self.d_sae)
        whole[self.row.long(), self.index.long()] = values
        return whole
