"""Random tables of ratings, and agreement from its definitions: pair by pair, slow, and sharing nothing with ours."""

from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np

Table = list[list[float | None]]


class Design(NamedTuple):
    """A table at random."""

    ratings: np.ndarray
    """[n_items, n_raters] ranks, NaN where missing; every item has a rating."""
    n_categories: int


def random_design(rng: np.random.Generator) -> Design:
    """Few or many items and raters, missing ratings, levels nobody uses, items with a single rating, raters with none."""
    n_items, n_raters, q = int(rng.integers(1, 31)), int(rng.integers(2, 7)), int(rng.integers(2, 7))
    used = rng.choice(q, size=int(rng.integers(1, q + 1)), replace=False)
    truth = rng.choice(used, size=n_items)
    agrees = rng.random((n_items, n_raters)) < rng.choice([0.0, 0.5, 0.8, 1.0])
    ratings = np.where(agrees, truth[:, None], rng.choice(used, size=(n_items, n_raters))).astype(float)
    ratings[rng.random(ratings.shape) < rng.choice([0.0, 0.2, 0.6])] = np.nan
    if rng.random() < 0.1:
        ratings[:, 0] = np.nan
    ratings = ratings[~np.isnan(ratings).all(axis=1)]
    return Design(ratings, q) if len(ratings) else random_design(rng)


def simulated(
    rng: np.random.Generator, n_items: int, n_raters: int, shares: tuple[float, ...], skill: float, missing: float
) -> np.ndarray:
    """Raters who know the truth with probability `skill` and else draw from its shares; 0 is pure chance."""
    truth = rng.choice(len(shares), size=n_items, p=shares)
    guess = rng.choice(len(shares), size=(n_items, n_raters), p=shares)
    ratings = np.where(rng.random((n_items, n_raters)) < skill, truth[:, None], guess).astype(float)
    ratings[rng.random(ratings.shape) < missing] = np.nan
    return ratings


def units(ratings: np.ndarray) -> list[list[float]]:
    """Ratings of each item."""
    return [[float(x) for x in row if not np.isnan(x)] for row in ratings]


def slow_alpha(ratings: np.ndarray, level: str) -> float | None:
    """Krippendorff's alpha by listing all pairs; none where chance can bring no disagreement."""
    paired = [unit for unit in units(ratings) if len(unit) >= 2]
    values = np.asarray([x for unit in paired for x in unit])
    if len(set(values)) < 2:
        return None
    apart = distance_of(values, level)
    observed = sum(
        sum(apart(a, b) for a, b in permutations(unit, 2)) / (len(unit) - 1) for unit in paired
    ) / len(values)  # fmt: skip
    kinds, times = np.unique(values, return_counts=True)
    pairs = sum(apart(a, b) * times[i] * times[j] for i, a in enumerate(kinds) for j, b in enumerate(kinds) if i != j)
    return float(1 - observed / (pairs / (len(values) * (len(values) - 1))))


def distance_of(values: np.ndarray, level: str):
    """Squared distance of two values on a level, in a sample."""
    if level == "nominal":
        return lambda a, b: float(a != b)
    if level == "interval":
        return lambda a, b: (a - b) ** 2
    if level == "ratio":
        return lambda a, b: ((a - b) / (a + b)) ** 2 if a + b else 0.0

    def ordinal(a: float, b: float) -> float:
        low, high = min(a, b), max(a, b)
        between = float(((values >= low) & (values <= high)).sum())
        return (between - ((values == low).sum() + (values == high).sum()) / 2) ** 2 if low != high else 0.0

    return ordinal


def weight_of(weighting: str, q: int):
    """Agreement of two ranks out of q."""
    return {
        "identity": lambda a, b: float(a == b),
        "linear": lambda a, b: 1 - abs(a - b) / (q - 1),
        "quadratic": lambda a, b: 1 - ((a - b) / (q - 1)) ** 2,
    }[weighting]


def slow_coefficient(ratings: np.ndarray, q: int, kind: str, weighting: str) -> float | None:
    """A coefficient of Gwet's family by listing pairs of ratings and of raters; none where all ratings are the same."""
    weight, all_units = weight_of(weighting, q), units(ratings)
    paired = [unit for unit in all_units if len(unit) >= 2]
    if not paired or len({x for unit in all_units for x in unit}) < 2:
        return None
    observed = float(np.mean([np.mean([weight(a, b) for a, b in permutations(unit, 2)]) for unit in paired]))
    expected = slow_chance(ratings, q, kind, weight)
    return None if expected is None or 1 - expected < 1e-12 else (observed - expected) / (1 - expected)


def slow_chance(ratings: np.ndarray, q: int, kind: str, weight) -> float | None:
    """Agreement by chance."""
    ranks = range(q)
    all_weights = sum(weight(a, b) for a in ranks for b in ranks)
    shares = [float(np.mean([unit.count(k) / len(unit) for unit in units(ratings)])) for k in ranks]
    if kind == "ac":
        return all_weights * sum(p * (1 - p) for p in shares) / (q * (q - 1))
    if kind == "pi":
        return sum(weight(a, b) * shares[a] * shares[b] for a in ranks for b in ranks)
    if kind == "brennan_prediger":
        return all_weights / q**2
    own = []
    for column in ratings.T:
        given = [x for x in column if not np.isnan(x)]
        if given:
            own.append([given.count(k) / len(given) for k in ranks])
    pairs = [sum(weight(a, b) * p[a] * r[b] for a in ranks for b in ranks) for p, r in combinations(own, 2)]
    return float(np.mean(pairs)) if pairs else None
