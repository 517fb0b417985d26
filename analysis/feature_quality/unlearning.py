"""Unlearning: with a concept's features taken out, can a probe that is fitted anew still find it?

A probe that goes blind (`targeted`) may only look in the wrong place. Here the features that serve a concept are taken out of all
units, in delta mode, and a new probe is fitted: what it still reads was never in these features. Beside it stands what
the same does to another concept, drawn at random for each, and what random features do.

Source: the question of SAEBench's unlearning, arXiv:2503.09532, after Farrell et al. 2024, arXiv:2410.19278: forget one thing, keep
the rest; refitting as in Elazar et al. 2021, arXiv:2006.00995 (amnesic probing), where a probe is fitted anew after removal.

Differs from SAEBench: there features are clamped in a model that answers questions on bioweapons, and its answers are
counted; here they are taken out of activations, and what is counted is what can still be read from those.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.auroc import auroc
from analysis.feature_quality.config import QualityConfig
from analysis.feature_quality.material import Material
from analysis.feature_quality.probes import Probe, fitted
from analysis.feature_quality.targeted import serving


def unlearning(material: Material, names: Sequence[str], probes: Sequence[Probe], cfg: QualityConfig) -> dict[str, Any]:
    """AUROC of old and of refitted probes on the estimating half; the mean over concepts with an interval over them."""
    positive, n = material.is_positive(names), max(cfg.ablated_features)
    rng = np.random.default_rng((cfg.seed, 12))
    firing = np.flatnonzero(np.asarray(material.features.sum(axis=0)).ravel() > 0)
    found: dict[str, dict[str, float]] = {}
    for i, name in enumerate(names):
        without = taken_out(material, serving(material, positive[i], probes[i])[:n])
        other = int(rng.choice(np.delete(np.arange(len(names)), i)))
        random = taken_out(material, rng.choice(firing, min(n, len(firing)), replace=False))
        values = {
            "before": read(material, material.dense, positive[i], probes[i]),
            "refitted": refitted(material, without, positive[i], cfg),
            "other_before": read(material, material.dense, positive[other], probes[other]),
            "other_refitted": refitted(material, without, positive[other], cfg),
            "control_refitted": refitted(material, random, positive[i], cfg),
        }
        found[name] = {key: round(value, 6) for key, value in values.items()}
    keys = next(iter(found.values()))
    means = {key: over_concepts(np.asarray([one[key] for one in found.values()]), cfg) for key in keys}
    return {"n_features": n, "auroc": means, "concepts": found}


def taken_out(material: Material, features: np.ndarray) -> np.ndarray:
    """[n_units, d_in] activations without what some features write."""
    return material.dense - material.features[:, features] @ material.decoder[features]


def read(material: Material, x: np.ndarray, is_positive: np.ndarray, probe: Probe) -> float:
    """AUROC of a probe on the half that estimates."""
    rows = material.is_estimate
    return float(auroc(probe.logits(x[rows])[:, None], is_positive[None, rows])[0, 0])


def refitted(material: Material, x: np.ndarray, is_positive: np.ndarray, cfg: QualityConfig) -> float:
    """AUROC of a new probe on changed activations."""
    return read(material, x, is_positive, fitted(x, is_positive, ~material.is_estimate, cfg.seed))


def over_concepts(values: np.ndarray, cfg: QualityConfig) -> dict[str, float]:
    """The mean and its 95 % interval, by resampling concepts."""
    drawn = np.random.default_rng((cfg.seed, 13)).choice(values, (cfg.n_bootstraps, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": round(float(values.mean()), 6), "low": round(float(low), 6), "high": round(float(high), 6)}
