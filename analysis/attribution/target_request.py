"""What is asked for, in plain words. Importing it loads nothing heavy: a server checks requests that others carry out."""

from typing import Literal

from pydantic import Field, PositiveInt

from sae.config import Settings


class TargetRequest(Settings, frozen=True):
    """What is to be explained: exactly one of a token, a continuation, a generated answer, a class or features."""

    target: str | None = Field(default=None, description="The next token, with the space before it.")
    continuation: str | None = Field(default=None, description="A text that could follow, token by token.")
    generate: PositiveInt | None = Field(
        default=None, description="What the model answers by itself, up to so many tokens."
    )
    class_name: str | None = Field(default=None, description="A class of a classifier.")
    features: tuple[str, ...] = Field(
        default=(), description="SAE features HOOK/INDEX of one hook point; several are one concept, their sum."
    )
    position: int | None = Field(
        default=None, ge=0, description="Token at which features are explained; where they are strongest if unset."
    )
    contrast: str | None = Field(default=None, description="What could stand in the target's place.")
    measure: Literal["log_odds", "log_prob", "logit"] = Field(
        default="log_odds", description="Score of a token or class without a contrast."
    )
    total: bool = Field(default=False, description="Explain the sum over an answer's tokens, not each.")
