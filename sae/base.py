"""What every sparse autoencoder is: an encoder, an activation function, a decoder and a training loss.

    x ≈ x̂ = f(x) · W_dec + b_dec        f(x) = σ((x − b_dec) · W_enc + b_enc)

Architectures differ in σ and in the loss; each has its own file, to be read beside its paper.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from sae.sparse.engine import Codes, Encoder, SparseEngine

Average = Callable[[Tensor], Tensor]
"""Averages a mean over the rows that are here with the same mean over as many rows elsewhere.

A batch may be spread evenly over several processes. Losses are functions of means over the whole batch, so each such
mean goes through this, once and before anything that is not linear. Its argument may depend on another mean that went
through it only as on a constant, without gradient. Source: the derivation in training/replicas.py.
"""


def whole(mean: Tensor) -> Tensor:
    """All rows are here: nothing to average with."""
    return mean


class SAEOutput(NamedTuple):
    """One pass through the autoencoder."""

    feature_acts: Float[Tensor, "*batch d_sae"]
    """Feature activations, ≥ 0, mostly 0."""
    reconstruction: Float[Tensor, "*batch d_in"]
    """x̂."""


class Losses(NamedTuple):
    """What one training step minimises, and what it saw."""

    total: Float[Tensor, ""]
    """The sum that is differentiated."""
    terms: dict[str, Float[Tensor, ""]]
    """Its parts by name, weights applied, for the log."""
    reconstruction: Float[Tensor, "batch d_in"]
    """x̂."""
    fired: Int[Tensor, "d_sae"]
    """Tokens on which each feature was active."""
    n_codes: int
    """Entries of [batch, d_sae] that take part in the gradient: what a sparse step has to work on."""
    least_active: Float[Tensor, ""] | None = None
    """The smallest activation kept, where an architecture learns its threshold from it."""


class SAE(nn.Module, ABC):
    """A sparse autoencoder. Abstract; `sae.build` makes the final classes.

    Args:
        d_in: Width of the input.
        d_sae: Number of features.
    """

    W_enc: Float[Tensor, "d_in d_sae"]
    b_enc: Float[Tensor, "d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, "d_in"]

    is_always_sparse: ClassVar[bool] = False
    """Whether the number of active features is bounded beforehand, so that every training step can be sparse."""
    decoder_has_unit_norm: bool = True
    """Whether training holds every row of W_dec at norm 1."""
    lr_scales: ClassVar[dict[str, float]] = {"W_dec": 2.0}
    """Parameters that learn at a multiple of the learning rate. Source: docs/log.md; rows of norm 1 turn slowly otherwise."""
    feature_shift_names: tuple[str, ...] = ("b_enc",)
    """Parameters in the unit of the pre-activations; they scale with the features."""

    def __init__(self, d_in: int, d_sae: int) -> None:
        super().__init__()
        self.W_enc = nn.Parameter(torch.zeros(d_sae, d_in).T)  # one feature, one piece of memory
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.W_dec = nn.Parameter(torch.zeros(d_sae, d_in))
        self.b_dec = nn.Parameter(torch.zeros(d_in))

    @property
    def d_in(self) -> int:
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        return self.W_enc.shape[1]

    def pre_acts(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """Encoder output before the activation function."""
        return (x - self.b_dec) @ self.W_enc + self.b_enc

    def pre_acts_of(self, x: Float[Tensor, "*batch d_in"], features: Int[Tensor, "n"]) -> Float[Tensor, "*batch n"]:
        """Pre-activations of some features only."""
        return (x - self.b_dec) @ self.W_enc.T.index_select(0, features).T + self.b_enc[features]

    @property
    def encoder(self) -> Encoder:
        """What the sparse engine needs of the encoder."""
        return Encoder(self.W_enc, self.b_enc, self.b_dec)

    def encoder_of(self, features: Int[Tensor, "n"]) -> Encoder:
        """The same of some features only."""
        return Encoder(self.W_enc.T.index_select(0, features).T, self.b_enc[features], self.b_dec)

    @abstractmethod
    def activate(self, pre_acts: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        """The activation function σ."""

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """Feature activations of `x`."""
        return self.activate(self.pre_acts(x))

    @abstractmethod
    def codes(self, x: Float[Tensor, "batch d_in"], engine: SparseEngine) -> Codes:
        """What `encode` gives, without its zeros: some may be left, and a value at its threshold may round the other way."""

    def decode(self, feature_acts: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
        """Reconstruction from feature activations."""
        return feature_acts @ self.W_dec + self.b_dec

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> SAEOutput:
        feature_acts = self.encode(x)
        return SAEOutput(feature_acts, self.decode(feature_acts))

    @abstractmethod
    def losses(
        self,
        x: Float[Tensor, "batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        sparsity_weight: float,
        average: Average = whole,
    ) -> Losses:
        """The training loss of a batch, written as in the paper: the reference for `sparse_losses`.

        Args:
            x: Inputs, scaled to a mean norm of √d_in.
            dead: Features that have not fired for a while.
            sparsity_weight: 0 to 1, the sparsity penalty's warm-up.
            average: Completes means over `x`, where `x` is a part of the batch.
        """

    @abstractmethod
    def sparse_losses(
        self,
        x: Float[Tensor, "batch d_in"],
        dead: Bool[Tensor, "d_sae"],
        sparsity_weight: float,
        engine: SparseEngine,
        average: Average = whole,
    ) -> Losses:
        """The same loss with the same gradients, computed on the active features only.

        Args:
            x: Inputs, without gradient.
            dead: Features that have not fired for a while.
            sparsity_weight: 0 to 1, the sparsity penalty's warm-up.
            engine: Selects the active features, and knows their gradients.
            average: Completes means over `x`, where `x` is a part of the batch.
        """

    def observe(self, losses: Losses) -> None:
        """Told of every training step's losses, for what is learned without a gradient."""

    @torch.no_grad()
    def initialise(self, sample: Float[Tensor, "n d_in"], generator: torch.Generator, encoder_scale: float) -> None:
        """Random unit decoder rows, the encoder their transpose, the decoder bias at the mean of the data.

        Args:
            sample: Inputs as in training.
            generator: Source of randomness.
            encoder_scale: Norm of the encoder columns; below 1, features start small and specialise sooner.
        """
        self.W_dec.copy_(torch.randn(self.d_sae, self.d_in, generator=generator))
        self.W_dec /= self.W_dec.norm(dim=1, keepdim=True)
        self.W_enc.copy_(self.W_dec.T * encoder_scale)
        self.b_enc.zero_()
        self.b_dec.copy_(sample.mean(0))

    @torch.no_grad()
    def project_gradients(self) -> None:
        """Takes from the decoder's gradient its part along each row, which renormalising would undo.

        Source: Bricken et al. 2023, "Towards Monosemanticity", appendix on the optimiser.
        """
        if self.decoder_has_unit_norm and self.W_dec.grad is not None:
            along = torch.linalg.vecdot(self.W_dec.grad, self.W_dec)
            self.W_dec.grad.addcmul_(self.W_dec, along[:, None], value=-1)

    @torch.no_grad()
    def constrain(self) -> None:
        """Returns the decoder rows to norm 1 after an optimiser step."""
        if self.decoder_has_unit_norm:
            self.W_dec /= self.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-8)

    @torch.no_grad()
    def fold(self, input_scale: float) -> None:
        """Makes an SAE trained on `input_scale × x` one that reads and writes `x`, with unit decoder rows.

        All three activation functions commute with a positive factor per feature, so features keep their support:
        dividing biases and thresholds by the scale and moving each decoder norm into its feature changes
        no reconstruction.
        """
        norm = self.W_dec.norm(dim=1).clamp_min(1e-8)
        if not self.decoder_has_unit_norm:
            self.W_enc *= norm
            for name in self.feature_shift_names:
                getattr(self, name).mul_(norm)
            self.W_dec /= norm[:, None]
        for name in self.feature_shift_names:
            getattr(self, name).div_(input_scale)
        self.b_dec /= input_scale


def squared_error(
    target: Float[Tensor, "batch d"], estimate: Float[Tensor, "batch d"], average: Average = whole
) -> Float[Tensor, ""]:
    """Squared distance, summed over the width and averaged over the batch."""
    return average((target - estimate).square().sum(dim=-1).mean())


def normalised_error(
    target: Float[Tensor, "batch d"], estimate: Float[Tensor, "batch d"], average: Average = whole
) -> Float[Tensor, ""]:
    """Squared distance in units that give the target a variance of d: the share of its variance that is left, times d.

    By d, since inputs have a norm of √d: its gradients are then as long as those of an error that is not normalised,
    and clipping brings those of every step to one length. Source: docs/log.md, a fifth less variance lost.
    """
    return squared_error(target, estimate, average) * (target.shape[-1] / variance(target, average).clamp_min(1e-12))


def variance(x: Float[Tensor, "batch d"], average: Average = whole) -> Float[Tensor, ""]:
    """Squared distance from the batch mean, summed over the width and averaged over the batch.

    Of a batch in parts, `x` must be without gradient: it is under two averages, one inside the other.
    """
    return squared_error(x, average(x.mean(dim=0, keepdim=True)).expand_as(x), average)
