"""Settings of feature examples and concept recovery."""

from pydantic import Field, NonNegativeFloat, PositiveInt

from sae.config import Settings


class ExamplesConfig(Settings, frozen=True):
    """Which contexts are kept for each feature."""

    n_tokens: PositiveInt = Field(
        default=200_000, description="Tokens that are searched, at most; held-out documents first."
    )
    window_tokens: PositiveInt = Field(default=32, description="Tokens of a context, around the strongest one.")
    n_top: PositiveInt = Field(default=8, description="Strongest contexts per feature, from different windows.")
    n_quantiles: PositiveInt = Field(
        default=5, description="Equal parts of the feature's activations that are sampled."
    )
    n_per_quantile: PositiveInt = Field(default=2, description="Contexts per part.")
    n_contrasts: PositiveInt = Field(default=4, description="Contexts in which the feature does not fire.")
    n_logits: PositiveInt = Field(default=10, description="Tokens that the feature pushes up and down the most.")


class ConceptsConfig(Settings, frozen=True):
    """When a feature counts as standing for a concept, and how concepts are probed."""

    auroc: float = Field(
        default=0.95, gt=0.5, le=1, description="Held-out AUROC from which a concept counts as recovered."
    )
    min_mentions: PositiveInt = Field(
        default=10, description="Mentions a concept needs in each half of the held-out documents."
    )
    probe_features: tuple[PositiveInt, ...] = Field(
        default=(1, 2, 5, 10, 20), min_length=1, description="Numbers of features that probes are fitted on."
    )
    probe_seeds: int = Field(default=5, ge=2, description="Random halvings of the documents that probes are fitted on.")
    probe_margin: NonNegativeFloat = Field(
        default=0.02,
        description="AUROC by which a probe on features may stay behind one on the model's activations and still count as good.",
    )
