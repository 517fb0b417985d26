"""What is done to a feature: from its activation a to another one, a′.

- *amplify* by a factor s: a′ = s · a. 1 changes nothing, and where the feature is silent nothing ever changes.
- *suppress* by a share s: a′ = (1 − s) · a. 0 changes nothing, 1 takes the feature away.
- *clamp* to a multiple s of its largest activation on held-out text: a′ = s · a_max, at every token, also where it is silent.

Source of the clamp and its unit: Templeton et al. 2024, "Scaling Monosemanticity" (Transformer Circuits Thread), section
"Influence on behavior"; they go to −5 and +10 times the maximum, where text begins to break.
"""

from typing import Literal, assert_never

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from sae.config import Settings

Mode = Literal["amplify", "suppress", "clamp"]
DOSES: dict[Mode, tuple[float, ...]] = {
    "amplify": (1.0, 2.0, 4.0, 8.0), "suppress": (0.0, 0.5, 1.0), "clamp": (0.5, 1.0, 2.0, 4.0),
}  # fmt: skip
"""Strengths tried where none is given."""


class Change(Settings, frozen=True):
    """One feature and what is done to it."""

    hook_point: str = Field(description="Where its SAE reads, in TransformerLens' spelling.")
    feature: int = Field(ge=0, description="Its number in the SAE.")
    mode: Mode = Field(description="What is done: amplify, suppress or clamp.")
    strength: float = Field(
        ge=0, allow_inf_nan=False,
        description="A factor of the activation (amplify), a share taken away (suppress), or a multiple of `scale` (clamp).",
    )  # fmt: skip
    scale: PositiveFloat = Field(
        default=1.0, allow_inf_nan=False, description="Largest activation on held-out text: the unit of a clamp."
    )

    @model_validator(mode="after")
    def takes_away_no_more_than_there_is(self) -> "Change":
        """More than all of a feature cannot be suppressed."""
        if self.mode == "suppress" and self.strength > 1:
            raise ValueError(
                f"strength is {self.strength:g}, expected a share from 0 to 1 for mode suppress: 1 takes the feature away"
            )
        return self

    def __call__(self, acts: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """a′ for every a."""
        match self.mode:
            case "amplify":
                return self.strength * acts
            case "suppress":
                return (1 - self.strength) * acts
            case "clamp":
                return torch.full_like(acts, self.strength * self.scale)
            case _:
                assert_never(self.mode)
