"""Feature splitting: over how many features does an autoencoder spread one concept?

1. Features are ranked by how much more they fire at a concept's mentions than elsewhere.
2. On the first k of them a probe is fitted, k = 1, 2, …; F1 tells how good it is. While one more feature adds more than τ = 0.03,
   the concept counts as split once more. These features are its *parts*, to the measure of absorption its main features.
3. That is decided in the half of the patients that chooses, each quarter judged by a probe fitted on the other. How well
   the parts do together is then estimated on the other half.

Source: Chanin et al. 2024, "A is for Absorption", arXiv:2409.14507, section 4.1; τ as in SAEBench (Karvonen et al. 2025,
arXiv:2503.09532, appendix on absorption).

Differs from both: concepts are annotated spans of the corpus and not first letters; features are ranked by the difference in means
(Gurnee et al. 2023) and not by an L1 probe; F1 is that of a concept as common as all else, since mentions are one in dozens and
F1 would else measure how rare a concept is.
"""

from typing import Any, NamedTuple

import numpy as np

from analysis.feature_quality.config import QualityConfig
from analysis.feature_quality.material import Material, Patients, figure, mean_figure
from analysis.feature_quality.probes import fitted


class Parts(NamedTuple):
    """The features over which a concept is spread."""

    features: np.ndarray
    """[n_parts], the strongest first."""
    f1: list[float]
    """In the half that chooses, of the first 1, 2, … features, until one adds too little."""


def parts_of(material: Material, is_positive: np.ndarray, cfg: QualityConfig) -> Parts:
    """The parts of one concept, from the half that chooses alone.

    Args:
        material: Units and features.
        is_positive: [n_units] bool.
        cfg: The gain that counts, and the largest number of parts.
    """
    chooses = ~material.is_estimate
    order = stronger(material, is_positive, chooses)[: cfg.most_parts]
    columns = material.features[:, order].toarray()
    f1: list[float] = []
    for k in range(1, len(order) + 1):
        f1.append(crossed_f1(columns[:, :k], is_positive, material.patient // 2 % 2 == 0, chooses, cfg))
        if k > 1 and f1[-1] - f1[-2] <= cfg.split_gain:
            return Parts(order[: k - 1], f1)
    return Parts(order, f1)


def stronger(material: Material, is_positive: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Features whose mean is larger at a concept than elsewhere, by how much."""
    inside = np.asarray(material.features[np.flatnonzero(rows & is_positive)].mean(axis=0)).ravel()
    outside = np.asarray(material.features[np.flatnonzero(rows & ~is_positive)].mean(axis=0)).ravel()
    order = np.argsort(outside - inside, kind="stable")
    return order[(inside - outside)[order] > 0]


def crossed_f1(
    x: np.ndarray, is_positive: np.ndarray, is_first: np.ndarray, rows: np.ndarray, cfg: QualityConfig
) -> float:
    """F1 on some rows, each part of the patients judged by a probe fitted on the other; 0 where one lacks either kind."""
    says = np.zeros(len(x), bool)
    for judged in (is_first, ~is_first):
        fit = rows & ~judged
        if not (fit & is_positive).any() or not (fit & ~is_positive).any():
            return 0.0
        says[judged] = fitted(x, is_positive, fit, cfg.seed).logits(x[judged]) > 0
    return float(balanced_f1(says[rows & is_positive].mean(), says[rows & ~is_positive].mean()))


def balanced_f1(found: Any, false: Any) -> Any:
    """F1 of a concept as common as all else: 2·TPR / (1 + TPR + FPR).

    Args:
        found: Share of mentions that are found.
        false: Share of other units that are called mentions.
    """
    return 2 * found / (1 + found + false)


def splitting(
    material: Material, names: list[str], parts: list[Parts], patients: Patients, cfg: QualityConfig
) -> dict[str, Any]:
    """Numbers of parts, and F1 of the parts together on the other half of the patients."""
    rows, found, draws = material.is_estimate, {}, []
    for name, some, is_positive in zip(names, parts, material.is_positive(names), strict=True):
        columns = material.features[:, some.features].toarray()
        says = fitted(columns, is_positive, ~rows, cfg.seed).logits(columns[rows]) > 0
        right, other = is_positive[rows], ~is_positive[rows]
        sums = patients.sums(np.stack([says & right, right, says & other, other], axis=1).astype(float))
        with np.errstate(invalid="ignore", divide="ignore"):
            draws.append(balanced_f1(sums[:, 0] / sums[:, 1], sums[:, 2] / sums[:, 3]))
        found[name] = {
            "n_parts": len(some.features),
            "features": some.features.tolist(),
            "f1_in_choice": [round(value, 6) for value in some.f1],
            "f1": figure(draws[-1]),
        }
    counts = np.asarray([len(some.features) for some in parts])
    return {
        "mean_n_parts": round(float(counts.mean()), 6),
        "share_split": round(float((counts > 1).mean()), 6),
        "f1": mean_figure(np.asarray(draws)),
        "concepts": found,
    }
