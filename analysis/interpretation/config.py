"""Settings of automated interpretation."""

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from sae.config import Settings


class InterpretConfig(Settings, frozen=True):
    """How features are explained and explanations scored."""

    n_features: PositiveInt = Field(
        default=20, description="Features drawn at random of each SAE, where none is named."
    )
    n_shown: PositiveInt = Field(default=8, description="Contexts that the explanation is made from, at most.")
    n_each: PositiveInt = Field(
        default=8,
        description="Contexts of each kind in a scoring task, at most: firing and silent, rightly and wrongly marked.",
    )
    n_windows: PositiveInt = Field(
        default=256, description="Windows drawn from held-out documents, from which silent contexts are taken."
    )
    n_asked: PositiveInt = Field(
        default=2, description="Times that a question is asked before its answer counts as malformed."
    )
    most_tokens: PositiveInt = Field(default=400, description="Tokens of an answer, at most.")
    timeout_s: PositiveFloat = Field(default=120.0, description="Seconds to wait for an answer.")
    seed: NonNegativeInt = Field(default=0, description="Of everything random.")
