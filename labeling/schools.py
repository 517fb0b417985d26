"""Two schools among the raters? A cluster check on how pairs of raters agree beyond what the panel's model expects.

1. The residual agreement of two raters: on items that both judged, agreement observed minus agreement that the consensus
   model expects of two raters with their matrices who do not know of each other.
2. The eigenvector of the largest eigenvalue of that matrix (standardised by its standard error) splits the raters by sign.
3. The eigenvalue is compared with those of panels simulated from the model, in which there are no schools. Of a large panel
   this is done on `MOST_ITEMS` items, drawn by the seed: they tell it as well, and cost a fraction.

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
MOST_ITEMS = 2500
"""Items on which schools are looked for; the readings and the items on which they differ are of all."""
LEAST_VARIANCE = 1e-9
"""Of the number of agreements of two raters; below, they share no item, or nothing is uncertain but rounding."""
CELLS = 2_000_000
"""Pairs of raters × items held at once: 16 MB."""


class Model(NamedTuple):
    """A consensus as panels are simulated from it."""

    posterior: np.ndarray
    """[n_items, n_classes]."""
    confusion: np.ndarray
    """[n_raters, n_classes, n_classes]."""
    classes: np.ndarray
    """[n_classes]."""


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


def schools(
    ratings: Ratings, found: Consensus, cfg: ConsensusConfig, n_simulated: int = 199, is_ordinal: bool = False
) -> Schools:
    """Looks for two schools in a panel that has been read.

    Args:
        ratings: The judgements, one per rater and item.
        found: Their consensus.
        cfg: Its settings; the seed is that of the simulated panels too.
        n_simulated: Panels without schools to compare with.
        is_ordinal: Whether the codebook's order has a meaning, for each school's own reading.
    """
    rng = np.random.default_rng(cfg.seed)
    some, kept = drawn(ratings, rng)
    model = Model(found.map.distribution[kept], found.confusion, found.classes)
    value, vector = leading(residuals(some, model.posterior, model.confusion))
    met = pair_counts(some).sum(axis=1) > 0
    side = np.where(met, (vector > 0).astype(int), -1)
    null = [leading(simulated_residuals(some, model, rng))[0] for _ in range(n_simulated)]
    p_value = (1 + sum(one >= value for one in null)) / (1 + n_simulated)
    sizes = [int((side == number).sum()) for number in (0, 1)]
    is_split = ratings.n_raters >= MIN_RATERS and p_value <= LEVEL and min(sizes) >= 2
    if not is_split:
        return Schools(side, value, p_value, False, (), ())
    readings = tuple(
        consensus(ratings.only(side[ratings.rater] == number), cfg, is_ordinal=is_ordinal).map for number in (0, 1)
    )
    first, second = (one.winner for one in readings)
    differing = np.flatnonzero((first >= 0) & (second >= 0) & (first != second))
    return Schools(side, value, p_value, True, readings, tuple(map(int, differing)))


def drawn(ratings: Ratings, rng: np.random.Generator) -> tuple[Ratings, np.ndarray]:
    """The judgements of at most so many items, numbered anew, and which items they are."""
    if ratings.n_items <= MOST_ITEMS:
        return ratings, np.arange(ratings.n_items)
    kept = np.sort(rng.choice(ratings.n_items, MOST_ITEMS, replace=False))
    place = np.full(ratings.n_items, -1)
    place[kept] = np.arange(MOST_ITEMS)
    item = place[ratings.item]
    is_in = item >= 0
    columns = (item[is_in], ratings.rater[is_in], ratings.label[is_in])
    return Ratings(*columns, MOST_ITEMS, ratings.n_raters, ratings.n_classes), kept


def residuals(ratings: Ratings, posterior: np.ndarray, confusion: np.ndarray) -> np.ndarray:
    """[n_raters, n_raters] standardised residual agreement; 0 on the diagonal and where two raters share no item.

    All pairs of judgements at once, as sums over items: two raters agree on an item with chance Σ_c p_c · B_c, B_c being what
    their matrices say of class c. The expected number of agreements sums this, its variance this less its square.
    """
    n, (low, high) = ratings.n_raters, np.triu_indices(ratings.n_raters, 1)
    first, second = np.triu_indices(ratings.n_classes)
    both = np.einsum("rck,sck->rsc", confusion, confusion)[low, high]  # [n_pairs, n_classes] chance to agree, by class
    squares = both[:, first] * both[:, second] * np.where(first == second, 1, 2)
    moments = np.column_stack([posterior, posterior[:, first] * posterior[:, second]])
    sums = met_sums(design(ratings), moments, low, high)
    expected = (sums[:, : ratings.n_classes] * both).sum(axis=1)
    variance = expected - (sums[:, ratings.n_classes :] * squares).sum(axis=1)
    answers = ratings.answers
    gram = answers.T @ answers if isinstance(answers, np.ndarray) else (answers.T @ answers).toarray()
    agreed = np.einsum("rksk->rs", gram.reshape(n, ratings.n_classes, n, ratings.n_classes))[low, high]
    some = variance > LEAST_VARIANCE
    found = np.zeros((n, n))
    found[low, high] = np.where(some, (agreed - expected) / np.sqrt(np.where(some, variance, 1)), 0.0)
    return found + found.T


def design(ratings: Ratings) -> np.ndarray:
    """[n_items, n_raters] how often each rater judged each item."""
    cells = np.bincount(ratings.item * ratings.n_raters + ratings.rater, minlength=ratings.n_items * ratings.n_raters)
    return cells.reshape(ratings.n_items, ratings.n_raters).astype(float)


def met_sums(given: np.ndarray, moments: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[n_pairs, n_moments] sums of items' moments over pairs of judgements of each two raters.

    Args:
        given: [n_items, n_raters] judgements.
        moments: [n_items, n_moments].
        low: [n_pairs] first rater of each pair.
        high: [n_pairs] second.
    """
    at_once = max(1, CELLS // max(len(low), 1))
    total = np.zeros((len(low), moments.shape[1]))
    for start in range(0, len(given), at_once):
        columns = np.ascontiguousarray(given[start : start + at_once].T)
        total += (columns[low] * columns[high]) @ moments[start : start + at_once]
    return total


def pair_counts(ratings: Ratings) -> np.ndarray:
    """[n_raters, n_raters] pairs of judgements of one item that two raters share; 0 on the diagonal."""
    given = design(ratings)
    counts = given.T @ given
    np.fill_diagonal(counts, 0)
    return counts


def leading(matrix: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest eigenvalue of the matrix with its mean taken off rows and columns, and its vector.

    The mean goes because raters who agree more than expected all alike are no schools.
    """
    centred = matrix - matrix.mean(axis=0) - matrix.mean(axis=1)[:, None] + matrix.mean()
    values, vectors = np.linalg.eigh(centred)
    vector = vectors[:, -1]
    return float(values[-1]), vector * (1 if vector[np.abs(vector).argmax()] > 0 else -1)


def simulated_residuals(ratings: Ratings, found: Model, rng: np.random.Generator) -> np.ndarray:
    """Residuals of a panel of the same design in which raters know nothing of each other."""
    truth = (found.posterior.cumsum(axis=1)[:, :-1] < rng.random((ratings.n_items, 1))).sum(axis=1)
    chances = found.confusion.cumsum(axis=2)[ratings.rater, truth[ratings.item], :-1]
    labels = (chances < rng.random((len(ratings), 1))).sum(axis=1)
    fake = Ratings(ratings.item, ratings.rater, labels, ratings.n_items, ratings.n_raters, ratings.n_classes)
    return residuals(fake, reread(fake, found), found.confusion)


def reread(fake: Ratings, found: Model) -> np.ndarray:
    """[n_items, n_classes] the fitted model's posterior of other judgements."""
    by_answer = np.log(np.maximum(found.confusion, 1e-12)).transpose(0, 2, 1).reshape(-1, fake.n_classes)
    joint = np.log(np.maximum(found.classes, 1e-12)) + fake.answers @ by_answer
    return shares(np.exp(joint - joint.max(axis=1, keepdims=True)))
