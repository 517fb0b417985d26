"""What the measures read: units with their concepts, and what the model and one autoencoder do on them.

Values are means over a unit's tokens. A mean is linear: what features write into the stream, a · W_dec, can be subtracted from
a mean of activations as from a single token's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from analysis.feature_quality.config import QualityConfig
from analysis.tracing.intervals import drawn_patients
from analysis.units import Unit, enough, named
from sae.errors import UserError


@dataclass(frozen=True)
class Material:
    """One autoencoder on the units of a corpus."""

    units: Sequence[Unit]
    features: sparse.csr_array
    """[n_units, d_sae] mean activation over the unit's tokens."""
    dense: np.ndarray
    """[n_units, d_in] the model's own activations, their mean."""
    decoder: np.ndarray
    """[d_sae, d_in]."""
    offset: np.ndarray
    """[d_in] `b_dec`: what a reconstruction is where no feature fires."""

    @cached_property
    def label(self) -> np.ndarray:
        """[n_units] concept, or nothing."""
        return np.asarray([unit.label for unit in self.units])

    @cached_property
    def patient(self) -> np.ndarray:
        """[n_units] number of the bundle of documents."""
        return np.asarray([unit.bundle for unit in self.units])

    @cached_property
    def is_estimate(self) -> np.ndarray:
        """[n_units] bool: the half of the patients that estimates; the other one chooses and fits."""
        return np.asarray([unit.is_estimate for unit in self.units])

    def concepts(self, cfg: QualityConfig) -> list[str]:
        """Those with mentions enough in both halves.

        Raises:
            UserError: There are fewer than two.
        """
        names = named(self.units)
        found = [name for name in names if enough(self.label == name, self.is_estimate, cfg.min_mentions)]
        if len(found) < 2:
            raise UserError(
                f"{len(found)} of {len(names)} annotated concepts have {cfg.min_mentions} mentions in each half of the held-out "
                "patients, expected two at least. Hold out more documents (corpus.held_out), or lower min_mentions."
            )
        return found

    def is_positive(self, names: Sequence[str]) -> np.ndarray:
        """[n_concepts, n_units] bool."""
        return np.asarray([self.label == name for name in names])


@dataclass(frozen=True)
class Patients:
    """Draws of the estimating half's patients, on which all measures' intervals rest."""

    counts: np.ndarray
    """[1 + n_draws, n_patients]; the first row is the patients as they are."""
    place: np.ndarray
    """[n_units] which patient a unit is of."""

    def sums(self, values: np.ndarray) -> np.ndarray:
        """[1 + n_draws, n] sums over units of values [n_units, n]."""
        return self.counts @ (self.of_patient @ np.asarray(values, np.float32))

    @cached_property
    def of_patient(self) -> sparse.csr_array:
        """[n_patients, n_units], 1 where a unit is of a patient."""
        n = len(self.place)
        pairs = (self.place, np.arange(n))
        return sparse.csr_array((np.ones(n, np.float32), pairs), shape=(self.counts.shape[1], n))


def patients_of(material: Material, cfg: QualityConfig) -> Patients:
    """Draws of the patients that estimate."""
    drawn = drawn_patients(material.patient[material.is_estimate], cfg.n_bootstraps, cfg.seed)
    return Patients(np.concatenate([np.ones((1, drawn.counts.shape[1])), drawn.counts]), drawn.place)


def figure(draws: np.ndarray) -> dict[str, float | None]:
    """A value and its 95 % interval.

    Args:
        draws: [1 + n_draws], the value first; nan where a draw says nothing.
    """
    finite = draws[1:][np.isfinite(draws[1:])]
    low, high = np.quantile(finite, [0.025, 0.975]) if len(finite) else (np.nan, np.nan)
    ends = {"value": draws[0], "low": low, "high": high}
    return {name: round(float(end), 6) if np.isfinite(end) else None for name, end in ends.items()}


def mean_figure(draws: np.ndarray) -> dict[str, float | None]:
    """The mean over concepts of [n_concepts, 1 + n_draws], a concept left out of draws that say nothing of it."""
    there = np.isfinite(draws)
    with np.errstate(invalid="ignore"):
        return figure(np.where(there, draws, 0).sum(axis=0) / there.sum(axis=0))
