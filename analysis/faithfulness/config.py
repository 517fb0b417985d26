"""Settings of a faithfulness comparison."""

from pydantic import Field, NonNegativeFloat, PositiveInt

from sae.config import Settings


class FaithfulnessConfig(Settings, frozen=True):
    """How much is measured, and from where on a method is flagged."""

    n_cases: PositiveInt = Field(default=40, description="Cases of each suite that the model answers rightly, at most.")
    n_draws: PositiveInt = Field(default=4, description="Replacements drawn for every token that goes.")
    n_subsets: PositiveInt = Field(
        default=32, description="Random sets of tokens that sums of scores are held against."
    )
    n_checked: PositiveInt = Field(
        default=8, description="Cases on which stability and randomised models are looked at, which cost whole runs."
    )
    neutral_share: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the tokens without evidence that a neutral edit replaces."
    )
    top_k: PositiveInt = Field(default=3, description="Strongest tokens that methods are compared by.")
    is_contrast: bool = Field(
        default=False,
        description="Explain the answer against its contrast, where a case has one, and not its log-odds.",
    )
    least_share: NonNegativeFloat = Field(
        default=0.8,
        description="Share of the causal reference's ABPC below which a method is flagged: it orders tokens worse than just "
        "replacing each. On the clinic's notes gated_lrp, AttnLRP, GIM and occlusion reach .95 to 1.03, methods known to fail at "
        "most .70.",
    )
    most_similarity: float = Field(
        default=0.9, gt=0, le=1, description="Similarity of the scores of a model with a shuffled head above which a method is "
        "flagged: what it shows is not the answer."
    )  # fmt: skip
    seed: int = Field(default=0, ge=0, description="Of draws, orders, shuffles and methods.")
