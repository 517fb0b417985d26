"""How much a rater's judgements count before the panel has spoken: from consistency and learnability.

1. *Consistency*: the lower 95 % bound of the rater's test–retest AC1. Until there are `min_retests` retests, or where all of
   them have one and the same answer, of the AC1 between the rater's answers and the mode of the others' (leave-one-out
   agreement). Who answers alike whatever is shown has proved no steadiness: AC1 would be 1 by its formula, and does not
   exist. Where neither can be measured, consistency is 0.
2. *Learnability*: can a simple classifier learn the rater's labels, from the evidence and from the rater's own rationale
   (`labeling.learnability`)?
3. w = clip((½ + ½ consistency) · (½ + ½ learnability), ¼, 1), drawn to the panel's mean by n₀ = 50 judgements.

A weight is a prior (pseudo-counts of `labeling.consensus`), never a gate: with judgements enough it is outweighed, and a
rater who is consistently different keeps a voice (`labeling.schools`).

Source: Sylolypavan et al. 2023, npj Digital Medicine 6:26, in which using only learnable annotators beat the majority; AC1
and its variance: Gwet 2008, Br. J. Math. Stat. Psychol. 61:29–48.
"""

from typing import NamedTuple

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt
from scipy.special import ndtri

from labeling.gwet import analytic
from labeling.ratings import Ratings
from sae.config import Settings
from sae.errors import UserError

ONE_SIDED = 0.95


class WeightsConfig(Settings, frozen=True):
    """How raters' weights are found."""

    min_retests: PositiveInt = Field(
        default=20,
        description="Retests from which on they replace agreement with the others as the sign of consistency.",
    )
    least: float = Field(
        default=0.25, gt=0, le=1, description="Smallest weight before it is drawn to the panel's mean."
    )
    shrinkage_judgements: NonNegativeFloat = Field(
        default=50.0, description="Judgements with which a rater's weight is half their own and half the panel's mean."
    )


class Agreement(NamedTuple):
    """AC1 between two columns of answers."""

    ac1: float | None
    """None where there is no pair, or all answers are of one category."""
    low: float | None
    """One-sided lower 95 % bound; none where there is no value, nor below two pairs."""
    n_pairs: int


class RaterWeight(NamedTuple):
    """One rater's weight and where it comes from."""

    rater: int
    weight: float
    own: float
    """Before it was drawn to the panel's mean."""
    consistency: float
    learnability: float
    source: str
    """`retest` or `others`: what consistency was measured on; `none` where nothing could tell."""
    n_pairs: int
    """Retests, or items with an answer of others."""
    n_judgements: int


def ac1(first: np.ndarray, second: np.ndarray, n_classes: int) -> Agreement:
    """Gwet's first-order agreement of pairs of answers, with the lower bound by his variance.

    The bound uses the variance with pairs as a sample of many; where all pairs agree, so that the variance is 0, one pair
    that differs is added, since a handful of agreements proves no certainty.

    Args:
        first: [n] ranks.
        second: [n] ranks of the same items.
        n_classes: Answers of the codebook.
    """
    n = len(first)
    if n == 0 or ((first == first[0]) & (second == first[0])).all():
        return Agreement(None, None, n)
    value, spread = with_spread(first, second, n_classes)
    if n == 1:
        return Agreement(value, None, n)
    if spread == 0:
        other = (int(first[0]) + 1) % n_classes
        value_then, spread = with_spread(np.r_[first, first[0]], np.r_[second, other], n_classes)
        return Agreement(value, float(max(min(value_then, value) - ndtri(ONE_SIDED) * spread, -1)), n)
    return Agreement(value, float(max(value - ndtri(ONE_SIDED) * spread, -1)), n)


def with_spread(first: np.ndarray, second: np.ndarray, n_classes: int) -> tuple[float, float]:
    """AC1 and its standard error."""
    found = analytic("ac", np.column_stack([first, second]), np.arange(n_classes), np.eye(n_classes))
    return found.value, found.se


def leave_one_out(ratings: Ratings, rater: int) -> tuple[np.ndarray, np.ndarray]:
    """A rater's answers, and the others' mode of the same items; items on which the others tie are left out."""
    own = ratings.only(ratings.rater == rater)
    others = ratings.only(ratings.rater != rater).counts()
    top = others.max(axis=1)
    clear = (top > 0) & ((others == top[:, None]).sum(axis=1) == 1)
    kept = clear[own.item]
    return own.label[kept], others.argmax(axis=1)[own.item[kept]]


def weights(
    ratings: Ratings,
    retests: dict[int, tuple[np.ndarray, np.ndarray]],
    learnability: np.ndarray,
    cfg: WeightsConfig,
) -> tuple[RaterWeight, ...]:
    """The weight of every rater of the panel.

    Args:
        ratings: The judgements, one per rater and item.
        retests: By rater, the first and second answers to the same items.
        learnability: [n_raters] of `labeling.learnability`, 0 where it could not be measured.
        cfg: The settings.

    Raises:
        UserError: Learnability that does not fit the panel.
    """
    given = np.asarray(learnability, float)
    if given.shape != (ratings.n_raters,) or not np.isfinite(given).all():
        raise UserError(
            f"Learnability has shape {given.shape}, expected {ratings.n_raters} finite numbers. Pass one per rater of the "
            "panel, 0 where it was not measured."
        )
    found, n, none = [], ratings.n_by_rater(), (np.zeros(0, int), np.zeros(0, int))
    for rater in range(ratings.n_raters):
        pairs, source = retests.get(rater, none), "retest"
        agreement = ac1(pairs[0], pairs[1], ratings.n_classes)
        if len(pairs[0]) < cfg.min_retests or agreement.low is None:
            pairs, source = leave_one_out(ratings, rater), "others"
            agreement = ac1(pairs[0], pairs[1], ratings.n_classes)
        if agreement.low is None:
            source = "none"
        consistency = max(agreement.low or 0.0, 0.0)
        own = formula(consistency, float(given[rater]), cfg.least)
        found.append(
            RaterWeight(rater, own, own, consistency, float(given[rater]), source, agreement.n_pairs, int(n[rater]))
        )
    active = [one.own for one in found if one.n_judgements]
    mean = float(np.mean(active)) if active else 1.0
    return tuple(one._replace(weight=shrunk(one, mean, cfg.shrinkage_judgements)) for one in found)


def formula(consistency: float, learnability: float, least: float) -> float:
    """The weight of a rater alone; negative skill counts as none."""
    product = (0.5 + 0.5 * max(consistency, 0.0)) * (0.5 + 0.5 * max(learnability, 0.0))
    return float(np.clip(product, least, 1))


def shrunk(one: RaterWeight, mean: float, n0: float) -> float:
    """A rater's own weight, drawn to the panel's mean by so many judgements; the mean where there is nothing else."""
    total = one.n_judgements + n0
    return mean if total == 0 or one.n_judgements == 0 else (one.n_judgements * one.own + n0 * mean) / total
