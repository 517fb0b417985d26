"""How a round is run."""

from pydantic import Field

from labeling.policy import QueuePolicy
from sae.config import Settings


class RoundSettings(Settings, frozen=True):
    """What a lead decides when a round is opened; it does not change afterwards."""

    queue: QueuePolicy = Field(default=QueuePolicy(), description="Which item comes next, and when it has enough.")
    lease_min: float = Field(default=30, gt=0, description="Minutes after which an open item is given to others.")
    n_extra_blind: int = Field(default=1, ge=0, le=5, description="Blind judgements added where raters disagree.")
    retest_share: float = Field(default=0.1, ge=0, le=1, description="Share of a rater's items that come once more.")
    washout_days: float = Field(default=14, ge=14, description="Days before an item comes once more.")
    gate_target: float = Field(
        default=0.6,
        ge=0,
        le=1,
        description="Calibration: least lower bound (Wilson, 95 %) of a rater's accuracy on gold.",
    )
