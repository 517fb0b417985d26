"""Settings of one sparse autoencoder. Each is written once, here; help, schema and documentation come from it."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat, PositiveInt


class Settings(BaseModel, frozen=True, extra="forbid"):
    """A section of a config: it cannot be changed, and a key it does not know is an error."""


class SAESettings(Settings, frozen=True):
    """What all architectures share."""

    expansion_factor: PositiveInt = Field(default=8, description="d_sae = d_in × expansion_factor features.")

    def d_sae(self, d_in: int) -> int:
        """Number of features for an input of width `d_in`."""
        return d_in * self.expansion_factor


class L1Config(SAESettings, frozen=True):
    """ReLU features with a penalty on their size, weighted by the norm of each decoder row."""

    architecture: Literal["l1"] = "l1"
    l1_coefficient: NonNegativeFloat = Field(
        default=2.0, description="Weight of the L1 penalty, for inputs scaled to a mean norm of √d_in."
    )


class TopKConfig(SAESettings, frozen=True):
    """Exactly the k largest pre-activations are kept."""

    architecture: Literal["topk"] = "topk"
    k: PositiveInt = Field(default=16, description="Features kept per token.")
    aux_k: PositiveInt | None = Field(
        default=None,
        description="Dead features that reconstruct the residual error; the power of two nearest d_in / 2 if unset.",
    )
    aux_coefficient: NonNegativeFloat = Field(
        default=1 / 32, description="Weight of the auxiliary loss for dead features."
    )


class BatchTopKConfig(SAESettings, frozen=True):
    """The k · batch largest pre-activations of a batch are kept, so that tokens differ in their number of features."""

    architecture: Literal["batchtopk"] = "batchtopk"
    k: PositiveInt = Field(default=16, description="Features kept per token, on average.")
    aux_k: PositiveInt | None = Field(
        default=None,
        description="Dead features that reconstruct the residual error; the power of two nearest d_in / 2 if unset.",
    )
    aux_coefficient: NonNegativeFloat = Field(
        default=1 / 32, description="Weight of the auxiliary loss for dead features."
    )


class MatryoshkaConfig(SAESettings, frozen=True):
    """BatchTopK whose first features reconstruct alone, in nested groups."""

    architecture: Literal["matryoshka"] = "matryoshka"
    k: PositiveInt = Field(default=16, description="Features kept per token, on average.")
    prefixes: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        default=(1 / 16, 1 / 8, 1 / 4, 1 / 2),
        description="Shares of the features that must reconstruct alone; all of them always do.",
    )
    aux_k: PositiveInt | None = Field(
        default=None,
        description="Dead features that reconstruct the residual error; the power of two nearest d_in / 2 if unset.",
    )
    aux_coefficient: NonNegativeFloat = Field(
        default=1 / 32, description="Weight of the auxiliary loss for dead features."
    )


class GatedConfig(SAESettings, frozen=True):
    """A gate says which features are active, a magnitude how strongly; the penalty acts on the gate."""

    architecture: Literal["gated"] = "gated"
    l1_coefficient: NonNegativeFloat = Field(
        default=2.0, description="Weight of the L1 penalty on the gate, for inputs scaled to a mean norm of √d_in."
    )


class JumpReLUConfig(SAESettings, frozen=True):
    """Features above a learned threshold are kept, and the penalty counts them."""

    architecture: Literal["jumprelu"] = "jumprelu"
    target_l0: PositiveFloat | None = Field(
        default=16.0,
        description="Mean number of active features per token to steer to; unset, l0_coefficient × L0 is the penalty.",
    )
    l0_coefficient: NonNegativeFloat = Field(
        default=1.0, description="Weight of the L0 penalty, relative to the variance of the inputs."
    )
    bandwidth: PositiveFloat = Field(
        default=0.5,
        description="Width of the kernel that estimates the thresholds' gradient, for inputs of mean norm √d_in.",
    )
    initial_threshold: PositiveFloat = Field(
        default=0.1, description="Threshold of every feature before the first step."
    )
    pre_act_coefficient: NonNegativeFloat = Field(
        default=3e-3,
        description="Weight of the loss that lifts dead features' pre-activations towards their thresholds.",
    )


SAEConfig = Annotated[
    L1Config | TopKConfig | JumpReLUConfig | BatchTopKConfig | MatryoshkaConfig | GatedConfig,
    Field(discriminator="architecture"),
]
