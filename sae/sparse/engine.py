"""One sparse engine for all architectures: encoding that keeps the active features only, decoding, exact gradients.

1. Pre-activations are computed for a few rows at a time in one buffer, and what is active is taken out of it; the
   matrix [batch, d_sae] never exists.
2. With the support S of the batch, every gradient is a sum over S:
       ∂L/∂f = ⟨∂L/∂x̂, W_dec,f⟩      ∂L/∂W_dec = fᵀ · ∂L/∂x̂      ∂L/∂W_enc = (x − b_dec)ᵀ · ∂L/∂π
       ∂L/∂b_enc = Σ ∂L/∂π            ∂L/∂b_dec −= W_enc · ∂L/∂b_enc   (the sum over tokens first, then one product)
3. Weights are latent-major in memory (`W_enc.T` and `W_dec` are contiguous), so that a feature is one piece.
4. Optionally the encoder's product is coarse: it then only selects, and the selected values are computed again in
   float32, so that values and gradients are exact for the support. In bfloat16 the support may differ in places; 8-bit
   integers propose candidates within their error, of which float32 takes the largest, so that it is the same.

Source: the products follow from the chain rule; tests hold them against autograd on the dense losses.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sae.errors import UserError
from sae.sparse.kernels import Chosen, Kernels
from sae.sparse.support import Support

Arithmetic = Literal["auto", "float32", "bfloat16", "int8"]
INTEGERS_PAY = 2**20
"""Encoder weights from which `auto` takes 8-bit integers. Source: measured with numba and AVX512-VNNI; whole TopK steps take
1.15 of the time at 64 × 512, 1.03 at 256 × 2,048, .92 at 512 × 2,048, .75 at 512 × 8,192."""
BUFFER_BYTES = 64 * 2**20
"""Pre-activations held at a time. Source: measured at 512 × 8,192; 2,048 rows cost what 4,096 do, 1,024 15 % more."""
SAMPLE_ROWS = 64
"""Rows whose pre-activations estimate where a batch's largest begin. Source: of 4,096 × 8,192 with 32 to keep per row, about
4,000 of the sample lie above, so that the estimate is within a few per cent; more rows cost their share of the encoder."""


@dataclass(frozen=True)
class Codes:
    """Values at a support, differentiable."""

    values: Float[Tensor, "n"]
    support: Support

    def with_values(self, values: Float[Tensor, "n"]) -> "Codes":
        """Other values at the same places."""
        return Codes(values, self.support)

    def decode(self, W_dec: Float[Tensor, "d_sae d_in"]) -> Float[Tensor, "n_rows d_in"]:
        """Codes times decoder, without its bias."""
        return Decode.apply(self.values, W_dec, self.support)  # pyright: ignore[reportReturnType]

    def decode_parts(
        self, W_dec: Float[Tensor, "d_sae d_in"], ends: tuple[int, ...]
    ) -> Float[Tensor, "n_rows parts d_in"]:
        """What the features below the first end give, those from there to the second, and so on, each alone.

        The features of a token must be in ascending order.
        """
        parts = self.support.parts(ends)
        return Codes(self.values, parts).decode(W_dec).view(self.support.n_rows, len(ends), -1)

    def of(self, parameter: Float[Tensor, "d_sae"]) -> Float[Tensor, "n"]:
        """A parameter per feature, at each entry."""
        return AtEntries.apply(parameter, self.support)  # pyright: ignore[reportReturnType]

    @property
    def fired(self) -> Tensor:
        """[d_sae] int64, tokens on which each feature is above 0."""
        active = self.support.index[self.values.detach() > 0]
        return torch.bincount(active, minlength=self.support.d_sae)


@dataclass(frozen=True)
class Encoder:
    """What turns inputs into pre-activations."""

    W_enc: Float[Tensor, "d_in d_sae"]
    bias: Float[Tensor, "d_sae"]
    b_dec: Float[Tensor, "d_in"]


class SparseEngine:
    """Selects, and keeps its buffer from step to step.

    Args:
        kernels: The back end.
        arithmetic: Of the encoder's product. `int8` is for the k largest of each token, all else is then in float32;
            `auto` is that for wide encoders where this processor multiplies 8-bit integers fast, else float32.

    Raises:
        UserError: `int8` is asked for without numba's kernels.
    """

    def __init__(self, kernels: Kernels, arithmetic: Arithmetic = "float32") -> None:
        self.kernels = kernels
        self.arithmetic: Arithmetic = arithmetic
        if arithmetic == "int8" and not kernels.takes_integers:
            raise UserError(
                f"training.encoder_dtype is int8, but the kernels are {kernels.name}, expected numba on a CPU. "
                "Run `pip install 'clinlens[fast]'`, or set training.encoder_dtype=auto."
            )
        self._may_take_integers = kernels.takes_integers and has_integer_products()
        self.is_bfloat16 = arithmetic == "bfloat16"
        self._buffer = torch.empty(0)

    def release(self) -> None:
        """Lets its buffer go; the next step makes it anew."""
        self._buffer = torch.empty(0)

    def top(self, x: Float[Tensor, "batch d_in"], encoder: Encoder, k: int) -> Codes:
        """The k largest pre-activations of each token."""
        pays = self._may_take_integers and encoder.W_enc.numel() >= INTEGERS_PAY
        if self.arithmetic == "int8" or (self.arithmetic == "auto" and pays):
            return self._top_of_integers(x, encoder, k)
        return self._codes(x, encoder, lambda rows: self.kernels.top(rows, encoder.bias.detach(), k))

    def above(self, x: Float[Tensor, "batch d_in"], encoder: Encoder, floor: Float[Tensor, "d_sae"]) -> Codes:
        """All pre-activations that exceed their feature's floor."""
        floor = floor.detach()
        return self._codes(x, encoder, lambda rows: self.kernels.above(rows, encoder.bias.detach(), floor))

    def top_of_batch(self, x: Float[Tensor, "batch d_in"], encoder: Encoder, n: int) -> Codes:
        """The n largest positive pre-activations of the batch, by threshold search: fewer if fewer are positive.

        A sample says where they begin, with a margin; what lies above is collected, and cut to the n largest.
        Too low an estimate costs candidates, too high a second pass; the result is exact either way.
        """
        floor = self._floor_of_top(x, encoder, n)
        floor = floor if math.isfinite(floor) else 0.0  # broken weights: the loss is to tell
        while True:
            bound = torch.full_like(encoder.bias.detach(), floor)
            codes = self.above(x, encoder, bound)
            if len(codes.values) >= n or floor <= 0:
                break
            floor = floor / 2 if floor > 1e-6 else 0.0
        values = codes.values.detach()
        if len(values) <= n:
            return codes
        keep = torch.zeros_like(values, dtype=torch.bool)
        keep[torch.topk(values, n, sorted=False).indices] = True
        return Codes(codes.values[keep], codes.support.where(keep))

    @torch.no_grad()
    def _floor_of_top(self, x: Tensor, encoder: Encoder, n: int) -> float:
        """A value below which, most likely, none of the n largest lies: twice as many of a sample are above."""
        d_sae = len(encoder.bias)
        some = x[:: max(len(x) // SAMPLE_ROWS, 1)]
        sample = (self._products(some - encoder.b_dec, encoder) + encoder.bias).flatten()
        n_above = min(len(sample), round(2 * n / (len(x) * d_sae) * len(sample)) + 4)
        return max(float(torch.topk(sample, n_above).values[-1]), 0.0)

    def _codes(self, x: Tensor, encoder: Encoder, choose: Callable[[Tensor], Chosen]) -> Codes:
        """Selects chunk by chunk, and ties the selected values to the parameters they came from."""
        with torch.no_grad():
            centred = x - encoder.b_dec
            chunks = centred.split(chunk_rows(len(encoder.bias)))
            chosen = [choose(self._products(part, encoder)) for part in chunks]
            support = self._support(chosen, len(encoder.bias))
            if self.is_bfloat16:
                values = self.kernels.dots(centred, encoder.W_enc.T.contiguous(), support)
                values += encoder.bias[support.index]
            else:
                values = torch.cat([part.values for part in chosen])
        tied = PreActs.apply(encoder.W_enc, encoder.bias, encoder.b_dec, values, centred, support)
        return Codes(tied, support)  # pyright: ignore[reportArgumentType]

    def _top_of_integers(self, x: Tensor, encoder: Encoder, k: int) -> Codes:
        """The same by products of 8-bit integers; rows of which these say too little by products of floats."""
        kernels = self.kernels
        with torch.no_grad():
            centred, bias = x - encoder.b_dec, encoder.bias.detach()
            left, right = kernels.coarse(centred), kernels.coarse(encoder.W_enc.detach().T)
            chosen = []
            for start in range(0, len(x), chunk_rows(len(bias))):
                part = left.part(start, start + chunk_rows(len(bias)))
                products = self._room(len(part.exact), len(bias), x).view(torch.int32)
                torch.ops.aten._int_mm.out(part.integers, right.integers.T, out=products)
                found, unsure = kernels.top_of_coarse(products, part, right, bias, k)
                if len(unsure):
                    exact = kernels.top(self._products(part.exact[unsure], encoder), bias, k)
                    found.features.view(-1, k)[unsure] = exact.features.view(-1, k)
                    found.values.view(-1, k)[unsure] = exact.values.view(-1, k)
                chosen.append(found)
            support = self._support(chosen, len(bias))
            values = torch.cat([part.values for part in chosen])
        tied = PreActs.apply(encoder.W_enc, encoder.bias, encoder.b_dec, values, centred, support)
        return Codes(tied, support)  # pyright: ignore[reportArgumentType]

    def _support(self, chosen: list[Chosen], d_sae: int) -> Support:
        """The entries of all chunks."""
        counts = torch.cat([part.counts for part in chosen])
        ptr = torch.zeros(len(counts) + 1, dtype=torch.int32, device=counts.device)
        ptr[1:] = counts.cumsum(0)
        return Support(ptr, torch.cat([part.features for part in chosen]), d_sae, self.kernels)

    def _room(self, n: int, d_sae: int, like: Tensor) -> Float[Tensor, "n d_sae"]:
        """A part of the buffer."""
        if self._buffer.numel() < n * d_sae or self._buffer.device != like.device:
            self._buffer = torch.empty(n * d_sae, device=like.device)
        return self._buffer[: n * d_sae].view(n, d_sae)

    def _products(self, centred: Float[Tensor, "rows d_in"], encoder: Encoder) -> Float[Tensor, "rows d_sae"]:
        """Pre-activations of a few rows but for the bias, in the buffer."""
        rows = self._room(len(centred), len(encoder.bias), centred)
        if self.is_bfloat16:
            return rows.copy_(centred.bfloat16() @ encoder.W_enc.T.bfloat16().T)
        return torch.mm(centred, encoder.W_enc, out=rows)


def has_integer_products() -> bool:
    """Whether this processor multiplies 8-bit integers faster than floats (AVX512-VNNI)."""
    return torch.cpu._is_vnni_supported()


def chunk_rows(d_sae: int) -> int:
    """Rows whose pre-activations fill the buffer."""
    return max(BUFFER_BYTES // (4 * d_sae), 64)


class PreActs(torch.autograd.Function):
    """Selected pre-activations as a function of the encoder's parameters. The inputs get no gradient."""

    @staticmethod
    def forward(
        ctx: Any, W_enc: Tensor, bias: Tensor, b_dec: Tensor, values: Tensor, centred: Tensor, support: Support
    ) -> Tensor:
        ctx.save_for_backward(W_enc, centred)
        ctx.support = support
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grad_outputs
        W_enc, centred = ctx.saved_tensors
        support: Support = ctx.support
        by_feature = support.transposed
        kernels = support.kernels
        grad_W = kernels.weighted_sums(centred, by_feature.row, by_feature.feature_ptr, grad[by_feature.order])
        grad_bias = kernels.sums(grad, support)
        return grad_W.T, grad_bias, -(W_enc @ grad_bias), None, None, None


class Decode(torch.autograd.Function):
    """Values at a support, times a decoder."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, W_dec: Tensor, support: Support) -> Tensor:
        ctx.save_for_backward(values, W_dec)
        ctx.support = support
        return support.kernels.weighted_sums(W_dec, support.index, support.row_ptr, values)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        grad = grad_outputs[0].contiguous()
        values, W_dec = ctx.saved_tensors
        support: Support = ctx.support
        grad_values = support.kernels.dots(grad, W_dec, support)
        if not ctx.needs_input_grad[1]:
            return grad_values, None, None
        by_feature = support.transposed
        weights = values[by_feature.order]
        return grad_values, support.kernels.weighted_sums(grad, by_feature.row, by_feature.feature_ptr, weights), None


class AtEntries(torch.autograd.Function):
    """A value per feature, at each entry of a support."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, support: Support) -> Tensor:
        ctx.support = support
        return parameter[support.index]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return ctx.support.kernels.sums(grad_outputs[0].contiguous(), ctx.support), None
