"""Settings of a concept trace."""

from typing import Literal

from pydantic import Field, PositiveInt

from sae.config import Settings

MIN_POSITIVES = 10
"""In the half that estimates. Source: specs/labeling.md, section 8.3."""


class TraceConfig(Settings, frozen=True):
    """How a concept is looked for and followed."""

    unit: Literal["mention", "document"] = Field(
        default="mention",
        description="What is told apart: mentions of the concept from other mentions and passages, or whole documents.",
    )
    aggregation: Literal["max", "mean"] = Field(
        default="max", description="How a feature's values over a unit's tokens become one."
    )
    status: tuple[str, ...] | None = Field(
        default=None, description="Only spans of these statuses (such as affirmed) are positive; all if unset."
    )
    n_permutations: PositiveInt = Field(default=200, description="Of the labels, for the band over the whole scan.")
    n_bootstraps: PositiveInt = Field(default=1000, description="Draws of patients, for intervals.")
    n_nodes: PositiveInt = Field(default=4, description="Features of each layer that are followed, at most.")
    n_candidates: PositiveInt = Field(
        default=20, description="Features of each layer, best in the half that chooses, that the other half judges."
    )
    n_shuffles: PositiveInt = Field(default=20, description="Shuffled decoders, for the null of cosines.")
    n_texts: PositiveInt = Field(default=12, description="Documents in which features are ablated.")
    n_controls: PositiveInt = Field(default=20, description="Random features that each ablation is compared with.")
    answer_after: str | None = Field(
        default=None,
        description="The answer stands behind this text; the next tokens of the whole document if unset.",
    )
    seed: int = Field(default=0, ge=0, description="Of everything random.")
