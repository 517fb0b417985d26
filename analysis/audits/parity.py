"""Is the right answer as likely for every group? Outcomes compared among patients with the same right answer.

1. The outcome of a text is the probability that the model gives to its right answer; beside it, whether that leads.
2. For every group of a protected attribute and every right answer, the mean outcome in the group is compared with that of
   everybody else with the same right answer, so that groups that are differently ill are not compared.
3. All comparisons are one family: outcomes are permuted among patients with the same right answers, and the largest
   standardised difference of each permutation corrects all p-values.

Where the text can be written with another value in its place (counterfactual twins), every text is its own control: its
versions are exchanged among themselves.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.audits.cohort import Cohort, groups
from analysis.audits.config import ProtectedConfig
from analysis.audits.permutation import bootstrap_weights, corrected, interval, shuffles

TINY = 1e-12
"""Keeps a model whose answers never vary from a division by nothing."""


class Gap(NamedTuple):
    """How one group fares with one right answer."""

    kind: str
    """`observed`: patients of the group beside others; `swapped`: the same texts with the value in its place."""
    attribute: str
    value: str
    truth: str
    """The right answer."""
    n: int
    """Patients of the group; with swaps, all patients with this right answer."""
    n_others: int
    effect: float
    """Probability of the right answer in the group − elsewhere."""
    low: float
    high: float
    """95 % interval, by resampling patients."""
    right: float
    """Share of right answers in the group − elsewhere."""
    p: float
    """Corrected for all comparisons of this kind."""
    instead: str
    """The answer that gains most where the group loses, or loses most where it gains."""
    instead_effect: float
    """How much it gains."""
    is_claimed: bool = False
    """Beyond chance and large enough to claim."""


class Contrasts(NamedTuple):
    """Comparisons as weights: effect = weights · outcome."""

    names: list[tuple[str, str, int]]
    """Attribute, value, number of the right answer."""
    inside: np.ndarray
    """[n_tests, n] bool: texts of the group with this right answer."""
    outside: np.ndarray
    """[n_tests, n] bool: texts of everybody else with this right answer."""


def contrasts(cohort: Cohort, cfg: ProtectedConfig) -> Contrasts:
    """Every comparison for which both sides are large enough."""
    truth = cohort.truth()
    names, inside, outside = [], [], []
    least = max(3, cfg.min_patients // 3)  # of one diagnosis; the test is exact at any size
    for attribute, value in groups(cohort, cfg.min_patients):
        values = cohort.values(attribute)
        for number in range(len(cohort.answers)):
            a, b = (values == value) & (truth == number), (values != value) & (values != "") & (truth == number)
            if a.sum() >= least and b.sum() >= least:
                names.append((attribute, value, number))
                inside.append(a)
                outside.append(b)
    shape = len(names), len(cohort)
    return Contrasts(names, np.asarray(inside, bool).reshape(shape), np.asarray(outside, bool).reshape(shape))


def differences(inside: np.ndarray, outside: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """[n_tests, …] mean inside − mean outside; the masks may be weights."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (inside @ outcome).T / inside.sum(-1) - (outside @ outcome).T / outside.sum(-1)


def standardised(inside: np.ndarray, outside: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """[n_tests] each difference in standard errors, with one variance for all comparisons.

    With a variance for each, a comparison in which nothing varies would have an enormous t for a difference of nothing, and the
    largest of all would drown what matters.
    """
    inside, outside = inside.astype(float), outside.astype(float)
    n_in, n_out = inside.sum(1), outside.sum(1)
    difference = inside @ outcome / n_in - outside @ outcome / n_out
    return difference / (max(outcome.std(), TINY) * np.sqrt(1 / n_in + 1 / n_out))


def observed_gaps(cohort: Cohort, probabilities: np.ndarray, cfg: ProtectedConfig, alpha: float) -> list[Gap]:
    """Gaps between groups as they are, largest first.

    Args:
        cohort: The texts.
        probabilities: [n, n_answers] of the answers.
        cfg: Sizes and settings.
        alpha: Chance of any false claim.
    """
    found = contrasts(cohort, cfg)
    if not found.names:
        return []
    outcome = probabilities[np.arange(len(cohort)), cohort.truth()]
    is_right = (probabilities.argmax(1) == cohort.truth()).astype(float)
    seen = standardised(found.inside, found.outside, outcome)
    units = patient_order(cohort)
    largest = np.asarray(
        [np.abs(standardised(found.inside, found.outside, outcome[order])).max() for order in units(cfg)]
    )
    p = corrected(seen, largest)
    effect = differences(found.inside, found.outside, outcome)
    right = differences(found.inside, found.outside, is_right)
    shift = differences(found.inside, found.outside, probabilities).T
    weights = bootstrap_weights(cohort.patients, cfg.n_bootstraps, cfg.seed)
    gaps = []
    for i, (attribute, value, number) in enumerate(found.names):
        with np.errstate(invalid="ignore", divide="ignore"):
            a, b = weights * found.inside[i], weights * found.outside[i]
            draws = a @ outcome / a.sum(1) - b @ outcome / b.sum(1)
        other, gain = instead(shift[i], number)
        gaps.append(
            Gap(
                "observed", attribute, value, cohort.answers[number], patients(cohort, found.inside[i]),
                patients(cohort, found.outside[i]), float(effect[i]), *interval(draws), float(right[i]), float(p[i]),
                cohort.answers[other], gain, bool(p[i] <= alpha and abs(effect[i]) >= cfg.least_effect),
            )
        )  # fmt: skip
    return sorted(gaps, key=lambda gap: (gap.p, -abs(gap.effect)))


def patient_order(cohort: Cohort):
    """Orders of the texts in which patients with the same right answers have changed places, their texts together."""
    rows: dict[str, list[int]] = {}
    for row, one in enumerate(cohort.subjects):
        rows.setdefault(one.patient, []).append(row)
    members = [sorted(group, key=lambda row: cohort.subjects[row].truth) for group in rows.values()]
    strata = [tuple(cohort.subjects[row].truth for row in group) for group in members]

    def orders(cfg: ProtectedConfig):
        for order in shuffles(strata, cfg.n_permutations, cfg.seed):
            found = np.empty(len(cohort), dtype=int)
            for place, taken in enumerate(order):
                found[members[place]] = members[taken]
            yield found

    return orders


def patients(cohort: Cohort, rows: np.ndarray) -> int:
    """How many patients some texts are of."""
    return len({cohort.subjects[row].patient for row in np.flatnonzero(rows)})


def instead(shift: np.ndarray, truth: int) -> tuple[int, float]:
    """The other answer that moves most against the right one, and how much."""
    others = [i for i in range(len(shift)) if i != truth]
    if not others:
        return truth, 0.0
    direction = -np.sign(shift[truth]) or 1.0
    best = max(others, key=lambda i: direction * shift[i])
    return best, float(shift[best])


def swapped_gaps(
    cohort: Cohort, attribute: str, values: Sequence[str], probabilities: np.ndarray, cfg: ProtectedConfig, alpha: float
) -> list[Gap]:
    """What a value in the text does to the answer, all else in it the same; largest first.

    Args:
        cohort: Texts that have every version.
        attribute: What was swapped.
        values: The values that were put in.
        probabilities: [n, n_values, n_answers] of the answers, for each version of each text.
        cfg: Sizes and settings.
        alpha: Chance of any false claim.
    """
    truth = cohort.truth()
    outcome = probabilities[np.arange(len(cohort)), :, truth]
    right = (probabilities.argmax(2) == truth[:, None]).astype(float)
    numbers = [d for d in range(len(cohort.answers)) if (truth == d).sum() >= max(3, cfg.min_patients // 3)]
    if not numbers:
        return []
    is_answer = np.asarray([truth == d for d in numbers], float)
    seen = paired(is_answer, against_others(outcome))
    rng = np.random.default_rng(cfg.seed)
    code = np.unique(cohort.patients, return_inverse=True)[1]
    largest = np.empty(cfg.n_permutations)
    for i in range(cfg.n_permutations):
        order = rng.random((code.max() + 1, len(values))).argsort(1)[code]  # a patient's texts together
        largest[i] = np.abs(paired(is_answer, against_others(np.take_along_axis(outcome, order, 1)))).max()
    p = corrected(seen.ravel(), largest).reshape(seen.shape)
    effect, all_effects = against_others(outcome), against_others(probabilities)
    weights = bootstrap_weights(cohort.patients, cfg.n_bootstraps, cfg.seed)
    gaps = []
    for i, number in enumerate(numbers):
        rows = truth == number
        n = patients(cohort, rows)
        for v, value in enumerate(values):
            with np.errstate(invalid="ignore", divide="ignore"):
                draws = weights[:, rows] @ effect[rows, v] / weights[:, rows].sum(1)
            size = float(effect[rows, v].mean())
            other, gain = instead(all_effects[rows, v].mean(0), number)
            gaps.append(
                Gap(
                    "swapped", attribute, value, cohort.answers[number], n, n, size, *interval(draws),
                    float(against_others(right)[rows, v].mean()), float(p[i, v]), cohort.answers[other], gain,
                    bool(p[i, v] <= alpha and abs(size) >= cfg.least_effect),
                )
            )  # fmt: skip
    return sorted(gaps, key=lambda gap: (gap.p, -abs(gap.effect)))


def against_others(outcome: np.ndarray) -> np.ndarray:
    """[n, n_values, …] each version's outcome − the mean of the text's other versions."""
    n = outcome.shape[1]
    return outcome - (outcome.sum(1, keepdims=True) - outcome) / (n - 1)


def paired(is_answer: np.ndarray, effect: np.ndarray) -> np.ndarray:
    """[n_answers, n_values] each version's mean effect in standard errors, with one variance for all."""
    n = is_answer.sum(1, keepdims=True)
    return is_answer @ effect / np.sqrt(n) / max(effect.std(), TINY)


def claims(gaps: Sequence[Gap]) -> list[Gap]:
    """The claimed gaps, for each attribute and right answer the value with the largest effect: the others follow from it."""
    best: dict[tuple[str, str], Gap] = {}
    for gap in gaps:
        key = gap.attribute, gap.truth
        if gap.is_claimed and (key not in best or abs(gap.effect) > abs(best[key].effect)):
            best[key] = gap
    return sorted(best.values(), key=lambda gap: -abs(gap.effect))
