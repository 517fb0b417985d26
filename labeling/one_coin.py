"""Raters with a single accuracy each, and errors that are all alike: the consensus that needs the fewest judgements.

The model of `labeling.confusion` with matrices of one number per rater: `accuracy` on the diagonal, the rest where
`errors` says: shared evenly, or nearer to the truth where answers are ordered. The accuracy has a Beta prior worth
`n_judgements` judgements.

Source: the one-coin model of Zhang et al. 2014, arXiv:1406.3824, here with priors.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from labeling.confusion import MAX_STEPS, TINY, TOLERANCE, Fit, joint_log, shares
from labeling.log_space import log_sum
from labeling.ratings import Ratings


class OneCoinPrior(NamedTuple):
    """What is believed of raters and classes before the first judgement."""

    accuracy: np.ndarray
    """[n_raters] expected accuracy."""
    n_judgements: float
    """Judgements that belief is worth."""
    classes: np.ndarray
    """[n_classes] pseudo-counts of items."""
    errors: np.ndarray
    """[n_classes, n_classes] where the errors of a class go: 0 on the diagonal, rows summing to 1."""


class OneCoin(NamedTuple):
    """The fit, and the raters' accuracies in it."""

    fit: Fit
    accuracy: np.ndarray
    """[n_raters]."""


def one_coin(
    ratings: Ratings, prior: OneCoinPrior, starts: Iterable[np.ndarray], max_steps: int = MAX_STEPS
) -> OneCoin:
    """The best of the fits from several starting posteriors [n_items, n_classes]."""
    answers = ratings.answers
    return max(
        (climb(answers, ratings, prior, start, max_steps) for start in starts), key=lambda one: one.fit.objective
    )


def climb(answers: object, ratings: Ratings, prior: OneCoinPrior, start: np.ndarray, max_steps: int) -> OneCoin:
    """Expectation and maximisation from one start until the objective stands still."""
    posterior, objectives = start, []
    while True:
        classes = shares(posterior.sum(axis=0) + prior.classes)
        accuracy = expected_accuracy(ratings, posterior, prior)
        confusion = matrices(accuracy, prior.errors)
        joint = joint_log(answers, classes, confusion)
        evidence = log_sum(joint)
        likelihood = float(evidence.sum())
        objectives.append(likelihood + log_prior(prior, classes, accuracy))
        posterior = np.exp(joint - evidence)
        rise = np.inf if len(objectives) == 1 else objectives[-1] - objectives[-2]
        if rise < TOLERANCE * max(len(ratings), 1) or len(objectives) == max_steps:
            return OneCoin(Fit(posterior, classes, confusion, likelihood, tuple(objectives)), accuracy)


def expected_accuracy(ratings: Ratings, posterior: np.ndarray, prior: OneCoinPrior) -> np.ndarray:
    """[n_raters] share of right answers under a posterior, with the prior's judgements."""
    right = np.bincount(ratings.rater, posterior[ratings.item, ratings.label], ratings.n_raters)
    return (right + prior.n_judgements * prior.accuracy) / (ratings.n_by_rater() + prior.n_judgements)


def matrices(accuracy: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """[n_raters, n_classes, n_classes] with the accuracy on the diagonal and the rest where errors go."""
    return accuracy[:, None, None] * np.eye(len(errors)) + (1 - accuracy[:, None, None]) * errors


def even_errors(n_classes: int) -> np.ndarray:
    """[n_classes, n_classes] every wrong answer equally likely."""
    return (1 - np.eye(n_classes)) / (n_classes - 1)


def near_errors(n_classes: int) -> np.ndarray:
    """[n_classes, n_classes] for ordered answers: each rank further from the truth halves the probability."""
    distance = np.abs(np.subtract.outer(np.arange(n_classes), np.arange(n_classes)))
    return shares(np.where(distance > 0, 0.5**distance, 0.0))


def log_prior(prior: OneCoinPrior, classes: np.ndarray, accuracy: np.ndarray) -> float:
    """Logarithm of the priors' densities, without the constant."""
    right = prior.accuracy * np.log(np.maximum(accuracy, TINY))
    wrong = (1 - prior.accuracy) * np.log(np.maximum(1 - accuracy, TINY))
    return float(prior.n_judgements * (right + wrong).sum() + (prior.classes * np.log(np.maximum(classes, TINY))).sum())
