"""The sparse operations compiled by Triton, for CUDA.

A program owns what it writes, a row of sums, a few products, so that nothing is added up in an order that changes from
run to run: training goes on after a kill in the same bytes, which torch's `index_add_` on a GPU does not promise.
Selection is torch's.

Source: tests hold every operation against torch's; where there is no GPU, in Triton's interpreter on the CPU.
"""

# Compiled code: explicit loops, no annotations but of what is constant.
# ruff: noqa: PLR0913, PLR0917

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from sae.sparse.kernels import TorchKernels
from sae.sparse.support import Support

ENTRIES = 16
"""Entries that a program reads at a time."""
COLUMNS = 128
"""Columns of a table that a program works on at a time."""


class TritonKernels(TorchKernels):
    """Compiled weighted sums, dots and sums, each in one order."""

    name = "triton"

    @override
    def weighted_sums(
        self, table: Float[Tensor, "t d"], index: Int[Tensor, "n"], ptr: Int[Tensor, "m_plus_1"], weights: Tensor
    ) -> Float[Tensor, "m d"]:
        table = table.contiguous()
        n_rows, d = len(ptr) - 1, table.shape[1]
        found = torch.empty((n_rows, d), dtype=table.dtype, device=table.device)
        if n_rows:
            weighted_sum_of_row[(n_rows, triton.cdiv(d, COLUMNS))](
                table, index.contiguous(), ptr, weights.contiguous(), found, d, ENTRIES, COLUMNS
            )
        return found

    @override
    def dots(
        self, left: Float[Tensor, "n_rows d"], right: Float[Tensor, "d_sae d"], support: Support
    ) -> Float[Tensor, "n"]:
        left, right = left.contiguous(), right.contiguous()
        n = len(support.index)
        found = torch.empty(n, dtype=left.dtype, device=left.device)
        if n:
            dots_of_entries[(triton.cdiv(n, ENTRIES),)](
                left, right, support.row, support.index.contiguous(), found, n, left.shape[1], ENTRIES, COLUMNS
            )
        return found

    @override
    def sums(self, values: Float[Tensor, "n"], support: Support) -> Float[Tensor, "d_sae"]:
        by_feature = support.transposed
        ones = values.new_ones(1, 1)
        nowhere = torch.zeros_like(by_feature.row)
        return self.weighted_sums(ones, nowhere, by_feature.feature_ptr, values[by_feature.order]).squeeze(1)


@triton.jit
@no_type_check
def weighted_sum_of_row(
    table, index, ptr, weights, found, d: tl.constexpr, n_entries: tl.constexpr, n_columns: tl.constexpr
):  # pragma: no cover - compiled
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * n_columns + tl.arange(0, n_columns)
    start, stop = tl.load(ptr + row), tl.load(ptr + row + 1)
    total = tl.zeros((n_columns,), dtype=tl.float32)
    first = start
    while first < stop:
        entry = first + tl.arange(0, n_entries)
        is_entry = entry < stop
        place = tl.load(index + entry, mask=is_entry, other=0).to(tl.int64)
        weight = tl.load(weights + entry, mask=is_entry, other=0.0)
        is_there = is_entry[:, None] & (column < d)[None, :]
        rows = tl.load(table + place[:, None] * d + column[None, :], mask=is_there, other=0.0)
        total += tl.sum(rows * weight[:, None], axis=0)
        first += n_entries
    tl.store(found + row * d + column, total, mask=column < d)


@triton.jit
@no_type_check
def dots_of_entries(
    left, right, row, index, found, n, d: tl.constexpr, n_entries: tl.constexpr, n_columns: tl.constexpr
):  # pragma: no cover - compiled
    entry = tl.program_id(0) * n_entries + tl.arange(0, n_entries)
    is_entry = entry < n
    here = tl.load(row + entry, mask=is_entry, other=0).to(tl.int64)
    there = tl.load(index + entry, mask=is_entry, other=0).to(tl.int64)
    total = tl.zeros((n_entries,), dtype=tl.float32)
    for first in range(0, d, n_columns):
        column = first + tl.arange(0, n_columns)
        is_there = is_entry[:, None] & (column < d)[None, :]
        a = tl.load(left + here[:, None] * d + column[None, :], mask=is_there, other=0.0)
        b = tl.load(right + there[:, None] * d + column[None, :], mask=is_there, other=0.0)
        total += tl.sum(a * b, axis=1)
    tl.store(found + entry, total, mask=is_entry)
