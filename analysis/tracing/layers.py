"""What a trace is given of one layer, and what it says of one."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
from scipy import sparse

from analysis.tracing.intervals import Areas
from analysis.tracing.sparse_auroc import Ranked, ranked


@dataclass(frozen=True)
class Layer:
    """One hook point with its autoencoder, as the units see it."""

    hook_point: str
    layer: int
    """Place in the order of the scan."""
    scores: sparse.csc_array
    """[n_units, n_features], a feature's value in each unit; none below zero."""
    dense: np.ndarray
    """[n_units, d_in], the model's own activations, their mean over the unit's tokens."""
    decoder: np.ndarray
    """[n_features, d_in], `W_dec`."""
    error_mass: dict[str, float]
    """Share of the variance that the autoencoder leaves over, on units with (`positive`) and without the concept."""
    sae_id: str = ""
    sae_hash: str = ""
    defining: frozenset[int] = field(default=frozenset())
    """Features that the concept was defined by: they are no evidence for it."""

    def node_id(self, feature: int) -> str:
        """Name of a feature in a record."""
        return f"{self.hook_point}/{feature}"

    @property
    def n_features(self) -> int:
        return cast("tuple[int, int]", self.scores.shape)[1]

    def rows(self, rows: np.ndarray) -> sparse.csc_array:
        """The scores of some units, the features that define the concept silenced."""
        part = sparse.csc_array(sparse.csr_array(self.scores)[rows])
        if self.defining:
            keep = np.ones(self.n_features)
            keep[list(self.defining)] = 0
            part = sparse.csc_array(part @ sparse.diags_array(keep))
            part.eliminate_zeros()
        return part

    def columns(self, features: list[int]) -> np.ndarray:
        """[n_units, n] scores of some features."""
        return self.scores[:, features].toarray().astype(np.float64)

    @cached_property
    def active(self) -> np.ndarray:
        """Features that fire in some unit."""
        return np.flatnonzero(np.diff(self.scores.indptr))


class Half(NamedTuple):
    """One layer in one half of the patients."""

    scores: sparse.csc_array
    ranks: Ranked


def half_of(layer: Layer, rows: np.ndarray) -> Half:
    """Scores and their ranks in some units."""
    scores = layer.rows(rows)
    return Half(scores, ranked(scores))


class Detector(NamedTuple):
    """One way to tell the concept at a layer, judged on patients it has not seen."""

    kind: str
    areas: Areas
    features: list[int]
    """Of the autoencoder that it uses; none for those on the model's own activations or on words."""
    firing_coverage: float | None
    """Share of the concept's units on which one of them fires."""

    def record(self, band: float) -> dict[str, Any]:
        """As JSON, beside the band."""
        return {
            "kind": self.kind,
            **areas_record(self.areas),
            "features": self.features,
            "firing_coverage": rounded(self.firing_coverage),
            "is_above_null": bool(self.areas.auroc > band),
        }


class Node(NamedTuple):
    """A feature that carries the concept."""

    layer: Layer
    feature: int
    areas: Areas
    firing: dict[str, float]
    """Share of units with (`positive`) and without the concept on which it fires, in the estimating half."""

    @property
    def id(self) -> str:
        return self.layer.node_id(self.feature)


def areas_record(areas: Areas) -> dict[str, Any]:
    """Both areas with their intervals, as JSON."""
    return {
        "auroc": rounded(areas.auroc),
        "auroc_interval": pair(areas.auroc_interval),
        "auprc": rounded(areas.auprc),
        "auprc_interval": pair(areas.auprc_interval),
    }


def rounded(value: float | None) -> float | None:
    """For JSON, which has no nan."""
    return None if value is None or not np.isfinite(value) else round(float(value), 6)


def pair(interval: tuple[float, float] | None) -> list[float | None] | None:
    """An interval for JSON."""
    return None if interval is None else [rounded(end) for end in interval]
