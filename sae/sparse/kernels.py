"""The five operations of a sparse step, and their back end in plain torch.

With B tokens, d = d_in, F = d_sae and n active entries, everything outside the encoder's one matrix product costs
O(n · d):

1. selection: which pre-activations of a row stay,
2. `weighted_sums`: rows of a table, added up with weights (decoding; both weight gradients),
3. `dots`: products of pairs of rows (the gradient of the values; exact values after a coarse selection),
4. `transposed`: the entries ordered by feature, which makes a weight gradient a weighted sum too,
5. `sums`: one number per feature (the gradient of a bias).

Source: measured against the matrix products of dense training in docs/performance.md.
"""

import importlib.util
import os
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple, assert_never

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag
from typing_extensions import override

from sae.errors import UserError
from sae.sparse.support import Support, Transposed

KernelsName = Literal["auto", "torch", "numba", "triton"]


class Chosen(NamedTuple):
    """Entries selected from a few rows of pre-activations."""

    counts: Int[Tensor, "rows"]
    """How many of each row."""
    features: Int[Tensor, "n"]
    """Which, row by row."""
    values: Float[Tensor, "n"]
    """Their pre-activations."""


class Kernels(ABC):
    """A back end. Abstract."""

    name: ClassVar[str]
    takes_integers: ClassVar[bool] = False
    """Whether it has `coarse` and `top_of_coarse`."""

    @abstractmethod
    def top(self, products: Float[Tensor, "rows d_sae"], bias: Float[Tensor, "d_sae"], k: int) -> Chosen:
        """The k largest of products + bias in each row, in any order; no more and no fewer, even where some are NaN.

        `products` may be overwritten.
        """

    @abstractmethod
    def above(
        self, products: Float[Tensor, "rows d_sae"], bias: Float[Tensor, "d_sae"], floor: Float[Tensor, "d_sae"]
    ) -> Chosen:
        """All where products + bias exceeds the feature's floor, within rounding. `products` may be overwritten."""

    @abstractmethod
    def transposed(self, support: Support) -> Transposed:
        """The entries ordered by feature, those of one feature by token."""

    @abstractmethod
    def dots(
        self, left: Float[Tensor, "n_rows d"], right: Float[Tensor, "d_sae d"], support: Support
    ) -> Float[Tensor, "n"]:
        """left[token] · right[feature] of each entry."""

    def coarse(self, rows: Float[Tensor, "n d"]) -> "Coarse":
        """Rows as 8-bit integers."""
        raise NotImplementedError(self.name)

    def top_of_coarse(
        self, products: Int[Tensor, "rows d_sae"], left: "Coarse", right: "Coarse", bias: Tensor, k: int
    ) -> tuple[Chosen, Int[Tensor, "n"]]:
        """The k largest of left · right + bias in each row, from the products of their integers.

        Returns:
            What was chosen, with values computed in float32; and the rows that the integers say too little of, for which
            nothing was chosen.
        """
        raise NotImplementedError(self.name)

    def weighted_sums(
        self, table: Float[Tensor, "t d"], index: Int[Tensor, "n"], ptr: Int[Tensor, "m_plus_1"], weights: Tensor
    ) -> Float[Tensor, "m d"]:
        """Row i is the sum of weights[j] · table[index[j]] over j in ptr[i]:ptr[i + 1]."""
        return embedding_bag(index, table, ptr, mode="sum", per_sample_weights=weights, include_last_offset=True)

    def sums(self, values: Float[Tensor, "n"], support: Support) -> Float[Tensor, "d_sae"]:
        """Sum of the values of each feature."""
        return values.new_zeros(support.d_sae).index_add_(0, support.index, values)


class Coarse(NamedTuple):
    """Rows of a matrix, and the same as 8-bit integers: row i is about `scale[i] · integers[i]`."""

    exact: Float[Tensor, "n d"]
    """As they are."""
    integers: Int[Tensor, "n d"]
    """In −127 … 127."""
    scale: Float[Tensor, "n"]
    """A 127th of the row's largest entry; NaN or infinite where the row holds such."""
    norm: Float[Tensor, "n"]
    """Of the row as it is."""

    def part(self, start: int, stop: int) -> "Coarse":
        """Some of the rows."""
        return Coarse(*(values[start:stop] for values in self))


class TorchKernels(Kernels):
    """Stock operations, on any device."""

    name = "torch"

    @override
    def top(self, products: Float[Tensor, "rows d_sae"], bias: Float[Tensor, "d_sae"], k: int) -> Chosen:
        values, index = products.add_(bias).topk(k, dim=1, sorted=False)
        counts = torch.full((len(products),), k, dtype=torch.int32, device=products.device)
        return Chosen(counts, index.int().flatten(), values.flatten())

    @override
    def above(
        self, products: Float[Tensor, "rows d_sae"], bias: Float[Tensor, "d_sae"], floor: Float[Tensor, "d_sae"]
    ) -> Chosen:
        is_above = products > floor - bias
        if is_above.device.type == "cpu":  # ten times faster than torch's nonzero where few are true
            flat = torch.from_numpy(np.flatnonzero(is_above.numpy()))
        else:
            flat = is_above.flatten().nonzero().squeeze(1)
        row = torch.div(flat, products.shape[1], rounding_mode="floor")
        index = flat - row * products.shape[1]
        counts = torch.bincount(row, minlength=len(products)).int()
        return Chosen(counts, index.int(), products.flatten()[flat] + bias[index])

    @override
    def transposed(self, support: Support) -> Transposed:
        index = support.index
        on_cpu = index.device.type == "cpu"
        order = torch.from_numpy(radix_order(index.numpy())) if on_cpu else torch.argsort(index, stable=True)
        ptr = torch.zeros(support.d_sae + 1, dtype=torch.int32, device=index.device)
        ptr[1:] = torch.bincount(index, minlength=support.d_sae).cumsum(0)
        return Transposed(ptr, support.row[order], order)

    @override
    def dots(
        self, left: Float[Tensor, "n_rows d"], right: Float[Tensor, "d_sae d"], support: Support
    ) -> Float[Tensor, "n"]:
        # The derivative of a weighted sum by its weights is this, and torch has it as an operation of its own.
        derivative = torch.ops.aten._embedding_bag_per_sample_weights_backward
        return derivative(left, right, support.index, support.row_ptr[:-1], support.row, 0)


def radix_order(index: np.ndarray) -> np.ndarray:
    """A stable order of small integers: numpy sorts 16-bit ones by radix, 40 times faster than torch's sort."""
    order = np.argsort(index.astype(np.uint16), kind="stable")
    if len(index) and int(index.max()) > np.iinfo(np.uint16).max:
        order = order[np.argsort((index[order] >> 16).astype(np.uint16), kind="stable")]
    return order


def choose(name: KernelsName, device: str = "cpu") -> Kernels:
    """The back end of a config.

    Args:
        name: `auto` means numba on a CPU where it is installed, else torch.
        device: Where the work is done.

    Raises:
        UserError: numba or Triton is asked for and not here, or not for this device.
    """
    has_numba = importlib.util.find_spec("numba") is not None
    match name:
        case "torch":
            return TorchKernels()
        case "auto" if device != "cpu" or not has_numba:
            return TorchKernels()
        case "auto" | "numba":
            if not has_numba or device != "cpu":
                found = "numba is not installed" if not has_numba else f"the SAE is on {device}"
                raise UserError(
                    f"training.kernels is numba, but {found}, expected numba on a CPU. "
                    "Run `pip install 'clinlens[fast]'`, or set training.kernels=torch."
                )
            from sae.sparse.numba_kernels import NumbaKernels

            return NumbaKernels()
        case "triton":
            has_triton = importlib.util.find_spec("triton") is not None
            is_interpreted = (
                os.environ.get("TRITON_INTERPRET") == "1"
            )  # Triton's own: its kernels on the CPU, for tests
            if not has_triton or (device == "cpu" and not is_interpreted):
                found = "Triton is not installed" if not has_triton else f"the SAE is on {device}"
                raise UserError(
                    f"training.kernels is triton, but {found}, expected Triton, which comes with torch for CUDA, and a GPU. "
                    "Set training.kernels=auto."
                )
            from sae.sparse.triton_kernels import TritonKernels

            return TritonKernels()
        case _:
            assert_never(name)
