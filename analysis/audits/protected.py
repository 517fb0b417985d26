"""The audit of protected attributes: how answers differ between groups, which features carry them, what those features do.

The level is shared out: half of alpha for gaps between groups as they are, half for swapped texts, the latter in equal
parts for each attribute that can be swapped. So the chance that a model without any gap is claimed to have one is alpha.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from analysis.audits.answers import answer_probabilities
from analysis.audits.carriers import Carrier, Carriers, carriers
from analysis.audits.cohort import Cohort, first_of, groups
from analysis.audits.config import ProtectedConfig
from analysis.audits.feature_ablation import Ablated, Scene, ablate, without
from analysis.audits.features import pooled
from analysis.audits.parity import Gap, against_others, claims, observed_gaps, swapped_gaps
from hooks.hook_points import HookPoint, parse
from hooks.model import LanguageModel
from sae.base import SAE


class Behaviour(NamedTuple):
    """How a model's answers differ between groups."""

    accuracy: float
    """Share of texts whose leading answer is right."""
    gaps: list[Gap]
    """All comparisons, those between groups first."""
    claims: list[Gap]
    """What is claimed, largest first."""
    probabilities: np.ndarray
    """[n, n_answers] on the texts as they are."""


def behaviour(lm: LanguageModel, cohort: Cohort, cfg: ProtectedConfig) -> Behaviour:
    """Asks the model every text, and every text in every other version it has.

    Raises:
        UserError: The cohort has no attribute with two groups that are large enough, or a text is too long.
    """
    groups(cohort, cfg.min_patients)
    probabilities = answer_probabilities(lm, [one.prompt for one in cohort.subjects], cohort.answers)
    swaps = swappable(cohort)
    found = observed_gaps(cohort, probabilities, cfg, cfg.alpha / (2 if swaps else 1))
    for attribute, values in swaps.items():
        versions = swapped_probabilities(lm, cohort, attribute, values, probabilities)
        found += swapped_gaps(cohort, attribute, values, versions, cfg, cfg.alpha / 2 / len(swaps))
    accuracy = float((probabilities.argmax(1) == cohort.truth()).mean())
    return Behaviour(accuracy, found, claims(found), probabilities)


def swappable(cohort: Cohort) -> dict[str, tuple[str, ...]]:
    """Attributes that every text can be written with another value of, and the values."""
    found = {}
    for attribute in cohort.attributes:
        values = [tuple(sorted(one.swaps.get(attribute, {}))) for one in cohort.subjects]
        if len(values[0]) > 1 and len(set(values)) == 1:
            found[attribute] = values[0]
    return found


def swapped_probabilities(
    lm: LanguageModel, cohort: Cohort, attribute: str, values: tuple[str, ...], own: np.ndarray
) -> np.ndarray:
    """[n, n_values, n_answers] probabilities of every version; the own one is not asked again."""
    found = np.empty((len(cohort), len(values), len(cohort.answers)))
    for v, value in enumerate(values):
        texts = [one.swaps[attribute][value] for one in cohort.subjects]
        new = [i for i, one in enumerate(cohort.subjects) if texts[i] != one.prompt]
        found[:, v] = own
        if new:
            found[new, v] = answer_probabilities(lm, [texts[i] for i in new], cohort.answers)
    return found


def carrying(lm: LanguageModel, saes: Mapping[HookPoint, SAE], cohort: Cohort, cfg: ProtectedConfig) -> Carriers:
    """Which features carry each group."""
    return carriers(cohort, pooled(lm, saes, [one.prompt for one in cohort.subjects]), cfg)


class Effect(NamedTuple):
    """What the features of one attribute do to answers."""

    attribute: str
    ablated: Ablated
    gap_before: float | None
    """Mean |change of the right answer's probability| when the attribute is swapped; none where it cannot be."""
    gap_after: float | None
    """The same with the features ablated."""


def effects(
    lm: LanguageModel, saes: Mapping[HookPoint, SAE], cohort: Cohort, found: Carriers, cfg: ProtectedConfig,
    focus: str | None = None,
) -> list[Effect]:  # fmt: skip
    """Ablates the carriers of every attribute, with matched controls.

    Args:
        lm: The model.
        saes: Its autoencoders.
        cohort: The texts.
        found: The carriers; those not above the null take no part.
        cfg: Sizes.
        focus: A right answer whose texts alone are asked, where a gap is claimed for it.
    """
    some = [one for one in cohort.subjects if focus is None or one.truth == focus]
    part = Cohort(cohort.name, tuple(first_of(some, cfg.ablation_texts, cfg.seed)), cohort.answers)
    clean = answer_probabilities(lm, [one.prompt for one in part.subjects], part.answers)
    scene = Scene(lm, saes, part, pooled(lm, saes, [one.prompt for one in part.subjects]), clean)
    swaps = swappable(part)
    result = []
    for attribute in part.attributes:
        wanted = strongest([one for one in found.features if one.attribute == attribute and one.is_above_null], cfg)
        if not wanted:
            continue
        ablated = ablate(scene, wanted, cfg.n_controls, cfg.seed, cfg.n_bootstraps)
        before = after = None
        if attribute in swaps:
            before = swap_size(scene, attribute, swaps[attribute], {})
            after = swap_size(scene, attribute, swaps[attribute], wanted)
        result.append(Effect(attribute, ablated, before, after))
    return result


def strongest(some: list[Carrier], cfg: ProtectedConfig) -> dict[HookPoint, list[int]]:
    """The features of all groups of an attribute, by hook point: at most n_carriers, the strongest."""
    found: dict[HookPoint, list[int]] = {}
    n = 0
    for one in sorted(some, key=lambda one: -abs(one.auroc - 0.5)):
        features = found.setdefault(parse(one.hook_point), [])
        if one.feature not in features and n < cfg.n_carriers:
            features.append(one.feature)
            n += 1
    return {point: features for point, features in found.items() if features}


def swap_size(scene: Scene, attribute: str, values: tuple[str, ...], wanted: Mapping[HookPoint, list[int]]) -> float:
    """How much the right answer's probability moves when the attribute is swapped, with features ablated."""
    cohort = scene.cohort
    versions = [[one.swaps[attribute][value] for one in cohort.subjects] for value in values]
    found = np.stack([without(scene, wanted, texts) for texts in versions], 1)
    outcome = found[np.arange(len(cohort)), :, cohort.truth()]
    return float(np.abs(against_others(outcome)).max(1).mean())


def record(found: Behaviour) -> dict[str, Any]:
    """The behaviour as JSON: counts of tests, the claims, and every comparison."""
    return {
        "accuracy": found.accuracy,
        "n_tests": len(found.gaps),
        "claims": [gap._asdict() for gap in found.claims],
        "gaps": [gap._asdict() for gap in found.gaps],
    }
