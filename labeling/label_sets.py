"""Agreement on sets of labels: several may be right, one rater may say less than another, and none of them is an answer.

1. Two sets are as far apart as MASI says: 1 − J · M, with Jaccard's J and M = 1 for equal sets, ⅔ where one holds the
   other, ⅓ where they overlap, 0 where they do not. Jaccard's distance 1 − J stands beside it.
2. Two empty sets are equal: "none of these" is an answer, and not the same as no answer.
3. Every label for itself is a yes or no: alpha, AC1, positive agreement (which is the F1 between raters), prevalence.
   Micro alpha is one minus the sum of all labels' observed disagreement over the sum of what chance brings each label by
   its own prevalence; macro is the mean over the labels whose figure exists. A label that nobody gave moves neither.
4. In a hierarchy the same is told again with every label replaced by its parent: "infarction" and "unstable angina"
   disagree, and agree on ischaemia.

Source: Passonneau 2006, "Measuring Agreement on Set-valued Items (MASI)", LREC; Krippendorff 2011 for alpha.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from labeling.alpha import alpha, matrix_alpha, pairable, quotient
from labeling.bootstrap import BootstrapConfig, Statistic, estimates, mean_of, ratio_of
from labeling.categories import specific_agreement
from labeling.estimate import Estimate, Support
from labeling.gwet import coefficient
from sae.errors import UserError

YES_NO = np.array([0.0, 1.0])
MAX_SETS = 4000
"""Different sets that may be compared with each other: 128 MB of distances."""
NOT_ANSWERED = -1
"""Stands for no answer while sets are numbered; as a place it is the last one."""
BITS = 62
"""Labels that fit into one integer."""


class LabelSets(NamedTuple):
    """Answers of raters who each may give several labels."""

    has_label: np.ndarray
    """[n_items, n_raters, n_labels] bool; nothing where the rater gave no answer."""
    is_answered: np.ndarray
    """[n_items, n_raters] bool; an empty set is an answer."""
    labels: tuple[str, ...]
    """The codebook's."""


class LabelAgreement(NamedTuple):
    """One label as a yes or no."""

    label: str
    n_ratings: int
    """Ratings that hold it."""
    n_items: int
    """Items to which at least one rater gave it: n⁺."""
    prevalence: Estimate
    alpha: Estimate
    ac1: Estimate
    positive_agreement: Estimate


class SetAgreement(NamedTuple):
    """Everything about one field of sets."""

    n_items: int
    n_raters: int
    n_ratings: int
    coefficients: dict[str, Estimate]
    """`alpha_masi` first; Jaccard's, exact, mean similarity, micro and macro, and those at parent level if there is one."""
    labels: tuple[LabelAgreement, ...]
    cfg: BootstrapConfig

    def record(self) -> dict[str, Any]:
        """As it stands in a JSON."""
        figures = ("prevalence", "alpha", "ac1", "positive_agreement")
        return {
            "level": "set",
            "n_categories": len(self.labels),
            "n_items": self.n_items,
            "n_raters": self.n_raters,
            "n_ratings": self.n_ratings,
            **self.cfg.model_dump(),
            "primary": "alpha_masi",
            "coefficients": {name: one.record() for name, one in self.coefficients.items()},
            "labels": [
                {**one._asdict(), **{name: getattr(one, name).record() for name in figures}} for one in self.labels
            ],
        }


def label_sets(answers: Sequence[Sequence[Collection[str] | None]], labels: Sequence[str]) -> LabelSets:
    """Answers as a table of yes and no.

    Args:
        answers: [n_items][n_raters] labels, none where the rater gave no answer.
        labels: The codebook's.
    """
    place = {label: number for number, label in enumerate(labels)}
    n_raters = max(map(len, answers), default=0)
    which = np.full((len(answers), n_raters), NOT_ANSWERED)
    number: dict[tuple[str, ...] | None, int] = {None: NOT_ANSWERED}
    for i, row in enumerate(answers):
        given = [None if one is None else tuple(one) for one in row]
        for one in given:
            if one is not None and one not in number:
                refuse_strangers(one, place, i)
                number[one] = len(number) - 1
        which[i, : len(row)] = [number[one] for one in given]
    holds = np.zeros((len(number), len(labels)), bool)
    for one, n in number.items():
        holds[n, [place[label] for label in one or ()]] = True
    return LabelSets(holds[which], which != NOT_ANSWERED, tuple(labels))


def refuse_strangers(given: Collection[str], labels: Collection[str], item: int) -> None:
    """An error if an answer to an item, counted from 0, holds labels that the codebook does not name."""
    strangers = [label for label in given if label not in labels]
    if strangers:
        raise UserError(
            f"Item {item + 1} holds {len(strangers)} labels that the codebook does not name, expected some of its "
            f"{len(labels)}. Add them to the codebook or correct the answers."
        )


def at_parents(sets: LabelSets, parents: Mapping[str, str]) -> LabelSets:
    """The same answers with every label replaced by its parent; a label without one stands for itself."""
    above = [parents.get(label, label) for label in sets.labels]
    names = tuple(dict.fromkeys(above))
    belongs = np.asarray([[parent == name for name in names] for parent in above])
    return LabelSets(sets.has_label.astype(np.float32) @ belongs > 0, sets.is_answered, names)


def set_agreement(
    sets: LabelSets, cfg: BootstrapConfig | None = None, parents: Mapping[str, str] | None = None
) -> SetAgreement:
    """Everything about one field of sets.

    Args:
        sets: The answers.
        cfg: Of the intervals.
        parents: Parent of each label, where the codebook has a hierarchy.
    """
    cfg = cfg or BootstrapConfig()
    if not sets.is_answered.any() or sets.is_answered.shape[1] < 2:
        raise UserError(
            f"The table has {int(sets.is_answered.sum())} answers of {sets.is_answered.shape[1]} raters, expected some of "
            "two raters at least. Add ratings."
        )
    kept = sets.is_answered.any(axis=1)
    sets = LabelSets(sets.has_label[kept], sets.is_answered[kept], sets.labels)
    statistics = of_sets(sets)
    if parents:
        statistics |= {f"{name}_parents": one for name, one in of_sets(at_parents(sets, parents)).items()}
    m = sets.is_answered.sum(axis=1)
    n_raters = int(sets.is_answered.any(axis=0).sum())
    support = Support(int((m >= 2).sum()), n_raters, int(m[m >= 2].sum()))
    found = estimates(statistics, support, cfg)
    return SetAgreement(len(m), n_raters, int(m.sum()), found, by_label(sets, support, cfg), cfg)


def of_sets(sets: LabelSets) -> dict[str, Statistic]:
    """Coefficients over all labels."""
    counts, kinds = distinct(sets)
    jaccard, overlap = jaccard_and_overlap(kinds)
    reason = "" if (counts[counts.sum(axis=1) >= 2] > 0).any(axis=0).sum() > 1 else (
        "All answers that count are the same set: there was nothing to disagree on."
    )  # fmt: skip
    yes_no = [counts_of_label(sets, k) for k in range(len(sets.labels))]
    return {
        "alpha_masi": matrix_alpha(counts, 1 - jaccard * overlap)._replace(reason=reason),
        "alpha_jaccard": matrix_alpha(counts, 1 - jaccard)._replace(reason=reason),
        "alpha_exact": matrix_alpha(counts, (jaccard < 1) * 1.0)._replace(reason=reason),
        "percent_exact": coefficient("percent", counts, (jaccard == 1) * 1.0),
        "mean_jaccard": coefficient("percent", counts, jaccard),
        "alpha_micro": micro_alpha(yes_no),
        "alpha_macro": mean_of([alpha(one, YES_NO, "nominal") for one in yes_no]),
        "ac1_macro": mean_of([varied_ac1(one) for one in yes_no]),
        "positive_agreement_micro": micro_positive(yes_no),
        "positive_agreement_macro": mean_of([specific_agreement(one, 1) for one in yes_no]),
    }


def distinct(sets: LabelSets) -> tuple[np.ndarray, np.ndarray]:
    """[n_items, n_kinds] how many raters gave each of the sets that occur, and [n_kinds, n_labels] what they hold."""
    rows, columns = np.nonzero(sets.is_answered)
    given = sets.has_label[rows, columns]
    if given.shape[1] < BITS:  # sorting numbers is far faster than sorting rows
        _, first, which = np.unique(given @ (1 << np.arange(given.shape[1])), return_index=True, return_inverse=True)
        kinds = given[first]
    else:
        kinds, which = np.unique(given, axis=0, return_inverse=True)
    if len(kinds) > MAX_SETS:
        raise UserError(
            f"{len(kinds):,} different sets of labels occur, expected at most {MAX_SETS:,}, whose distances fit into memory. "
            "Report the labels one by one, or at parent level."
        )
    flat = np.bincount(rows * len(kinds) + which.ravel(), minlength=len(sets.is_answered) * len(kinds))
    return flat.reshape(len(sets.is_answered), len(kinds)).astype(np.float64), kinds


def jaccard_and_overlap(kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n_kinds, n_kinds] Jaccard's similarity and MASI's factor of sets [n_kinds, n_labels]."""
    x = kinds.astype(np.float64)
    both, size = x @ x.T, x.sum(axis=1)
    either = size[:, None] + size[None, :] - both
    jaccard = np.where(either > 0, both / np.where(either > 0, either, 1), 1)
    smaller = np.minimum(size[:, None], size[None, :])
    factor = np.where(both == either, 1, np.where(both == smaller, 2 / 3, 1 / 3))
    return jaccard, np.where((both == 0) & (either > 0), 0, factor)


def masi_distance(first: Collection[str], second: Collection[str]) -> float:
    """MASI's distance of two sets; 0 between two empty ones."""
    labels = sorted({*first, *second})
    kinds = np.asarray([[label in first for label in labels], [label in second for label in labels]]).reshape(2, -1)
    jaccard, factor = jaccard_and_overlap(kinds)
    return float(1 - jaccard[0, 1] * factor[0, 1])


def counts_of_label(sets: LabelSets, label: int) -> np.ndarray:
    """[n_items, 2] how many raters did not give a label, and did."""
    given = (sets.has_label[:, :, label] & sets.is_answered).sum(axis=1)
    return np.column_stack([sets.is_answered.sum(axis=1) - given, given]).astype(np.float64)


def micro_alpha(yes_no: list[np.ndarray]) -> Statistic:
    """Alpha over the decisions on all labels: Σ observed over Σ expected disagreement, each label expecting by itself.

    A label's expectation comes from its own prevalence. Prevalences pooled over labels would call it agreement that all
    raters know which labels are rare.

    Args:
        yes_no: [n_labels][n_items, 2] how many raters did not give a label, and did.
    """
    counts = [pairable(one) for one in yes_no]
    m, share = counts[0][0].sum(axis=1), counts[0][1]
    given = np.column_stack([one[:, 1] for one, _ in counts])
    observed = 2 * (given * (m[:, None] - given)).sum(axis=1) * share

    def of_sums(sums: np.ndarray) -> np.ndarray:
        n, yes = sums[..., 1], sums[..., 2:]
        return quotient(sums[..., 0], 2 * (yes * (n[..., None] - yes)).sum(axis=-1), n)

    return Statistic(np.column_stack([observed, m, given]), of_sums)


def varied_ac1(counts: np.ndarray) -> Statistic:
    """AC1 of one label [n_items, 2], which does not exist, in a resample neither, where all ratings say the same."""
    one = coefficient("ac", counts, np.eye(2))

    def of_sums(sums: np.ndarray) -> np.ndarray:
        is_varied = (sums[..., -2:] > 0).all(axis=-1)  # the last columns are shares of no and of yes
        return np.where(is_varied, one.of_sums(sums), np.nan)

    return one._replace(of_sums=of_sums)


def micro_positive(yes_no: list[np.ndarray]) -> Statistic:
    """Positive agreement over the decisions on all labels."""
    parts = [specific_agreement(one, 1).contributions for one in yes_no]
    above, below = np.sum(parts, axis=0).T
    return ratio_of(above, below)


def by_label(sets: LabelSets, support: Support, cfg: BootstrapConfig) -> tuple[LabelAgreement, ...]:
    """Every label of the codebook, given or not."""
    statistics, supports = {}, {}
    yes_no = [counts_of_label(sets, k) for k in range(len(sets.labels))]
    for k, counts in enumerate(yes_no):
        never = "" if counts[:, 1].any() and counts[:, 0].any() else (
            "All raters gave this label to every item, or none did: there was nothing to disagree on."
        )  # fmt: skip
        of_label = {
            "alpha": alpha(counts, YES_NO, "nominal")._replace(reason=never),
            "ac1": coefficient("ac", counts, np.eye(2))._replace(reason=never),
            "positive": specific_agreement(counts, 1),
            "prevalence": ratio_of(counts[:, 1] / counts.sum(axis=1), np.ones(len(counts))),
        }
        statistics |= {f"{name} {k}": one for name, one in of_label.items()}
        rarest = int((counts[counts.sum(axis=1) >= 2] > 0).sum(axis=0).min())
        supports |= {f"{name} {k}": support._replace(n_rarest=rarest) for name in of_label}
    found = estimates(statistics, supports, cfg)
    return tuple(
        LabelAgreement(
            label,
            int(yes_no[k][:, 1].sum()),
            int((yes_no[k][:, 1] > 0).sum()),
            *(found[f"{name} {k}"] for name in ("prevalence", "alpha", "ac1", "positive")),
        )
        for k, label in enumerate(sets.labels)
    )
