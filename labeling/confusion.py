"""Items with an unknown true class, raters with a confusion matrix each: expectation and maximisation in log space.

1. Rater r says l of an item of class k with probability `confusion[r, k, l]`; judgements are independent given the class.
2. E: the posterior of each item's class from all its judgements. M: matrices and class prior from expected counts plus
   pseudo-counts (the mode under Dirichlet priors with concentration pseudo-count + 1).
3. The objective, log-likelihood plus log prior (without its constant), never falls; of several starts the best is kept.

With pseudo-counts of zero this is maximum likelihood, see `labeling.dawid_skene`; where the pseudo-counts come from is
`labeling.hierarchy`.

Source: Dawid and Skene 1979, "Maximum likelihood estimation of observer error-rates using the EM algorithm", Appl. Stat.
28:20–28.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from labeling.log_space import log_sum
from labeling.ratings import Ratings

TINY = 1e-300
"""Stands for zero under a logarithm: no posterior can tell it from zero, and no sum becomes undefined."""
TOLERANCE = 1e-10
"""Rise of the objective per judgement that counts as none."""
MAX_STEPS = 500


class Prior(NamedTuple):
    """Pseudo-counts: what is believed before the first judgement, as if so many judgements had been seen."""

    confusion: np.ndarray
    """[n_raters, n_classes, n_classes] by true class and answer."""
    classes: np.ndarray
    """[n_classes] items of each class."""


class Fit(NamedTuple):
    """Raters and items as a model sees them."""

    posterior: np.ndarray
    """[n_items, n_classes] of the true class."""
    classes: np.ndarray
    """[n_classes] how frequent each class is."""
    confusion: np.ndarray
    """[n_raters, n_classes, n_classes] probability of an answer given the true class."""
    log_likelihood: float
    """Of all judgements, the classes summed out."""
    objectives: tuple[float, ...]
    """Log-likelihood plus log prior at every step; it never falls."""

    @property
    def objective(self) -> float:
        """Where it ended."""
        return self.objectives[-1]


def fit(ratings: Ratings, prior: Prior, starts: Iterable[np.ndarray], max_steps: int = MAX_STEPS) -> Fit:
    """The best of the fits from several starting posteriors.

    Args:
        ratings: The judgements.
        prior: Pseudo-counts, all zero for maximum likelihood.
        starts: Posteriors [n_items, n_classes] to begin with.
        max_steps: At most so many.
    """
    answers = ratings.answers
    return max((climb(answers, ratings, prior, start, max_steps) for start in starts), key=lambda one: one.objective)


def climb(answers: object, ratings: Ratings, prior: Prior, start: np.ndarray, max_steps: int) -> Fit:
    """Expectation and maximisation from one start until the objective stands still."""
    posterior, objectives = start, []
    while True:
        classes = shares(posterior.sum(axis=0) + prior.classes)
        confusion = shares(expected_counts(answers, posterior, ratings) + prior.confusion)
        joint = joint_log(answers, classes, confusion)
        evidence = log_sum(joint)
        likelihood = float(evidence.sum())
        objectives.append(likelihood + log_prior(prior, classes, confusion))
        posterior = np.exp(joint - evidence)
        rise = np.inf if len(objectives) == 1 else objectives[-1] - objectives[-2]
        if rise < TOLERANCE * max(len(ratings), 1) or len(objectives) == max_steps:
            return Fit(posterior, classes, confusion, likelihood, tuple(objectives))


def expected_counts(answers: object, posterior: np.ndarray, ratings: Ratings) -> np.ndarray:
    """[n_raters, n_classes, n_classes] how often each rater is thought to have given each answer to each class."""
    flat = answers.T @ posterior  # type: ignore[attr-defined] # array or sparse array
    return flat.reshape(ratings.n_raters, ratings.n_classes, ratings.n_classes).transpose(0, 2, 1)


def given(confusion: np.ndarray, ratings: Ratings) -> np.ndarray:
    """[n, n_classes] what stands in [n_raters, n_classes, n_classes] for each judgement's rater and answer, by true class."""
    rows = confusion.transpose(0, 2, 1).reshape(-1, ratings.n_classes)
    return rows[ratings.rater * ratings.n_classes + ratings.label]


def joint_log(answers: object, classes: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """[n_items, n_classes] log-probability of an item's class and judgements together."""
    columns = np.log(np.maximum(confusion, TINY)).transpose(0, 2, 1).reshape(-1, len(classes))
    return np.log(np.maximum(classes, TINY)) + answers @ columns  # type: ignore[operator]


def log_prior(prior: Prior, classes: np.ndarray, confusion: np.ndarray) -> float:
    """Logarithm of the Dirichlet priors' densities, without the constant."""
    matrices = (prior.confusion * np.log(np.maximum(confusion, TINY))).sum()
    return float(matrices + (prior.classes * np.log(np.maximum(classes, TINY))).sum())


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts divided by the sum of their last axis; equal shares where that is zero."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / counts.shape[-1])


def left_out_posterior(ratings: Ratings, found: Fit, prior: Prior) -> np.ndarray:
    """[n_items, n_classes] posteriors in which no item vouches for the raters that judged it.

    A fit is surest of its items because each item has taught it to trust those who judged the item as it did. Here an
    item's own expected counts are taken off before its raters' matrices judge it: one step of collapsed variational
    inference (CVB0), which is nearly exact, and far better calibrated on small panels.

    Source: Asuncion et al. 2009, "On smoothing and inference for topic models" (CVB0).
    """
    own = found.posterior
    counts = expected_counts(ratings.answers, own, ratings) + prior.confusion
    totals = counts.sum(axis=2)
    item, rater, times = ratings.item, ratings.rater, ratings.repeats
    own_of_judged = own[item]
    above = np.maximum(given(counts, ratings) - times.same[:, None] * own_of_judged, TINY)
    below = np.maximum(totals[rater] - times.of_rater[:, None] * own_of_judged, TINY)
    joint = np.log(np.maximum(own.sum(axis=0) + prior.classes - own, TINY))
    np.add.at(joint, item, np.log(above) - np.log(below))
    return np.exp(joint - log_sum(joint))
