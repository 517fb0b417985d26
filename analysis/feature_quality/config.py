"""Settings of the measures of feature quality."""

from pydantic import Field, NonNegativeFloat, PositiveInt

from sae.config import Settings


class QualityConfig(Settings, frozen=True):
    """How features are judged on annotated concepts."""

    min_mentions: PositiveInt = Field(
        default=10, description="Mentions that a concept needs in each half of the held-out patients."
    )
    probe_features: tuple[PositiveInt, ...] = Field(
        default=(1, 2, 5), min_length=1, description="Numbers of features that sparse probes are fitted on."
    )
    probe_seeds: int = Field(default=5, ge=2, description="Random halvings of the patients for sparse probes.")
    split_gain: NonNegativeFloat = Field(
        default=0.03, description="F1 that one more feature must add to count as another part of a split concept."
    )
    most_parts: PositiveInt = Field(default=10, description="Features that one concept may be split over, at most.")
    absorber_cosine: float = Field(
        default=0.1, ge=0, le=1, description="Cosine with the probe that a feature needs to be an absorber."
    )
    absorber_share: float = Field(
        default=0.4, gt=0, le=1, description="Share of the probe's projection that absorbers must make up together."
    )
    most_absorbers: PositiveInt = Field(default=3, description="Features that may absorb one mention, at most.")
    ablated_features: tuple[PositiveInt, ...] = Field(
        default=(1, 2, 5, 10, 20), min_length=1, description="Numbers of features that are taken out for a concept."
    )
    n_bootstraps: PositiveInt = Field(default=200, description="Draws of patients, for intervals.")
    seed: int = Field(default=0, ge=0, description="Of everything random.")
