"""How a round is run."""

from pydantic import Field, model_validator

from labeling.queue_policy import QueuePolicy
from sae.config import Settings

LEAST_WASHOUT_DAYS = 14
"""A rater who still remembers an answer is not tested."""


class RoundSettings(Settings, frozen=True):
    """What a lead decides when a round is opened; it does not change afterwards."""

    queue: QueuePolicy = Field(default=QueuePolicy(), description="Which item comes next, and when it has enough.")
    lease_min: float = Field(default=30, gt=0, description="Minutes after which an open item is given to others.")
    retest_share: float = Field(default=0.1, ge=0, le=1, description="Share of a rater's items that come once more.")

    @model_validator(mode="after")
    def waits_long_enough(self) -> "RoundSettings":
        """A retest comes after two weeks at the earliest."""
        if self.queue.retest_after_days < LEAST_WASHOUT_DAYS:
            raise ValueError(
                f"queue.retest_after_days is {self.queue.retest_after_days}, expected at least {LEAST_WASHOUT_DAYS}"
            )
        return self
