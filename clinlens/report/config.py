"""Settings of the report."""

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class ReportConfig(BaseModel):
    """What the report shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features_per_sae: PositiveInt = Field(120, description="Features listed for each SAE.")
    contexts_per_feature: PositiveInt = Field(
        22, description="Contexts shown for each feature, at most; every kind gets its share."
    )
    tokens_per_context: PositiveInt = Field(
        32, description="Tokens of a context that are shown, around the strongest one."
    )
