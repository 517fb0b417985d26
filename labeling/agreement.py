"""How far raters agree on one field: every coefficient, its interval, and what it rests on.

No single number will do. Krippendorff's alpha in the metric of the field stands first; beside it always AC1 or AC2,
Fleiss' pi, Brennan–Prediger's, Conger's, plain agreement, agreement on each category, and how often each is given. Where
they part by more than .2, one answer is so common that agreeing is easy, and a sentence says so.

Which items count: alpha and plain agreement use items with two or more ratings; the prevalences in Gwet's coefficients use
all items with one or more. Only a sample with a fixed number of raters may be called a headline (`labeling.strata`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from labeling.alpha import alpha
from labeling.bootstrap import BootstrapConfig, Statistic, estimates
from labeling.categories import CategoryAgreement, by_category
from labeling.cohen import PairKappa, all_pairs, cohen
from labeling.estimate import Estimate, Support, joined
from labeling.fleiss import Fleiss, fleiss
from labeling.gwet import Analytic, Coefficient, analytic, coefficient, conger
from labeling.icc import icc
from labeling.scale import Level, Scale, Weighting, checked, counts_of, levels_of, weights_of
from labeling.strata import headline
from sae.errors import UserError

PARADOX = 0.2
"""Coefficients that part by more are worth a sentence. Source: labelling specification, after Feinstein and Cicchetti 1990."""
INCLUSION = (
    "Alpha, percent agreement and specific agreement use items with two or more ratings; prevalences, and through them "
    "AC1, AC2 and Fleiss' pi, use all items with one or more. Intervals resample items."
)
NO_CODEBOOK = "It depends on which categories the codebook has, which ratings cannot tell; name them."
SUFFIX: dict[Weighting, str] = {
    "identity": "", "linear": "_linear", "quadratic": "_quadratic", "gwet_ordinal": "_gwet_ordinal_weights",
}  # fmt: skip
GWET: dict[Coefficient, str] = {
    "ac": "ac2", "pi": "fleiss_pi", "conger": "conger_kappa", "brennan_prediger": "brennan_prediger",
}  # fmt: skip


class Agreement(NamedTuple):
    """What the raters of one field agree on."""

    level: Level
    n_categories: int | None
    """The codebook's; none if any number may be given, or no codebook was at hand."""
    n_items: int
    """With one rating or more."""
    n_raters: int
    """Who gave one or more."""
    n_ratings: int
    primary: str
    """Name of the coefficient to show first."""
    coefficients: dict[str, Estimate]
    categories: tuple[CategoryAgreement, ...]
    """Empty where any number may be given."""
    analytic: dict[str, Analytic]
    """Gwet's standard errors, a check beside the intervals; of coefficients that exist."""
    fleiss: Fleiss | None
    """Fleiss' table of 1971; none unless all items have the same number of ratings."""
    pairs: tuple[PairKappa, ...]
    """Cohen's kappa of all pairs of raters; weighted by squares unless the field is nominal."""
    notes: tuple[str, ...]
    """Sentences to print beside the figures."""
    cfg: BootstrapConfig

    def record(self) -> dict[str, Any]:
        """As it stands in a JSON."""
        return {
            "level": self.level,
            "n_categories": self.n_categories,
            "n_items": self.n_items,
            "n_raters": self.n_raters,
            "n_ratings": self.n_ratings,
            **self.cfg.model_dump(),
            "primary": self.primary,
            "coefficients": {name: one.record() for name, one in self.coefficients.items()},
            "categories": [
                {**one._asdict(), "prevalence": one.prevalence.record(), "specific_agreement": one.specific_agreement.record()}
                for one in self.categories
            ],
            "analytic": {name: one._asdict() for name, one in self.analytic.items()},
            "fleiss_1971": None if self.fleiss is None else {
                "overall": self.fleiss.overall._asdict(),
                "categories": [one._asdict() for one in self.fleiss.by_category],
            },
            "pairs": [{**one._asdict(), "kappa": one.kappa.record()} for one in self.pairs],
            "notes": list(self.notes),
        }  # fmt: skip


def agreement(
    ratings: np.ndarray,
    scale: Scale,
    cfg: BootstrapConfig | None = None,
    strata: Sequence[str] | None = None,
    raters: Sequence[str] | None = None,
    is_brief: bool = False,
) -> Agreement:
    """Everything about one field.

    Args:
        ratings: [n_items, n_raters] ranks or values on the scale, NaN where missing.
        scale: The codebook's.
        cfg: Of the intervals.
        strata: Of each item; given, only the fixed random stratum is kept. Ungiven, the caller answers for the items.
        raters: Names of the columns, for the pairs.
        is_brief: The coefficients alone: no categories, no standard errors, no pairs, and no notes on them.
    """
    cfg = cfg or BootstrapConfig()
    table = checked(ratings, scale)
    if strata is not None:
        table = table[headline(strata)]
    table = table[~np.isnan(table).all(axis=1)]
    if not len(table) or table.shape[1] < 2:
        raise UserError(
            f"The table has {len(table)} rated items and {table.shape[1]} raters, expected at least one item and two "
            "raters. Add ratings."
        )
    levels = levels_of(table, scale)
    counts = counts_of(table, levels)
    support = support_of(counts, int((~np.isnan(table)).any(axis=0).sum()), scale.level)
    found = estimates(statistics(table, counts, levels, scale), support, cfg)
    if scale.level in ("interval", "ratio"):
        found["icc_a1"], found["icc_ak"] = icc(table, cfg.confidence)
    has_categories = scale.levels is not None and not is_brief
    names = [scale.name(k) for k in range(len(levels))] if has_categories else []
    each = by_category(counts, names, support.n_raters, cfg) if has_categories else ()
    weighting: Weighting = "identity" if scale.level == "nominal" or not scale.is_whole else "quadratic"
    primary = f"alpha_{scale.level}"
    return Agreement(
        scale.level,
        scale.n_categories if scale.is_whole else None,
        len(table),
        support.n_raters,
        int(counts.sum()),
        primary,
        found,
        each,
        {} if is_brief else analytics(table, levels, scale, found),
        fleiss(counts) if has_categories else None,
        all_pairs(table, scale, weighting, raters) if has_categories else (),
        notes(found, each, primary),
        cfg,
    )


def support_of(counts: np.ndarray, n_raters: int, level: Level) -> Support:
    """Items with two or more ratings, and those of the rarest class.

    On a nominal scale that is the category, of those given at all, that the fewest items hold. On the others neighbours
    lend a rare level their weight, and what counts is the number of items that hold anything but the commonest level.
    """
    counts = counts[counts.sum(axis=1) >= 2]
    holds = counts > 0
    used = holds.any(axis=0)
    if not used.any():
        return Support(0, n_raters, 0, 0)
    commonest = int(counts.sum(axis=0).argmax())
    others = int((np.delete(holds, commonest, axis=1)).any(axis=1).sum())
    rarest = min(int(holds[:, used].sum(axis=0).min()), others) if level == "nominal" else others
    return Support(len(counts), n_raters, int(counts.sum()), rarest)


def statistics(table: np.ndarray, counts: np.ndarray, levels: np.ndarray, scale: Scale) -> dict[str, Statistic]:
    """All coefficients of a field, those first that are shown first."""
    reason = nothing_to_say(counts, scale)
    found = {f"alpha_{scale.level}": alpha(counts, levels, scale.level)._replace(reason=reason.pairable)}
    if scale.level == "ordinal":
        found["alpha_nominal"] = alpha(counts, levels, "nominal")._replace(reason=reason.pairable)
    weightings: tuple[Weighting, ...] = ("identity",) if scale.level == "nominal" else tuple(SUFFIX)
    if scale.levels is not None:
        for weighting in weightings:
            found |= of_weighting(table, counts, levels, weighting, scale, reason)
    found["percent_agreement"] = coefficient("percent", counts, np.eye(len(levels)))._replace(reason=reason.pairs)
    return found


def of_weighting(
    table: np.ndarray, counts: np.ndarray, levels: np.ndarray, weighting: Weighting, scale: Scale, reason: "Reasons"
) -> dict[str, Statistic]:
    """Gwet's coefficients, and Cohen's for two raters, with one kind of weights."""
    weights = weights_of(levels, weighting) if len(levels) > 1 else np.ones((1, 1))
    found: dict[str, Statistic] = {}
    for kind, name in GWET.items():
        if kind == "ac" and weighting == "identity":
            name = "ac1"  # noqa: PLW2901
        rests_on_number = kind in ("ac", "brennan_prediger") or weighting != "identity"
        unknown = NO_CODEBOOK if rests_on_number and not scale.is_whole else ""
        label = name if name == "ac1" else name + SUFFIX[weighting]
        one = conger(table, levels, weights) if kind == "conger" else coefficient(kind, counts, weights)
        found[label] = one._replace(reason=unknown or reason.all)
    if table.shape[1] == 2 and (scale.is_whole or weighting == "identity"):
        one = cohen(table[:, 0], table[:, 1], levels, weights)
        found["cohen_kappa" + SUFFIX[weighting]] = one._replace(reason=reason.pairs or one.reason)
    return found


class Reasons(NamedTuple):
    """Why figures do not exist; empty where they do."""

    pairs: str
    """No item has two ratings."""
    pairable: str
    """Or those that have are all of one category."""
    all: str
    """Or all ratings are."""


def nothing_to_say(counts: np.ndarray, scale: Scale) -> Reasons:
    """Why a table gives no coefficient."""
    m = counts.sum(axis=1)
    if not (m >= 2).any():
        reason = "No item has ratings of two raters."
        return Reasons(reason, reason, reason)
    unanimous = "All ratings that count are of one and the same category: there was nothing to disagree on."
    pairable = unanimous if (counts[m >= 2].sum(axis=0) > 0).sum() < 2 else ""
    return Reasons("", pairable, unanimous if (counts.sum(axis=0) > 0).sum() < 2 else "")


def analytics(table: np.ndarray, levels: np.ndarray, scale: Scale, found: dict[str, Estimate]) -> dict[str, Analytic]:
    """Gwet's standard errors of the coefficients that exist."""
    if scale.levels is None or len(levels) < 2:
        return {}
    weightings: tuple[Weighting, ...] = ("identity",) if scale.level == "nominal" else tuple(SUFFIX)
    done = {}
    for weighting in weightings:
        weights = weights_of(levels, weighting)
        for kind, name in GWET.items():
            label = "ac1" if (kind, weighting) == ("ac", "identity") else name + SUFFIX[weighting]
            if label in found and found[label].value is not None and len(table) > 1:
                done[label] = analytic(kind, given_columns(table), levels, weights)
    n_pairable = int(((~np.isnan(table)).sum(axis=1) >= 2).sum())
    if "alpha_nominal" in found and found["alpha_nominal"].value is not None and n_pairable > 1:
        done["alpha_nominal"] = analytic("alpha", table, levels, np.eye(len(levels)))
    return done


def given_columns(table: np.ndarray) -> np.ndarray:
    """Without raters who gave nothing."""
    return table[:, ~np.isnan(table).all(axis=0)]


def notes(found: dict[str, Estimate], each: Sequence[CategoryAgreement], primary: str) -> tuple[str, ...]:
    """What is to be said beside the figures."""
    sentences = [INCLUSION]
    effect = prevalence_effect(found, each, primary)
    if effect:
        sentences.append(effect)
    warning = joined(one.warning for one in found.values())
    return (*sentences, warning) if warning else tuple(sentences)


def prevalence_effect(found: dict[str, Estimate], each: Sequence[CategoryAgreement], primary: str) -> str:
    """A sentence where coefficients, or agreement on different categories, part by more than .2; else nothing.

    Source: Feinstein and Cicchetti 1990, doi:10.1016/0895-4356(90)90158-L.
    """
    kinds = ("alpha_nominal", "cohen_kappa", "ac1") if primary in ("alpha_nominal",) else (primary, "ac2_quadratic")
    values = {name: found[name].value for name in kinds if name in found}
    known = {name: value for name, value in values.items() if value is not None}
    by_class = {one.name: one.specific_agreement.value for one in each if one.specific_agreement.value is not None}
    parts = []
    if known and max(known.values()) - min(known.values()) > PARADOX:
        parts.append(" and ".join(f"{name} {value:.2f}" for name, value in known.items()))
    if by_class and max(by_class.values()) - min(by_class.values()) > PARADOX:
        best, worst = max(by_class, key=by_class.__getitem__), min(by_class, key=by_class.__getitem__)
        parts.append(f"agreement on '{best}' {by_class[best]:.2f} and on '{worst}' {by_class[worst]:.2f}")
    if not parts:
        return ""
    return (
        f"Prevalence effect: {'; '.join(parts)} differ by more than {PARADOX:g}. Read them together, never one alone."
    )
