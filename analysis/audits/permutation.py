"""Many tests at one nominal level: permutations within strata, and the largest statistic of each.

1. Under the null hypothesis the rows of one stratum could have come in any order. So each permutation within strata
   gives statistics as likely as the ones seen.
2. Of each permutation only the largest |statistic| over all tests is kept. A test's corrected p-value is the share of
   these maxima that reach it, the seen order counted: with this the chance of any false claim among all tests is at
   most alpha, however they depend on one another, with any number of permutations.

Source: Westfall and Young, Resampling-Based Multiple Testing (1993), single-step max-T; the +1 is Phipson and Smyth 2010,
arXiv:1603.05766.
"""

from collections.abc import Iterator, Sequence

import numpy as np

TIE_BREAK = 1e-6
"""Less than the step between two p-values of any feasible number of permutations."""


def shuffles(strata: Sequence[object], n: int, seed: int) -> Iterator[np.ndarray]:
    """Orders of the rows, each a permutation that leaves every row in its stratum.

    Args:
        strata: What each row is exchangeable within; rows with equal values are.
        n: How many orders.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    numbers: dict[object, int] = {}
    code = np.asarray([numbers.setdefault(one, len(numbers)) for one in strata])
    by_stratum = np.argsort(code, kind="stable")
    for _ in range(n):
        drawn = np.lexsort((rng.random(len(code)), code))
        order = np.empty(len(code), dtype=int)
        order[by_stratum] = drawn
        yield order


def corrected(seen: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """p-values that hold for all tests together.

    Args:
        seen: [n_tests] statistics; their sign does not count, nan is no test and gets 1.
        largest: [n_permutations] the largest |statistic| of each permutation.
    """
    ordered = np.sort(largest)
    size = np.where(np.isnan(seen), -np.inf, np.abs(seen))
    reached = len(ordered) - np.searchsorted(ordered, size - 1e-12, side="left")
    return (1 + reached) / (1 + len(ordered))


def combined(parts: np.ndarray) -> tuple[float, np.ndarray]:
    """One p-value of several tests that were permuted together, and each test's own.

    Every permutation's statistics are turned into p-values among all permutations, the smallest of each is kept, and the
    smallest one seen is compared with those: the test whose sign of change is clearest speaks for all, at the level of one.

    Args:
        parts: [1 + n_permutations, n_tests] statistics, large for a change; the first row is what was seen.

    Returns:
        The combined p-value, and the p-value of each test by itself.

    Permutations with the same smallest p-value are ordered by the mean of all, for ties would make the test miss its level.

    Source: Westfall and Young 1993, min-P; exact because the rows are exchangeable under the null hypothesis.
    """
    n = len(parts)
    ranked = np.empty(parts.shape)
    for column in range(parts.shape[1]):
        ordered = np.sort(parts[:, column])
        ranked[:, column] = (n - np.searchsorted(ordered, parts[:, column] - 1e-12, side="left")) / n
    score = ranked.min(axis=1) + TIE_BREAK * ranked.mean(axis=1)
    return float((score <= score[0] + 1e-12).mean()), ranked[0]


def bootstrap_weights(patients: Sequence[object], n: int, seed: int) -> np.ndarray:
    """[n, n_rows] how often each row is drawn when patients are drawn with replacement."""
    numbers: dict[object, int] = {}
    code = np.asarray([numbers.setdefault(one, len(numbers)) for one in patients])
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=n)
    return counts[:, code]


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % percentile interval of bootstrapped values, nan left out."""
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
