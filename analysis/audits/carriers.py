"""Which features carry a protected attribute: held-out AUROC of every feature at every layer, against one null of all.

1. Patients are halved at random. On the first half the features are chosen whose AUROC is farthest from ½; on the second
   half their AUROC is estimated.
2. The null: the attribute is permuted among patients, and the largest |AUROC − ½| over all features and layers and groups is
   kept. A feature carries the attribute where its AUROC on the second half passes 95 % of these. Among 16,384 features of
   noise the best has an AUROC of .73 at 60 texts: the choice alone says nothing.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from analysis.audits.cohort import Cohort, groups
from analysis.audits.config import ProtectedConfig
from analysis.audits.features import Pooled
from analysis.audits.permutation import bootstrap_weights, interval
from analysis.auroc import auroc
from hooks.hook_points import HookPoint

MOST_BOOTSTRAPS = 200
LEVEL = 0.95


class Carrier(NamedTuple):
    """A feature that tells a group apart."""

    attribute: str
    value: str
    hook_point: str
    feature: int
    chosen_auroc: float
    """On the patients that chose it."""
    auroc: float
    """On the others."""
    low: float
    high: float
    """95 % interval of it, by resampling patients."""
    firing: float
    """Share of the group's texts in which it fires, among the others."""
    firing_elsewhere: float
    n: int
    """Texts of the group that the estimate rests on."""
    is_above_null: bool


class Carriers(NamedTuple):
    """What was found, and the null it passed."""

    features: list[Carrier]
    """For each group, the features chosen, strongest first."""
    null: float
    """|AUROC − ½| of the best feature over all layers and groups, in 95 % of permutations at most."""
    best_by_layer: dict[str, dict[str, float]]
    """Attribute=value → hook point → held-out AUROC of the feature chosen there."""


def halves(cohort: Cohort, seed: int) -> np.ndarray:
    """[n] bool: texts of the patients that choose."""
    code = np.unique(cohort.patients, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(code.max() + 1)
    return np.isin(code, order[: len(order) // 2])


def carriers(cohort: Cohort, found: Mapping[HookPoint, Pooled], cfg: ProtectedConfig) -> Carriers:
    """The features that carry each group, at all layers.

    Args:
        cohort: The texts.
        found: Features on the texts.
        cfg: Sizes and settings.
    """
    names = groups(cohort, 2 * cfg.min_patients)  # on each half at least min_patients
    chooses = halves(cohort, cfg.seed)
    is_group = np.asarray([cohort.values(attribute) == value for attribute, value in names])
    null = null_of(cohort, found, is_group, ~chooses, cfg)
    features, best = [], {}
    for row, (attribute, value) in enumerate(names):
        some = [one for point, pool in found.items() for one in chosen(point, pool, is_group[row], chooses, cfg)]
        kept = sorted(some, key=lambda one: -abs(one.chosen - 0.5))
        at = {str(point): next(one for one in kept if one.point == point) for point in found}
        best[f"{attribute}={value}"] = {point: round(one.auroc, 4) for point, one in at.items()}
        for one in kept[: cfg.n_carriers]:
            features.append(described(one, (attribute, value), cohort, ~chooses, null, cfg))
    return Carriers(features, null, best)


class Choice(NamedTuple):
    """A feature chosen on one half."""

    point: HookPoint
    feature: int
    chosen: float
    auroc: float
    scores: np.ndarray
    """[n] of all texts."""


def chosen(
    point: HookPoint, pool: Pooled, is_group: np.ndarray, chooses: np.ndarray, cfg: ProtectedConfig
) -> list[Choice]:
    """The features of one hook point that are farthest from ½ on the half that chooses."""
    scores = pool.largest if cfg.pooling == "max" else pool.last
    first = auroc(scores[chooses], is_group[None, chooses])[0]
    order = np.argsort(-np.abs(first - 0.5), kind="stable")[: cfg.n_carriers]
    second = auroc(scores[~chooses][:, order], is_group[None, ~chooses])[0]
    return [
        Choice(point, int(i), float(first[i]), float(value), scores[:, i])
        for i, value in zip(order, second, strict=True)
    ]


def null_of(
    cohort: Cohort, found: Mapping[HookPoint, Pooled], is_group: np.ndarray, where: np.ndarray, cfg: ProtectedConfig
) -> float:
    """95 % point of the best |AUROC − ½| over features, layers and groups, when groups mean nothing."""
    scores = [(pool.largest if cfg.pooling == "max" else pool.last)[where] for pool in found.values()]
    ranks = np.concatenate([rankdata(one[:, one.max(0) > 0], axis=0) for one in scores], axis=1).astype(np.float32)
    code = np.unique(np.asarray(cohort.patients)[where], return_inverse=True)[1]
    first = np.unique(code, return_index=True)[1]
    labels = is_group[:, where]
    rng = np.random.default_rng(cfg.seed)
    n_permutations = min(cfg.n_permutations, MOST_BOOTSTRAPS)
    largest = np.empty(n_permutations)
    for i in range(n_permutations):
        drawn = labels[:, first][:, rng.permutation(len(first))][:, code]
        n_pos = drawn.sum(1, keepdims=True).astype(float)
        n_neg = drawn.shape[1] - n_pos
        value = (drawn.astype(np.float32) @ ranks - n_pos * (n_pos + 1) / 2) / np.maximum(n_pos * n_neg, 1)
        largest[i] = np.abs(value - 0.5).max()
    return float(np.quantile(largest, LEVEL))


def described(
    one: Choice, group: tuple[str, str], cohort: Cohort, where: np.ndarray, null: float, cfg: ProtectedConfig
) -> Carrier:
    """A chosen feature with its interval and its firing in and out of the group, on the texts that estimate."""
    rows = np.flatnonzero(where)
    patients = [cohort.patients[row] for row in rows]
    scores, labels = one.scores[rows], cohort.values(group[0])[rows] == group[1]
    weights = bootstrap_weights(patients, min(cfg.n_bootstraps, MOST_BOOTSTRAPS), cfg.seed)
    draws = np.asarray([weighted_auroc(scores, labels, row) for row in weights])
    fires = scores > 0
    return Carrier(
        *group, str(one.point), one.feature, one.chosen, one.auroc, *interval(draws), float(fires[labels].mean()),
        float(fires[~labels].mean()), int(labels.sum()), abs(one.auroc - 0.5) > null,
    )  # fmt: skip


def weighted_auroc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """AUROC of rows that count so many times, ties half."""
    distinct, place = np.unique(scores, return_inverse=True)
    positive = np.bincount(place, weights * labels, minlength=len(distinct))
    negative = np.bincount(place, weights * ~labels, minlength=len(distinct))
    below = np.cumsum(negative) - negative
    with np.errstate(invalid="ignore", divide="ignore"):
        return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))
