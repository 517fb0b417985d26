"""The sparse operations compiled by numba, for the CPU.

Selection reads every pre-activation once:

1. a row is cut into at least 4 · k groups, and the largest of each is found; the k-th largest of these maxima is a
   lower bound of the row's k-th largest entry, so that groups below it need no second look;
2. entries of the other groups that reach the bound are candidates, a few more than k;
3. the k largest candidates stay.

Of coarse products (8-bit factors), the bound is lowered by what rounding can move a pre-activation; the candidates'
values are then computed in float32, and the k largest of these stay.

Floats are compared as integers of the same order: that is faster, and NaN counts as largest, so that it is chosen and
the loss tells. Every thread owns the rows it writes, so results do not depend on the number of threads.
Source: measured beside torch.topk in docs/performance.md.
"""

# Compiled code: explicit loops, no annotations inside.
# ruff: noqa: PLR0912

from typing import no_type_check

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from numba import njit, prange
from torch import Tensor
from typing_extensions import override

from sae.sparse.kernels import Chosen, Coarse, TorchKernels
from sae.sparse.support import Support, Transposed

DEPTH = 32
"""Pre-activations of a group. Source: measured at 8,192 features and k = 32; 64 and 16 are slower."""
LOWEST = np.int32(-(2**31))
SIGMAS = 6.0
"""Standard deviations of its rounding error by which a coarse pre-activation may lie below the k-th largest and still be looked at.
Roundings are uniform and independent; five would let one in a million pass, and one is for the k-th largest itself, which
can be too large only where most of the k largest are."""
MOST_CANDIDATES = 8
"""Per entry that stays; rows with more, whose few large entries leave the others no precision, are computed in float32."""
FLAGS = {"contract", "nsz", "arcp", "reassoc"}
"""Liberties of the arithmetic that keep infinities and NaN what they are."""


class NumbaKernels(TorchKernels):
    """Compiled selection, transposition and dots; weighted sums are torch's, which are as fast."""

    name = "numba"
    takes_integers = True

    def __init__(self) -> None:
        # numba's OpenMP layer would change torch's number of threads and keep idle ones spinning on others' cores.
        numba.config.THREADING_LAYER = "workqueue"  # pyright: ignore
        numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # pyright: ignore

    @override
    def top(self, products: Float[Tensor, "rows d_sae"], bias: Float[Tensor, "d_sae"], k: int) -> Chosen:
        rows, width = products.shape
        depth = max(min(DEPTH, width // (4 * k)), 1)
        index, values = torch.empty((rows, k), dtype=torch.int32), torch.empty((rows, k))
        scratch = np.empty((numba.get_num_threads(), 5, width + 1), dtype=np.int32)
        top_of_rows(products.numpy(), bias.numpy(), k, depth, scratch, index.numpy(), values.numpy())
        return Chosen(torch.full((rows,), k, dtype=torch.int32), index.flatten(), values.flatten())

    @override
    def coarse(self, rows: Float[Tensor, "n d"]) -> Coarse:
        integers = torch.empty(rows.shape, dtype=torch.int8)
        scale, norm = torch.empty(len(rows)), torch.empty(len(rows))
        round_rows(rows.numpy(), integers.numpy(), scale.numpy(), norm.numpy())
        return Coarse(rows, integers, scale, norm)

    @override
    def top_of_coarse(
        self, products: Int[Tensor, "rows d_sae"], left: Coarse, right: Coarse, bias: Tensor, k: int
    ) -> tuple[Chosen, Int[Tensor, "n"]]:
        rows, width = products.shape
        depth = max(min(DEPTH, width // (4 * k)), 1)
        index, values = torch.empty((rows, k), dtype=torch.int32), torch.empty((rows, k))
        scratch = np.empty((numba.get_num_threads(), 6, width + 1), dtype=np.int32)
        variance = ((left.scale * right.norm.max()) ** 2 + (left.norm * right.scale.max()) ** 2) / 12
        error = SIGMAS * variance.sqrt()
        is_unsure = np.zeros(rows, dtype=np.bool_)
        top_of_coarse_rows(
            products.numpy(), left.exact.numpy(), right.exact.numpy(), left.scale.numpy(), right.scale.numpy(),
            bias.numpy(), error.numpy(), k, depth, MOST_CANDIDATES * k, scratch, index.numpy(), values.numpy(), is_unsure,
        )  # fmt: skip
        chosen = Chosen(torch.full((rows,), k, dtype=torch.int32), index.flatten(), values.flatten())
        return chosen, torch.from_numpy(np.flatnonzero(is_unsure))

    @override
    def above(
        self, products: Float[Tensor, "rows d_sae"], bias: Float[Tensor, "d_sae"], floor: Float[Tensor, "d_sae"]
    ) -> Chosen:
        source = products.numpy()
        is_above = np.empty(source.shape, dtype=np.bool_)
        exceeds(source, (floor - bias).numpy(), is_above)
        flat = np.flatnonzero(is_above)
        counts = np.zeros(len(source), dtype=np.int32)
        index, values = np.empty(len(flat), dtype=np.int32), np.empty(len(flat), dtype=np.float32)
        split_places(flat, source, bias.numpy(), counts, index, values)
        return Chosen(*(torch.from_numpy(found) for found in (counts, index, values)))

    @override
    def transposed(self, support: Support) -> Transposed:
        n = len(support.index)
        ptr = np.zeros(support.d_sae + 1, dtype=np.int32)
        row, order = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int64)
        counting_sort(support.row_ptr.numpy(), support.index.numpy(), ptr, row, order)
        return Transposed(torch.from_numpy(ptr), torch.from_numpy(row), torch.from_numpy(order))

    @override
    def dots(
        self, left: Float[Tensor, "n_rows d"], right: Float[Tensor, "d_sae d"], support: Support
    ) -> Float[Tensor, "n"]:
        found = torch.empty(len(support.index))
        row_dots(
            left.contiguous().numpy(), right.contiguous().numpy(), support.row_ptr.numpy(), support.index.numpy(),
            found.numpy(),
        )  # fmt: skip
        return found


@njit(cache=True)
@no_type_check
def kth_largest(values, n, k):  # pragma: no cover - compiled
    """The k-th largest of the first n, by quickselect; reorders them."""
    low, high, wanted = 0, n - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            break
    return values[wanted]


@njit(inline="always")
@no_type_check
def key_of(bits):  # pragma: no cover - compiled
    """An integer that is ordered as the float of these bits, NaN (with a clear sign bit) above all."""
    return np.int32(bits ^ np.int32(np.int32(bits >> 31) & 0x7FFFFFFF))  # numba widens without the casts


@njit(cache=True, parallel=True)
@no_type_check
def top_of_rows(products, bias, k, depth, scratch, index, values):  # pragma: no cover - compiled
    rows, width = products.shape
    n_groups = width // depth
    for row in prange(rows):
        mine = scratch[numba.get_thread_id()]
        maxima, copy, candidate, keys, source = mine[0], mine[1], mine[2], mine[3], mine[4]
        pre_acts = source.view(np.float32)
        for i in range(width):
            pre_acts[i] = products[row, i] + bias[i]
        bound = LOWEST
        if depth > 1:
            for group in range(n_groups):
                maxima[group] = LOWEST
            for j in range(depth):
                part = source[j * n_groups : (j + 1) * n_groups]
                for group in range(n_groups):
                    maxima[group] = max(maxima[group], key_of(part[group]))
            for group in range(n_groups):
                copy[group] = maxima[group]
            bound = kth_largest(copy, n_groups, k)
        n = 0
        for group in range(n_groups):
            if depth == 1 or maxima[group] >= bound:
                for j in range(depth):
                    i = j * n_groups + group
                    candidate[n] = i
                    keys[n] = key_of(source[i])
                    n += keys[n] >= bound
        for i in range(n_groups * depth, width):
            candidate[n] = i
            keys[n] = key_of(source[i])
            n += keys[n] >= bound
        for i in range(n):
            copy[i] = keys[i]
        last = kth_largest(copy, n, k)
        n_equal = k
        for i in range(n):
            n_equal -= keys[i] > last
        m = 0
        for i in range(n):
            if keys[i] > last or (keys[i] == last and n_equal > 0):
                n_equal -= keys[i] == last
                index[row, m] = candidate[i]
                values[row, m] = pre_acts[candidate[i]]
                m += 1


@njit(cache=True, parallel=True, fastmath=FLAGS)
@no_type_check
def round_rows(rows, integers, scale, norm):  # pragma: no cover - compiled
    for i in prange(len(rows)):
        row, mine = rows[i], integers[i]
        largest, total = np.float32(0), np.float32(0)
        for j in range(len(row)):
            largest = max(largest, abs(row[j]))
            total += row[j] * row[j]
        norm[i] = np.sqrt(total)
        scale[i] = largest / np.float32(127) + np.float32(0) * total  # no number where one entry is none
        inverse = np.float32(127) / largest if largest > 0 else np.float32(0)
        for j in range(len(row)):
            mine[j] = np.int8(np.rint(row[j] * inverse))


@njit(cache=True, fastmath=FLAGS)
@no_type_check
def dot(left, right):  # pragma: no cover - compiled
    total = np.float32(0)
    for j in range(len(left)):
        total += left[j] * right[j]
    return total


@njit(cache=True, parallel=True)
@no_type_check
def top_of_coarse_rows(  # noqa: PLR0913, PLR0917 - what compiled code works on is handed in
    products, x, weights, x_scale, scale, bias, error, k, depth, most, scratch, index, values, is_unsure
):  # pragma: no cover - compiled
    rows, width = products.shape
    n_groups = width // depth
    for row in prange(rows):
        if not np.isfinite(error[row]):
            is_unsure[row] = True
            continue
        mine = scratch[numba.get_thread_id()]
        maxima, copy, candidate, exact = mine[0].view(np.float32), mine[1].view(np.float32), mine[2], mine[3]
        pre_acts = mine[4].view(np.float32)
        found = exact.view(np.float32)
        factor, source = x_scale[row], products[row]
        for group in range(n_groups):
            maxima[group] = -np.inf
        for j in range(depth):
            first = j * n_groups
            for group in range(n_groups):
                i = first + group
                value = np.float32(source[i]) * scale[i] * factor + bias[i]
                pre_acts[i] = value
                maxima[group] = value if value > maxima[group] else maxima[group]
        for i in range(n_groups * depth, width):
            pre_acts[i] = np.float32(source[i]) * scale[i] * factor + bias[i]
        for group in range(n_groups):
            copy[group] = maxima[group]
        bound = kth_largest(copy, n_groups, k)
        low = bound - error[row]
        n = 0
        for group in range(n_groups):
            if maxima[group] >= low:
                for j in range(depth):
                    i = j * n_groups + group
                    candidate[n] = i
                    n += pre_acts[i] >= low
        for i in range(n_groups * depth, width):
            candidate[n] = i
            n += pre_acts[i] >= low
        if n < k:
            is_unsure[row] = True
            continue
        for i in range(n):
            copy[i] = pre_acts[candidate[i]]
        low = kth_largest(copy, n, k) - error[row]
        m = 0
        for i in range(n):
            candidate[m] = candidate[i]
            m += pre_acts[candidate[i]] >= low
        if m > most or m < k:
            is_unsure[row] = True
            continue
        for i in range(m):
            found[i] = dot(x[row], weights[candidate[i]]) + bias[candidate[i]]
            copy[i] = found[i]
        last = kth_largest(copy, m, k)
        n_equal = k
        for i in range(m):
            n_equal -= found[i] > last
        place = 0
        for i in range(m):
            if place < k and (found[i] > last or (found[i] == last and n_equal > 0)):
                n_equal -= found[i] == last
                index[row, place] = candidate[i]
                values[row, place] = found[i]
                place += 1
        is_unsure[row] = place < k


@njit(cache=True, parallel=True)
@no_type_check
def exceeds(products, floor, is_above):  # pragma: no cover - compiled
    rows, width = products.shape
    for row in prange(rows):
        source, target = products[row], is_above[row]
        for i in range(width):
            target[i] = source[i] > floor[i]


@njit(cache=True)
@no_type_check
def split_places(flat, products, bias, counts, index, values):  # pragma: no cover - compiled
    width = products.shape[1]
    row = start = 0
    for i in range(len(flat)):
        while flat[i] >= start + width:
            row += 1
            start += width
        counts[row] += 1
        index[i] = flat[i] - start
        values[i] = products[row, index[i]] + bias[index[i]]


@njit(cache=True)
@no_type_check
def counting_sort(row_ptr, index, ptr, row, order):  # pragma: no cover - compiled
    for i in range(len(index)):
        ptr[index[i] + 1] += 1
    for f in range(len(ptr) - 1):
        ptr[f + 1] += ptr[f]
    place = ptr[:-1].copy()
    for b in range(len(row_ptr) - 1):
        for i in range(row_ptr[b], row_ptr[b + 1]):
            at = place[index[i]]
            place[index[i]] += 1
            row[at] = b
            order[at] = i


@njit(cache=True, parallel=True, fastmath=FLAGS)
@no_type_check
def row_dots(left, right, row_ptr, index, found):  # pragma: no cover - compiled
    for b in prange(len(row_ptr) - 1):
        mine = left[b]
        for i in range(row_ptr[b], row_ptr[b + 1]):
            other = right[index[i]]
            total = np.float32(0)
            for j in range(len(mine)):
                total += mine[j] * other[j]
            found[i] = total
