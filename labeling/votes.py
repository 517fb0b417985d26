"""Counting: the distribution of answers to each item, which every other reading stands beside and never replaces."""

import numpy as np
from scipy.special import entr

from labeling.ratings import Ratings

TIE = 1e-9
"""Shares that differ by less are equal."""


def vote_share(ratings: Ratings) -> np.ndarray:
    """[n_items, n_classes] share of each answer; equal shares where nobody judged."""
    return smoothed_share(ratings, 0.0)


def smoothed_share(ratings: Ratings, pseudo_votes: float) -> np.ndarray:
    """[n_items, n_classes] shares after so many votes more, spread evenly over all answers."""
    counts = ratings.counts() + pseudo_votes / ratings.n_classes
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / ratings.n_classes)


def winners(distribution: np.ndarray) -> np.ndarray:
    """[n_items, n_classes] bool: the answers that nothing exceeds; several where they tie."""
    return distribution >= distribution.max(axis=1, keepdims=True) - TIE


def winner(distribution: np.ndarray) -> np.ndarray:
    """[n_items] the likeliest answer, −1 where several tie."""
    best = winners(distribution)
    return np.where(best.sum(axis=1) == 1, best.argmax(axis=1), -1)


def entropy(distribution: np.ndarray) -> np.ndarray:
    """[n_items] entropy in bits."""
    return entr(distribution).sum(axis=1) / np.log(2) + 0.0  # no −0
