"""A rater against answers that are known: accuracy, and for each class sensitivity and specificity.

Only judgements given before the rater was told the answer may be passed. One rater's intervals are Wilson's. Where several
raters answered the same items, their answers are not independent, and whole items are resampled instead.

Source: Wilson 1927, doi:10.1080/01621459.1927.10502953, the score interval of a proportion.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from labeling.bootstrap import BootstrapConfig, estimates, ratio_of, together
from labeling.cohen import pair_table
from labeling.estimate import MIN_CLASS_UNITS, MIN_UNITS, Estimate, Support, undefined
from labeling.scale import Scale, checked
from sae.errors import UserError


class ClassAccuracy(NamedTuple):
    """One class."""

    name: str
    n_gold: int
    """Items whose known answer it is."""
    sensitivity: Estimate
    """Of these, how many the rater found."""
    specificity: Estimate
    """Of the others, how many the rater did not call so."""


class GoldAccuracy(NamedTuple):
    """One rater, or all of them pooled."""

    accuracy: Estimate
    classes: tuple[ClassAccuracy, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Rows are the known answers, columns the rater's, in the codebook's order."""


def wilson(n_right: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of n_right of n."""
    if not n:
        raise UserError("A proportion of no cases has no interval, expected one case at least. Leave it out.")
    z = float(ndtri(0.5 + confidence / 2))
    p = n_right / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low = 0.0 if n_right == 0 else float(middle - half)
    return low, 1.0 if n_right == n else float(middle + half)


def proportion(n_right: int, n: int, min_n: int = MIN_UNITS, confidence: float = 0.95) -> Estimate:
    """A share with Wilson's interval."""
    if not n:
        return undefined(Support(0, 1, 0), "There is no such item.")
    warning = f"Interval unreliable: {n} items, fewer than {min_n}." if n < min_n else ""
    low, high = wilson(n_right, n, confidence)
    return Estimate(n_right / n, low, high, n, 1, n, "Wilson", is_reliable=not warning, warning=warning)


def share_by_item(
    is_right: np.ndarray, item: np.ndarray, cfg: BootstrapConfig, min_n: int = MIN_UNITS, n_raters: int = 1
) -> Estimate:
    """A share of answers of several raters, with an interval from resampled items.

    Args:
        is_right: [n] bool.
        item: [n] which item each answer is of.
        cfg: Of the interval.
        min_n: Items from which on the interval is relied on.
        n_raters: Who answered.
    """
    _, group = np.unique(item, return_inverse=True)
    n_items = int(group.max(initial=-1)) + 1
    support = Support(n_items, n_raters, len(is_right))
    if not n_items:
        return undefined(Support(0, n_raters, 0), "There is no such item.")
    share = ratio_of(np.asarray(is_right, np.float64), np.ones(len(is_right)))
    found = estimates({"share": together(share, group)}, support, cfg)["share"]
    warning = f"Interval unreliable: {n_items} items, fewer than {min_n}." if n_items < min_n else ""
    return found._replace(warning=warning, is_reliable=not warning and found.low is not None)


def pooled_gold(
    answers: np.ndarray, gold: np.ndarray, items: np.ndarray, scale: Scale, cfg: BootstrapConfig, n_raters: int
) -> GoldAccuracy:
    """Accuracy of several raters on the same items.

    Args:
        answers: [n] ranks, NaN where a rater gave none.
        gold: [n] known answers, NaN where there is none.
        items: [n] which item each answer is of.
        scale: The codebook's.
        cfg: Of the intervals, which resample items.
        n_raters: Who answered.
    """
    plain = against_gold(answers, gold, scale, cfg.confidence)
    both = ~np.isnan(answers) & ~np.isnan(gold)
    given, known, item = answers[both], gold[both], items[both]
    classes = []
    for level, one in zip(scale.levels or (), plain.classes, strict=True):
        is_of = known == level
        classes.append(
            one._replace(
                sensitivity=share_by_item(given[is_of] == level, item[is_of], cfg, MIN_CLASS_UNITS, n_raters),
                specificity=share_by_item(given[~is_of] != level, item[~is_of], cfg, MIN_CLASS_UNITS, n_raters),
            )
        )
    return plain._replace(accuracy=share_by_item(given == known, item, cfg, n_raters=n_raters), classes=tuple(classes))


def against_gold(answers: np.ndarray, gold: np.ndarray, scale: Scale, confidence: float = 0.95) -> GoldAccuracy:
    """Accuracy of one rater's answers.

    Args:
        answers: [n] ranks, NaN where the rater gave none.
        gold: [n] known answers, NaN where there is none.
        scale: The codebook's.
        confidence: Of the intervals.
    """
    if scale.levels is None:
        raise UserError("The scale has no levels, expected the codebook's. Name its categories.")
    checked(np.column_stack([answers, gold]), scale)
    table = pair_table(np.asarray(gold, np.float64), np.asarray(answers, np.float64), np.asarray(scale.levels))
    n = int(table.sum())
    classes = []
    for k in range(len(table)):
        positives, called = int(table[k].sum()), int(table[:, k].sum())
        right = int(table[k, k])
        negatives = n - positives
        classes.append(
            ClassAccuracy(
                scale.name(k),
                positives,
                proportion(right, positives, MIN_CLASS_UNITS, confidence),
                proportion(negatives - (called - right), negatives, MIN_CLASS_UNITS, confidence),
            )
        )
    confusion = tuple(tuple(map(int, row)) for row in table)
    return GoldAccuracy(proportion(int(np.trace(table)), n, confidence=confidence), tuple(classes), confusion)
