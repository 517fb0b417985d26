"""Settings of the attribution methods; each is written once, here."""

from typing import Annotated, Literal, get_args

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from sae.config import Settings

BaselineKind = Literal["vocabulary_mean", "kind_mean", "zero", "token"]
UnitKind = Literal["tokens", "words", "sentences", "spans"]


class MethodSettings(Settings, frozen=True):
    """What all methods share."""

    batch_tokens: PositiveInt = Field(default=1024, description="Tokens of one pass of the model, at most.")


class BaselineSettings(MethodSettings, frozen=True):
    """A method that compares the text with something in its place."""

    baseline: BaselineKind = Field(
        default="vocabulary_mean",
        description="What stands for absence: the mean embedding of the vocabulary or of its tokens of the same kind "
        "(number, word, punctuation), zeros, or one token.",
    )
    baseline_token: int | None = Field(default=None, description="The token of `baseline: token`, by its number.")


class IntegratedGradientsConfig(BaselineSettings, frozen=True):
    """Gradients along the straight path from the baseline to the text, summed."""

    method: Literal["integrated_gradients"] = "integrated_gradients"
    n_steps: PositiveInt = Field(default=16, description="Points of the path where the gradient is taken.")
    nodes: Literal["adaptive", "gauss_legendre", "midpoint"] = Field(
        default="adaptive", description="Where they lie: where the score changes, or at fixed places."
    )
    segment_correction: bool = Field(
        default=True,
        description="Scale each segment's share to the score's exact change over it (adaptive nodes); the gap before it is "
        "reported too.",
    )
    refine_until: PositiveFloat | None = Field(
        default=None,
        description="Double the points until the uncorrected gap, as a share of the total, is at most this.",
    )
    max_steps: PositiveInt = Field(default=512, description="Where refining stops, converged or not.")


class ExpectedGradientsConfig(MethodSettings, frozen=True):
    """Integrated gradients averaged over replacements drawn at random, one point of each path."""

    method: Literal["expected_gradients"] = "expected_gradients"
    n_samples: PositiveInt = Field(default=64, description="Draws of a replacement text and a point.")


class GradientNormConfig(MethodSettings, frozen=True):
    """Length of the score's gradient at each token."""

    method: Literal["gradient_norm"] = "gradient_norm"


class GradientInputConfig(MethodSettings, frozen=True):
    """Gradient times embedding."""

    method: Literal["gradient_input"] = "gradient_input"


class RelevanceSettings(MethodSettings, frozen=True):
    """A backward pass with changed rules, times the embedding."""

    baseline: Literal["zero", "vocabulary_mean", "kind_mean"] = Field(
        default="zero", description="What is taken from the embedding before it is multiplied: nothing, or a mean."
    )


class GatedLRPConfig(RelevanceSettings, frozen=True):
    """AttnLRP's relevance beside the gated length of its gradient. The default method."""

    method: Literal["gated_lrp"] = "gated_lrp"
    weight: NonNegativeFloat = Field(
        default=1.0, description="Absolute sum of the sensitivity, as a share of the relevance's; 0 leaves AttnLRP."
    )
    power: PositiveFloat = Field(default=2.0, description="Exponent of the gate; larger keeps fewer tokens.")


class AttnLRPConfig(RelevanceSettings, frozen=True):
    """AttnLRP: relevance by a backward pass whose rules conserve it."""

    method: Literal["attn_lrp"] = "attn_lrp"


class GIMConfig(RelevanceSettings, frozen=True):
    """GIM: the same with the softmax differentiated at a higher temperature."""

    method: Literal["gim"] = "gim"
    temperature: PositiveFloat = Field(
        default=4.0,
        description="Temperature of the softmax in the backward pass; 2 in the paper, 4 is nearer to known evidence.",
    )


class OcclusionConfig(BaselineSettings, frozen=True):
    """The score's change when a unit is replaced."""

    method: Literal["occlusion"] = "occlusion"
    unit: UnitKind = Field(default="tokens", description="What is replaced at once.")
    batch_tokens: PositiveInt = Field(default=2048, description="Tokens of one pass of the model, at most.")


class ResamplingConfig(MethodSettings, frozen=True):
    """The score's mean change when a unit is replaced by other tokens of its kind: the causal reference."""

    method: Literal["resampling"] = "resampling"
    unit: UnitKind = Field(default="tokens", description="What is replaced at once.")
    n_samples: PositiveInt = Field(default=8, description="Replacements of each unit.")
    batch_tokens: PositiveInt = Field(default=2048, description="Tokens of one pass of the model, at most.")


class ShapleyConfig(BaselineSettings, frozen=True):
    """Mean marginal contributions over random orders."""

    method: Literal["shapley"] = "shapley"
    unit: UnitKind = Field(default="words", description="The players.")
    n_permutations: PositiveInt = Field(
        default=24, description="Random orders, in pairs; an odd number leaves one alone."
    )
    batch_tokens: PositiveInt = Field(default=2048, description="Tokens of one pass of the model, at most.")


class SurrogateConfig(BaselineSettings, frozen=True):
    """ContextCite: a sparse linear model of the score over random ablations."""

    method: Literal["surrogate"] = "surrogate"
    unit: UnitKind = Field(default="words", description="What is ablated at once.")
    n_ablations: PositiveInt = Field(default=64, description="Random ablations.")
    keep: float = Field(default=0.5, gt=0, lt=1, description="Probability that a unit is kept.")
    alpha: NonNegativeFloat = Field(default=0.01, description="Weight of the lasso's penalty.")
    batch_tokens: PositiveInt = Field(default=2048, description="Tokens of one pass of the model, at most.")


class HiddenStateConfig(MethodSettings, frozen=True):
    """Length of the hidden state at one layer: what the model represents strongly, not why it answers."""

    method: Literal["hidden_state"] = "hidden_state"
    layer: PositiveInt | None = Field(
        default=None, description="Layer, from 1; two thirds of the way if unset (8 of 12)."
    )


class AttentionRolloutConfig(MethodSettings, frozen=True):
    """Attention followed through all layers, or that of the last one."""

    method: Literal["attention_rollout"] = "attention_rollout"


class LastAttentionConfig(MethodSettings, frozen=True):
    """Attention of the last layer."""

    method: Literal["last_attention"] = "last_attention"


class HETAConfig(BaselineSettings, frozen=True):
    """HETA: a semantic gate times curvature and information loss."""

    method: Literal["heta"] = "heta"
    n_probes: PositiveInt = Field(
        default=10, description="Random directions per token that the curvature is probed by."
    )
    beta: NonNegativeFloat = Field(default=0.5, description="Weight of the curvature.")
    gamma: NonNegativeFloat = Field(default=0.5, description="Weight of the information loss.")
    baseline: BaselineKind = Field(default="zero", description="What a masked token becomes; zeros in the paper.")
    curvature: Literal["block", "row"] = Field(
        default="block",
        description="Each token's own block of the Hessian, or its rows: as many times cheaper as there are tokens.",
    )
    batch_products: PositiveInt = Field(default=16, description="Hessian-vector products taken at once.")


class ThroughAnswerConfig(MethodSettings, frozen=True):
    """FlashTrace: what answer tokens owe to earlier answer tokens is passed on to the text."""

    method: Literal["through_answer"] = "through_answer"
    hops: PositiveInt = Field(default=1, description="How often it is passed on.")
    through: Literal["attn_lrp", "gim", "gradient_norm"] = Field(
        default="attn_lrp", description="The method that gives every answer token's scores."
    )


MethodConfig = Annotated[
    IntegratedGradientsConfig
    | ExpectedGradientsConfig
    | GradientNormConfig
    | GradientInputConfig
    | GatedLRPConfig
    | AttnLRPConfig
    | GIMConfig
    | OcclusionConfig
    | ResamplingConfig
    | ShapleyConfig
    | SurrogateConfig
    | HiddenStateConfig
    | AttentionRolloutConfig
    | LastAttentionConfig
    | HETAConfig
    | ThroughAnswerConfig,
    Field(discriminator="method"),
]
METHODS = {cls.model_fields["method"].default: cls for cls in get_args(get_args(MethodConfig)[0])}
"""Name → settings."""
DEFAULT = "gated_lrp"
"""Source: docs/faithfulness.md; of the methods of one forward and one backward pass it finds known evidence best in records with
negations, and is level with the best on the clinic's notes."""
