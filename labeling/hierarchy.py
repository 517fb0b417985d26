"""A panel of raters: what one rater's confusion matrix can borrow from the others, and when it stops borrowing.

1. One coin: every rater has an accuracy, errors are spread evenly (`labeling.one_coin`).
2. The panel: which answer is mistaken for which is pooled over all raters, `panel_judgements` pseudo-counts per class
   away from even errors.
3. The rater: each starts from the panel's matrix, its diagonal moved on the logit scale by as much as the rater's accuracy
   differs from the panel's, and needs `rater_judgements` judgements of a class to be believed half as much as it.

So with few items it is one coin; as items grow, first the panel's common confusions appear, then each rater's own. The
prior is renewed from the posterior a few times; between two renewals the objective of `labeling.confusion` never falls.
The posteriors handed out are left-out posteriors (same module), because those of the fit are too sure on small panels.

Source: partial pooling, Paun et al. 2018, "Comparing Bayesian models of annotation" (TACL 6:571–585), whose hierarchical
Dawid–Skene is the model most often best.
# Differs from it: modes by expectation and maximisation, not samples, so that the same input gives the same bytes in
# milliseconds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from labeling import confusion
from labeling.confusion import Fit, Prior, expected_counts, left_out_posterior, shares
from labeling.one_coin import OneCoin, OneCoinPrior, expected_accuracy, matrices
from labeling.ratings import Ratings

EDGE = 0.005
"""Accuracies are kept so far from 0 and 1, where logits have no end."""


class Pooling(NamedTuple):
    """How strongly raters borrow."""

    panel_judgements: float
    """Pseudo-counts per class by which the panel's matrix is drawn to even errors."""
    rater_judgements: float
    """Pseudo-counts per class by which a rater's matrix is drawn to the panel's."""


class Hierarchy(NamedTuple):
    """A fitted panel."""

    posterior: np.ndarray
    """[n_items, n_classes] left-out posterior: what is handed out."""
    fit: Fit
    """The mode under the last prior, with the raters' matrices."""
    prior: Prior
    """The last prior."""


def hierarchical(
    ratings: Ratings,
    coin: OneCoin,
    prior: OneCoinPrior,
    pooling: Pooling,
    rounds: int = 3,
    max_steps: int = confusion.MAX_STEPS,
    starts: Sequence[np.ndarray] = (),
) -> Hierarchy:
    """Fits a panel, starting from its one-coin fit.

    Args:
        ratings: The judgements.
        coin: The one-coin fit of the same judgements.
        prior: Its prior; accuracies and classes keep it.
        pooling: How strongly raters borrow.
        rounds: How often the prior is renewed.
        max_steps: Steps of each fit, at most.
        starts: More posteriors to try in the first round.
    """
    posterior, found, own = coin.fit.posterior, None, None
    for number in range(rounds):
        own = panel_prior(ratings, posterior, prior, pooling)
        more = starts if number == 0 else ()
        found = confusion.fit(ratings, own, [posterior, *more], max_steps)
        posterior = found.posterior
    if found is None or own is None:
        raise ValueError(f"rounds={rounds}, expected one or more")
    return Hierarchy(left_out_posterior(ratings, found, own), found, own)


def panel_prior(ratings: Ratings, posterior: np.ndarray, prior: OneCoinPrior, pooling: Pooling) -> Prior:
    """Pseudo-counts of every rater's matrix, from the panel's matrix and the rater's accuracy."""
    accuracy = np.clip(expected_accuracy(ratings, posterior, prior), EDGE, 1 - EDGE)
    counts = expected_counts(ratings.answers, posterior, ratings).sum(axis=0)
    right = np.bincount(np.zeros(len(ratings), int), posterior[ratings.item, ratings.label], 1)[0]
    typical = (right + prior.n_judgements * prior.accuracy.mean()) / (len(ratings) + prior.n_judgements)
    typical = float(np.clip(typical, EDGE, 1 - EDGE))
    even = matrices(np.asarray([typical]), prior.errors)[0]
    panel = shares(counts + pooling.panel_judgements * even)
    return Prior(pooling.rater_judgements * tempered(panel, accuracy, typical), prior.classes)


def tempered(panel: np.ndarray, accuracy: np.ndarray, typical: float) -> np.ndarray:
    """[n_raters, n_classes, n_classes] the panel's matrix, as accurate as each rater: errors keep their proportions.

    Args:
        panel: [n_classes, n_classes], rows summing to 1.
        accuracy: [n_raters].
        typical: The panel's accuracy.
    """
    hits = np.clip(np.diagonal(panel), EDGE, 1 - EDGE)
    moved = expit(logit(hits) + logit(accuracy)[:, None] - logit(typical))
    wrong = ~np.eye(len(panel), dtype=bool)
    errors = shares(np.where(wrong, panel, 0.0))
    return np.where(wrong, errors * (1 - moved)[:, :, None], moved[:, :, None])
