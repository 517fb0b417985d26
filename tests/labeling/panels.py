"""Panels whose truth is known: raters with given confusion matrices, each item judged by some of them."""

from typing import NamedTuple

import numpy as np

from labeling.ratings import Ratings


class Panel(NamedTuple):
    """Judgements and the truth behind them."""

    ratings: Ratings
    truth: np.ndarray
    """[n_items]."""


def shifted(accuracies: tuple[float, ...], n_classes: int) -> np.ndarray:
    """[n_raters, n_classes, n_classes]: every error takes class k for k + 1."""
    wrong = np.roll(np.eye(n_classes), 1, axis=1)
    return np.asarray([a * np.eye(n_classes) + (1 - a) * wrong for a in accuracies])


def even(accuracies: tuple[float, ...], n_classes: int) -> np.ndarray:
    """[n_raters, n_classes, n_classes]: errors fall on all other classes alike."""
    wrong = (1 - np.eye(n_classes)) / (n_classes - 1)
    return np.asarray([a * np.eye(n_classes) + (1 - a) * wrong for a in accuracies])


def simulated(confusion: np.ndarray, n_items: int, overlap: int, seed: int) -> Panel:
    """Items of evenly frequent classes, each judged once by `overlap` raters drawn at random."""
    rng = np.random.default_rng(seed)
    n_raters, n_classes, _ = confusion.shape
    truth = rng.integers(0, n_classes, n_items)
    raters = np.argsort(rng.random((n_items, n_raters)), axis=1)[:, :overlap].ravel()
    items = np.repeat(np.arange(n_items), overlap)
    chances = confusion[raters, truth[items]].cumsum(axis=1)
    labels = (rng.random((len(items), 1)) > chances[:, :-1]).sum(axis=1)
    return Panel(Ratings(items, raters, labels, n_items, n_raters, n_classes), truth)


def two_schools(seed: int) -> Ratings:
    """Six raters; on a third of the items the last three mean class 2 where the first three mean class 1."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, 150)
    item, rater = np.repeat(np.arange(150), 6), np.tile(np.arange(6), 150)
    meant = np.where((rater >= 3) & (truth[item] == 1) & (item % 3 > 0), 2, truth[item])
    label = np.where(rng.random(900) < 0.9, meant, rng.integers(0, 3, 900))
    return Ratings(item, rater, label, 150, 6, 3)
