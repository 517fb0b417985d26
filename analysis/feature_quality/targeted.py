"""Targeted probe perturbation (TPP): does taking out a concept's features blind its own probe, and no other?

1. A probe is fitted to the model's activations for each concept.
2. Features are ranked for concept i by (mean activation at it − mean elsewhere) · (d · w_i): what they do for its probe.
3. The first n are taken out in delta mode, x − Σ a d, so that the autoencoder's error stays. With A_j the balanced accuracy of
   probe j, and A_ij the same after the features of i are taken out:

       TPP_i = (A_i − A_ii) − mean over j ≠ i of (A_j − A_ij)

4. Beside it stands the same with as many features drawn at random from those that fire.

Source: Karvonen et al. 2024, arXiv:2411.18895, after SHIFT of Marks et al. 2024, arXiv:2403.19647; SAEBench, arXiv:2503.09532.

Differs from SAEBench: concepts of the corpus, each against all else, and not classes in pairs; balanced accuracy; features chosen
and probes fitted on one half of the patients, effects on the other, with an interval over patients. SCR is left out:
it needs a data set with two labels that are made to go together. "Are SAE Benchmarks Reliable?", arXiv:2605.18229, finds
both unreliable at their usual settings: read TPP beside its control, and not alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from analysis.feature_quality.config import QualityConfig
from analysis.feature_quality.material import Material, Patients, figure, mean_figure
from analysis.feature_quality.probes import Probe

CAVEAT = "Targeted effects were found unreliable as a benchmark (arXiv:2605.18229): read them beside their control."


@dataclass(frozen=True)
class Bench:
    """What effects are measured on: the estimating half."""

    logits: np.ndarray
    """[n_units, n_concepts] of all probes, nothing taken out."""
    is_positive: np.ndarray
    """[n_units, n_concepts] bool."""
    features: sparse.csc_array
    """[n_units, d_sae]."""
    patients: Patients

    @cached_property
    def totals(self) -> list[np.ndarray]:
        """[1 + n_draws, n_concepts] mentions, and other units."""
        return [self.patients.sums(self.is_positive), self.patients.sums(~self.is_positive)]

    def accuracies(self, logits: np.ndarray) -> np.ndarray:
        """[n_concepts, 1 + n_draws] balanced accuracy."""
        says = logits > 0
        right = [self.is_positive & says, ~(self.is_positive | says)]
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = [self.patients.sums(one) / total for one, total in zip(right, self.totals, strict=True)]
        return ((shares[0] + shares[1]) / 2).T


def serving(material: Material, is_positive: np.ndarray, probe: Probe) -> np.ndarray:
    """Features that serve a concept's probe, the most useful first; from the half that chooses."""
    rows = ~material.is_estimate
    inside = np.asarray(material.features[np.flatnonzero(rows & is_positive)].mean(axis=0)).ravel()
    outside = np.asarray(material.features[np.flatnonzero(rows & ~is_positive)].mean(axis=0)).ravel()
    effect = (inside - outside) * (material.decoder @ probe.direction)
    order = np.argsort(-effect, kind="stable")
    return order[effect[order] > 0]


def targeted(
    material: Material, names: Sequence[str], probes: Sequence[Probe], patients: Patients, cfg: QualityConfig
) -> dict[str, Any]:
    """TPP of each concept and number of features, and its mean over concepts beside random features'."""
    rows, positive = np.flatnonzero(material.is_estimate), material.is_positive(names)
    weights = np.stack([probe.direction for probe in probes], axis=1)
    logits = np.stack([probe.logits(material.dense[rows]) for probe in probes], axis=1)
    bench = Bench(logits, positive[:, rows].T, sparse.csc_array(material.features[rows]), patients)
    before, read = bench.accuracies(logits), material.decoder @ weights
    firing = np.flatnonzero(
        np.asarray(material.features[np.flatnonzero(~material.is_estimate)].sum(axis=0)).ravel() > 0
    )
    rng = np.random.default_rng((cfg.seed, 11))
    own: dict[int, list[np.ndarray]] = {n: [] for n in cfg.ablated_features}
    control: dict[int, list[np.ndarray]] = {n: [] for n in cfg.ablated_features}
    concepts: dict[str, Any] = {}
    for i, name in enumerate(names):
        order, drawn = serving(material, positive[i], probes[i]), rng.permutation(firing)
        for n in cfg.ablated_features:
            own[n].append(effect_of(i, order[:n], read, bench, before))
            control[n].append(effect_of(i, drawn[:n], read, bench, before))
        concepts[name] = {
            "features": order[: max(cfg.ablated_features)].tolist(),
            "accuracy": figure(before[i]),
            "tpp": {str(n): figure(own[n][-1][0] - own[n][-1][1]) for n in cfg.ablated_features},
        }
    return {"caveat": CAVEAT, "features": {str(n): summary(own[n], control[n]) for n in own}, "concepts": concepts}


def effect_of(i: int, features: np.ndarray, read: np.ndarray, bench: Bench, before: np.ndarray) -> np.ndarray:
    """[2, 1 + n_draws], what the concept's own probe loses without some features, and what the others lose, their mean."""
    taken = bench.features[:, features] @ read[features]
    lost = before - bench.accuracies(bench.logits - taken)
    others = np.delete(lost, i, axis=0)
    there = np.isfinite(others)
    with np.errstate(invalid="ignore"):
        return np.stack([lost[i], np.where(there, others, 0).sum(axis=0) / there.sum(axis=0)])


def summary(own: list[np.ndarray], control: list[np.ndarray]) -> dict[str, Any]:
    """Means over concepts, at one number of features."""
    effects, random = np.asarray(own), np.asarray(control)
    return {
        "tpp": mean_figure(effects[:, 0] - effects[:, 1]),
        "intended": mean_figure(effects[:, 0]),
        "unintended": mean_figure(effects[:, 1]),
        "control": mean_figure(random[:, 0] - random[:, 1]),
    }
