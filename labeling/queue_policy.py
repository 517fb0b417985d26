"""Settings of the review queue."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from sae.config import Settings


class QueuePolicy(Settings, frozen=True):
    """Who gets what next, and when an item is done."""

    stop_posterior: float = Field(
        default=0.9, gt=0, le=1, description="An item is settled once its best answer is as probable as this."
    )
    min_judgements: PositiveInt = Field(default=2, description="No item is settled by fewer judgements.")
    max_judgements: PositiveInt = Field(default=6, description="Judgements after which an item in doubt is escalated.")
    extra_judgements: PositiveInt = Field(default=2, description="Judgements of an extra blind round.")
    max_extra_rounds: NonNegativeInt = Field(default=1, description="Extra blind rounds before adjudication.")
    gold_hazard: float = Field(
        default=1 / 15, ge=0, le=1, description="Chance that the next item is a gold item; never two in a row."
    )
    retest_after_days: PositiveInt = Field(default=14, description="Days before a rater is shown the same item again.")
    family_gap: NonNegativeInt = Field(
        default=5, description="Items between two features of one family, where there is enough else to serve."
    )
    specialty_factor: float = Field(
        default=1.1, ge=1, description="By how much an item of the rater's own specialty counts as more informative."
    )
    least_information: NonNegativeFloat = Field(
        default=0.01, description="Bits below which a judgement of an item is not worth a rater's time."
    )
    gold_target: float = Field(
        default=0.7, gt=0, lt=1, description="What the lower bound of a rater's accuracy on gold items has to reach."
    )
    alpha_target: float = Field(
        default=0.667, gt=0, lt=1, description="What the lower bound of alpha has to reach for a codebook to be used."
    )
    seed: NonNegativeInt = Field(default=0, description="Of the order of items and of the draw of gold items.")
    block_minutes: PositiveFloat = Field(default=25.0, description="Minutes of rating after which a break is offered.")
