"""How steering is measured."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from sae.config import Settings


class SteerConfig(Settings, frozen=True):
    """Sizes and limits of `clinlens steer`."""

    n_controls: NonNegativeInt = Field(default=20, description="Sets of matched random features to compare with.")
    n_tokens: NonNegativeInt = Field(default=16, description="Most tokens to generate for each case; 0 for none.")
    temperature: NonNegativeFloat = Field(default=0.0, description="Of the generated tokens; 0 takes the likeliest.")
    held_out_tokens: PositiveInt = Field(default=8192, description="Held-out tokens for perplexity, at most.")
    feature_rows: PositiveInt = Field(
        default=20_000, description="Held-out rows on which features are counted, at most."
    )
    n_unrelated: PositiveInt = Field(
        default=32, description="Unrelated prompts, at most; beginnings of held-out documents where no file names any."
    )
    destroys_at: PositiveFloat = Field(
        default=1.5,
        description="Perplexity of held-out text, against the clean model's, from which a strength counts as destroying text.",
    )
    seed: NonNegativeInt = Field(default=0, description="Of controls, resamples and draws.")
