"""Which consensus model to believe: the one that best foretells the answer of a rater who was left out.

1. The judgements are dealt into folds so that those of one item fall into different folds, and those of one rater on one
   item into the same.
2. Without a fold, each model says from the other raters' judgements of the item, and from the left-out rater's other
   items, how likely each answer is. Its figure is the mean log-loss of the answers given.
3. A model's share of the consensus is proportional to exp(−n · log-loss): the probability it gave to all answers left out.

Nothing here knows the truth, and nothing needs it: a model that takes common confusions for what they are foretells
them.

Source: weights by cross-validated predictive density (pseudo-BMA), Yao et al. 2018, arXiv:1704.02030.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from labeling.confusion import given
from labeling.log_space import log_sum
from labeling.ratings import Ratings


class Predictive(NamedTuple):
    """What a fitted model needs to foretell an answer."""

    posterior: np.ndarray
    """[n_items, n_classes] of the true class, or of whatever stands for it."""
    confusion: np.ndarray
    """[n_raters, n_classes, n_classes]."""


class Choice(NamedTuple):
    """How well each model foretold left-out answers."""

    names: tuple[str, ...]
    log_loss: tuple[float, ...]
    """Mean over judgements, in nats, in the order of the names."""
    share: tuple[float, ...]
    """Of each model in the consensus; they sum to 1."""
    n_judgements: int

    @property
    def best(self) -> str:
        """The model that foretold best."""
        return self.names[int(np.argmin(self.log_loss))]


def choose(
    ratings: Ratings,
    models: Callable[[Ratings], dict[str, Predictive]],
    names: tuple[str, ...],
    n_folds: int,
    seed: int,
) -> Choice:
    """Compares models by what they foretell of answers they were not shown.

    Args:
        ratings: The judgements.
        models: Fits all models to some judgements.
        names: Which of them may take part in the consensus.
        n_folds: How many folds.
        seed: Of the folds.
    """
    loss = left_out_losses(ratings, models, n_folds, seed)
    means = [float(loss[name].mean()) if len(ratings) else 0.0 for name in names]
    joint = -len(ratings) * np.asarray([means])
    weights = np.exp(joint - log_sum(joint))[0]
    return Choice(names, tuple(means), tuple(map(float, weights)), len(ratings))


def left_out_losses(
    ratings: Ratings, models: Callable[[Ratings], dict[str, Predictive]], n_folds: int, seed: int
) -> dict[str, np.ndarray]:
    """[n] −log of the probability that each model gave to each judgement, unseen."""
    fold, losses = folds(ratings, n_folds, seed), {}
    for number in range(n_folds):
        out = fold == number
        if not out.any():
            continue
        left_out = ratings.only(out)
        for name, model in models(ratings.only(~out)).items():
            likelihood = given(model.confusion, left_out)
            found = -np.log(np.einsum("nk,nk->n", model.posterior[left_out.item], likelihood))
            losses.setdefault(name, np.zeros(len(ratings)))[out] = found
    return losses


def folds(ratings: Ratings, n_folds: int, seed: int) -> np.ndarray:
    """[n] fold of each judgement."""
    pairs, place = np.unique(ratings.item * ratings.n_raters + ratings.rater, return_inverse=True)
    rng = np.random.default_rng(seed)
    item = pairs // ratings.n_raters
    order = np.lexsort((rng.random(len(pairs)), item))  # raters of an item in random order
    first = np.searchsorted(item, item)  # pairs are sorted, so by item
    rank = np.empty(len(pairs), int)
    rank[order] = np.arange(len(pairs))
    offset = rng.integers(0, n_folds, ratings.n_items)
    return ((rank - first + offset[item]) % n_folds)[place]
