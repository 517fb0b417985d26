"""Settings of the audits."""

from typing import Literal

from pydantic import Field, PositiveInt

from sae.config import Settings

CAVEAT = (
    "An audit, not a clinical validation: it finds what a model does on these texts and says nothing of patients who are not "
    "in them. A gap may have causes that no test here tells apart."
)
"""Stands on every output."""


class LevelConfig(Settings, frozen=True):
    """What all audits' tests share."""

    alpha: float = Field(default=0.01, gt=0, lt=1, description="Chance of any false claim in one audit, at most.")
    n_permutations: PositiveInt = Field(
        default=999, description="Permutations of a null distribution; p is no smaller than 1 / (1 + this)."
    )
    n_bootstraps: PositiveInt = Field(default=1000, description="Resamples of patients of an interval.")
    seed: int = Field(default=0, ge=0, description="Of everything random.")


class ProtectedConfig(LevelConfig, frozen=True):
    """The audit of protected attributes."""

    least_effect: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Change of the right answer's probability below which an effect is shown, but not claimed.",
    )
    min_patients: PositiveInt = Field(
        default=10, description="Patients that a group must have. Source: ten positives in the held-out part."
    )
    pooling: Literal["max", "last"] = Field(
        default="max", description="A text's value of a feature: its largest, or the one where the answer is read off."
    )
    n_carriers: PositiveInt = Field(default=5, description="Features of one attribute that are ablated together.")
    n_controls: PositiveInt = Field(default=20, description="Sets of random features, matched in density and strength.")
    ablation_texts: PositiveInt = Field(default=150, description="Texts on which features are ablated.")


class DriftConfig(LevelConfig, frozen=True):
    """The audit of new data."""

    alpha: float = Field(default=0.05, gt=0, lt=1, description="False-alarm rate on data that have not changed.")
    n_permutations: PositiveInt = Field(default=399, description="Ways to divide all documents anew.")
    n_pairs: PositiveInt = Field(default=400, description="Pairs of features whose firing together is watched.")
    min_patients: PositiveInt = Field(default=20, description="Patients that each side must have.")
    min_share: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Share of documents in which a feature is expected, before it counts as dead.",
    )


class FailureConfig(LevelConfig, frozen=True):
    """Failure triage."""

    n_matches: PositiveInt = Field(default=3, description="Right answers that each wrong one is compared with.")
    min_wrong: PositiveInt = Field(default=5, description="Wrong answers that a test of features needs.")
    n_tokens: PositiveInt = Field(default=6, description="Tokens shown of each wrong answer.")
    n_features: PositiveInt = Field(default=6, description="Features shown of each wrong answer, and in all.")


class ProcessConfig(LevelConfig, frozen=True):
    """The process benchmark."""

    n_features: PositiveInt = Field(
        default=3, description="Features that stand for a finding at a layer, where it is given by spans or words."
    )
    auroc: float = Field(
        default=0.8, ge=0.5, le=1, description="Held-out AUROC below which a feature stands for no finding."
    )
    min_mentions: PositiveInt = Field(default=10, description="Mentions of a finding in each half of the patients.")
    false_alarm: float = Field(
        default=0.05, gt=0, lt=1, description="Share of texts without the finding in which its features may fire."
    )
