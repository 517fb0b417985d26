"""Settings of the agreement report."""

from pydantic import Field, PositiveInt

from sae.config import Settings


class ReportConfig(Settings, frozen=True):
    """How the report is made."""

    n_bootstraps: PositiveInt = Field(default=2000, description="Resamples of the items behind every interval.")
    seed: int = Field(default=0, ge=0, description="Of the resamples.")
    codebook: PositiveInt | None = Field(
        default=None, description="Number of the codebook version to report on; the one with most judgements if unset."
    )
    max_listed: PositiveInt = Field(
        default=200, description="Rows of long lists on the page; the JSON has all of them."
    )
