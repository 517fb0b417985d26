"""Feature absorption: does a concept's own feature stay silent where another one, more special, takes over its direction?

A feature for "diabetes" that fires at every mention but "diabetic foot" misleads whoever reads it. For each mention that
a probe on the model's activations reads rightly, with p the probe's direction of length 1:

    projection  P = (x − b_dec) · p                    of the model's activations
    main        M = Σ a_i d_i · p                      over the concept's parts (see `splitting`)
    absorbed    A = Σ a_i d_i · p                      over at most 3 other features with cos(d_i, p) ≥ 0.1 that add the most

The mention's *absorption fraction* is 0 where M ≥ P or A < 0.4 · P, 1 where M ≤ 0, else with A' = min(A, P − M): A' / (A' + M).
It is *fully absorbed* where no part fires, and a single other feature makes up 0.4 · P with a cosine of at least 0.025.

Source: Chanin et al. 2024, arXiv:2409.14507 (full absorption); SAEBench, Karvonen et al. 2025, arXiv:2503.09532 (the fraction and
all thresholds).

Differs from SAEBench: concepts are annotated spans; probe and parts come from one half of the patients and the figures from the
other, with an interval over patients; b_dec is taken off the projection, for features need not make up for it; decoder rows count
with their length.
"""

from typing import Any, NamedTuple

import numpy as np

from analysis.feature_quality.config import QualityConfig
from analysis.feature_quality.material import Material, Patients, figure, mean_figure
from analysis.feature_quality.probes import Probe
from analysis.feature_quality.splitting import Parts

FULL_COSINE = 0.025
TINY = 1e-8


class Absorbed(NamedTuple):
    """One concept's mentions."""

    fraction: np.ndarray
    """[n] absorption fraction."""
    is_full: np.ndarray
    """[n] bool."""
    absorber: np.ndarray
    """[n] the feature outside the parts that adds the most, −1 where none adds anything."""


def absorbed(
    features: np.ndarray,
    x: np.ndarray,
    decoder: np.ndarray,
    direction: np.ndarray,
    parts: np.ndarray,
    cfg: QualityConfig,
) -> Absorbed:
    """What becomes of each mention.

    Args:
        features: [n, d_sae].
        x: [n, d_in], b_dec taken off.
        decoder: [d_sae, d_in].
        direction: [d_in] of the probe.
        parts: The concept's features.
        cfg: Thresholds.
    """
    p = direction / max(float(np.linalg.norm(direction)), TINY)
    written = decoder @ p
    cosine = written / np.maximum(np.linalg.norm(decoder, axis=1), TINY)
    projection, adds = x @ p, features * written
    main = adds[:, parts].sum(axis=1)
    others = adds.copy()
    others[:, parts] = 0
    aligned = np.where(cosine >= cfg.absorber_cosine, np.maximum(others, 0), 0)
    taken = np.sort(aligned, axis=1)[:, -cfg.most_absorbers :].sum(axis=1)
    top = others.argmax(axis=1)
    most = others[np.arange(len(x)), top]
    silent = (np.abs(features[:, parts]) < TINY).all(axis=1)
    is_full = silent & (projection > 0) & (cosine[top] >= FULL_COSINE) & (most >= cfg.absorber_share * projection)
    return Absorbed(fractions(projection, main, taken, cfg), is_full, np.where(most > 0, top, -1))


def fractions(projection: np.ndarray, main: np.ndarray, taken: np.ndarray, cfg: QualityConfig) -> np.ndarray:
    """[n] absorption fractions from the three projections."""
    is_absorbed = (projection > 0) & (main < projection) & (taken >= cfg.absorber_share * projection)
    rest = np.minimum(taken, projection - main)
    shared = rest / np.where(is_absorbed & (main > 0), rest + main, 1)
    return np.where(is_absorbed, np.where(main > 0, shared, 1.0), 0.0)


def absorption(
    material: Material,
    names: list[str],
    probes: list[Probe],
    parts: list[Parts],
    patients: Patients,
    cfg: QualityConfig,
) -> dict[str, Any]:
    """Absorption of each concept, and its mean, on the half of the patients that estimates."""
    estimate = np.flatnonzero(material.is_estimate)
    found: dict[str, Any] = {}
    draws = []
    for name, probe, some in zip(names, probes, parts, strict=True):
        right = (material.label[estimate] == name) & (probe.logits(material.dense[estimate]) > 0)
        rows = estimate[right]
        x = material.dense[rows] - material.offset
        one = absorbed(material.features[rows].toarray(), x, material.decoder, probe.direction, some.features, cfg)
        values = np.zeros((len(estimate), 3))
        values[right] = np.stack([one.fraction, one.is_full, np.ones(len(rows))], axis=1)
        sums = patients.sums(values)
        with np.errstate(invalid="ignore", divide="ignore"):
            draws.append(np.stack([sums[:, 0] / sums[:, 2], sums[:, 1] / sums[:, 2]]))
        found[name] = {
            "fraction": figure(draws[-1][0]),
            "full": figure(draws[-1][1]),
            "n_mentions": len(rows),
            "absorbers": commonest(one),
        }
    both = np.asarray(draws)
    return {"fraction": mean_figure(both[:, 0]), "full": mean_figure(both[:, 1]), "concepts": found}


def commonest(one: Absorbed) -> list[dict[str, int]]:
    """The three features that most often add the most to absorbed mentions."""
    features, counts = np.unique(one.absorber[(one.fraction > 0) & (one.absorber >= 0)], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    return [{"feature": int(features[i]), "n_mentions": int(counts[i])} for i in order]
