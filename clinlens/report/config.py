"""Settings of the report."""

from pydantic import Field, PositiveInt

from sae.config import Settings


class ReportConfig(Settings, frozen=True):
    """What the report shows."""

    features_per_sae: PositiveInt = Field(default=120, description="Features listed for each SAE.")
    contexts_per_feature: PositiveInt = Field(
        default=22, description="Contexts shown for each feature, at most; every kind gets its share."
    )
    tokens_per_context: PositiveInt = Field(
        default=32, description="Tokens of a context that are shown, around the strongest one."
    )
