"""Two schools among the raters? A cluster check on how pairs of raters agree beyond what the panel's model expects.

1. The residual agreement of two raters: on items that both judged, agreement observed minus agreement that the consensus
   model expects of two raters with their matrices who do not know of each other.
2. The eigenvector of the largest eigenvalue of that matrix (standardised by its standard error) splits the raters by sign.
3. The eigenvalue is compared with those of panels simulated from the model, in which there are no schools.

Where a split stands out, each school is read alone: both readings are kept beside the panel's, and the items on which
they differ are listed. A school is a finding (cardiology and emergency medicine may name one thing by two names), not
an error of the smaller one.
"""

from typing import NamedTuple

import numpy as np

from labeling.confusion import shares
from labeling.consensus import Consensus, ConsensusConfig, Reading, consensus
from labeling.ratings import Ratings

LEVEL = 0.05
MIN_RATERS = 4
"""Fewer cannot form two schools of two."""


class Schools(NamedTuple):
    """A split of the panel, and whether it is more than chance."""

    school: np.ndarray
    """[n_raters] 0 or 1; −1 for raters who share no item with others."""
    eigenvalue: float
    p_value: float
    """Share of panels without schools whose eigenvalue is as large."""
    is_split: bool
    """The p-value is at most .05 and both schools have two raters or more."""
    readings: tuple[Reading, ...]
    """Of each school alone, if the panel is split."""
    differing: tuple[int, ...]
    """Items whose winner is not the same in both schools, both having one."""


def schools(ratings: Ratings, found: Consensus, cfg: ConsensusConfig, n_simulated: int = 199) -> Schools:
    """Looks for two schools in a panel that has been read.

    Args:
        ratings: The judgements, one per rater and item.
        found: Their consensus.
        cfg: Its settings; the seed is that of the simulated panels too.
        n_simulated: Panels without schools to compare with.
    """
    value, vector = leading(residuals(ratings, found.map.distribution, found.confusion))
    met = pair_counts(ratings).sum(axis=1) > 0
    side = np.where(met, (vector > 0).astype(int), -1)
    rng = np.random.default_rng(cfg.seed)
    null = [leading(simulated_residuals(ratings, found, rng))[0] for _ in range(n_simulated)]
    p_value = (1 + sum(one >= value for one in null)) / (1 + n_simulated)
    sizes = [int((side == number).sum()) for number in (0, 1)]
    is_split = ratings.n_raters >= MIN_RATERS and p_value <= LEVEL and min(sizes) >= 2
    if not is_split:
        return Schools(side, value, p_value, False, (), ())
    readings = tuple(consensus(ratings.only(side[ratings.rater] == number), cfg).map for number in (0, 1))
    first, second = (one.winner for one in readings)
    differing = np.flatnonzero((first >= 0) & (second >= 0) & (first != second))
    return Schools(side, value, p_value, True, readings, tuple(map(int, differing)))


def residuals(ratings: Ratings, posterior: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """[n_raters, n_raters] standardised residual agreement; 0 on the diagonal and where two raters share no item."""
    observed, variance, expected = (np.zeros((ratings.n_raters,) * 2) for _ in range(3))
    for first, second, item, agrees in pairs(ratings):
        both = (confusion[first] * confusion[second]).sum(axis=2)  # [n, n_classes] chance to agree, given the class
        chance = (posterior[item] * both).sum(axis=1)
        np.add.at(observed, (first, second), agrees)
        np.add.at(expected, (first, second), chance)
        np.add.at(variance, (first, second), chance * (1 - chance))
    difference = np.where(variance > 0, (observed - expected) / np.sqrt(np.where(variance > 0, variance, 1)), 0.0)
    return (difference + difference.T) / 2


def pairs(ratings: Ratings) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """All pairs of judgements of one item, both ways round: first and second rater, item, whether they agree."""
    order = np.argsort(ratings.item, kind="stable")
    item, rater, label = ratings.item[order], ratings.rater[order], ratings.label[order]
    found = []
    for gap in range(1, int(ratings.n_judgements().max(initial=0))):
        same = (item[gap:] == item[:-gap]) & (rater[gap:] != rater[:-gap])
        a, b = rater[:-gap][same], rater[gap:][same]
        agrees = (label[:-gap][same] == label[gap:][same]).astype(float)
        place = item[:-gap][same]
        found += [(a, b, place, agrees), (b, a, place, agrees)]
    return found


def pair_counts(ratings: Ratings) -> np.ndarray:
    """[n_raters, n_raters] items that two raters share."""
    counts = np.zeros((ratings.n_raters,) * 2)
    for first, second, _, agrees in pairs(ratings):
        np.add.at(counts, (first, second), np.ones_like(agrees))
    return counts


def leading(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of the matrix with its mean taken off rows and columns, and its vector.

    The mean goes because raters who agree more than expected all alike are no schools.
    """
    centred = matrix - matrix.mean(axis=0) - matrix.mean(axis=1)[:, None] + matrix.mean()
    values, vectors = np.linalg.eigh(centred)
    vector = vectors[:, -1]
    return float(values[-1]), vector * (1 if vector[np.abs(vector).argmax()] > 0 else -1)


def simulated_residuals(ratings: Ratings, found: Consensus, rng: np.random.Generator) -> np.ndarray:
    """Residuals of a panel of the same design in which raters know nothing of each other."""
    truth = (found.map.distribution.cumsum(axis=1)[:, :-1] < rng.random((ratings.n_items, 1))).sum(axis=1)
    chances = found.confusion[ratings.rater, truth[ratings.item]].cumsum(axis=1)[:, :-1]
    labels = (chances < rng.random((len(ratings), 1))).sum(axis=1)
    fake = Ratings(ratings.item, ratings.rater, labels, ratings.n_items, ratings.n_raters, ratings.n_classes)
    return residuals(fake, reread(fake, found), found.confusion)


def reread(fake: Ratings, found: Consensus) -> np.ndarray:
    """[n_items, n_classes] the fitted model's posterior of other judgements."""
    joint = np.tile(np.log(np.maximum(found.classes, 1e-12)), (fake.n_items, 1))
    np.add.at(joint, fake.item, np.log(np.maximum(found.confusion[fake.rater, :, fake.label], 1e-12)))
    return shares(np.exp(joint - joint.max(axis=1, keepdims=True)))
