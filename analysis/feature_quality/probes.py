"""Linear probes for concepts: fitted on one half of the patients, as if concept and all else were equally common."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.feature_quality.config import QualityConfig
from analysis.feature_quality.material import Material
from analysis.probing import drawn, logistic, standardised


class Probe(NamedTuple):
    """A direction in which a concept can be read, and where it begins."""

    direction: np.ndarray
    """[d] of the values as they are."""
    bias: float

    def logits(self, x: np.ndarray) -> np.ndarray:
        """[n] of values [n, d]; positive where the concept is read."""
        return x @ self.direction + self.bias


def fitted(x: np.ndarray, is_positive: np.ndarray, rows: np.ndarray, seed: int) -> Probe:
    """Logistic regression.

    The intercept is moved by the logarithm of the odds among the rows fitted, so that 0 parts concept and rest as if both were
    equally common. Source: prior correction, King and Zeng 2001, doi:10.1093/oxfordjournals.pan.a004868, equation 7.

    Args:
        x: [n, d].
        is_positive: [n] bool.
        rows: [n] bool, those to fit on.
        seed: Of the rows drawn where there are many.
    """
    some = drawn(rows, is_positive, seed)
    values = x[some].astype(np.float64)
    weights = logistic(standardised(values, np.ones(len(some), bool)), is_positive[None, some])[0]
    mean, spread = values.mean(axis=0), values.std(axis=0)
    direction = np.where(spread > 0, weights[1:] / np.where(spread > 0, spread, 1), 0)
    n_positive = is_positive[some].sum()
    odds = np.log(n_positive / (len(some) - n_positive))
    return Probe(direction, float(weights[0] - mean @ direction - odds))


def dense_probes(material: Material, names: Sequence[str], cfg: QualityConfig) -> list[Probe]:
    """A probe on the model's activations for each concept, fitted on the half that chooses."""
    return [
        fitted(material.dense, is_positive, ~material.is_estimate, cfg.seed)
        for is_positive in material.is_positive(names)
    ]
