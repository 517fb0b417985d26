"""Intervals by resampling items.

1. Raters who judge the same item are not independent, items are: whole items are drawn, with all their ratings.
2. Every figure here is a function of sums over items. A resample is therefore a row of counts, how often each item was
   drawn, times a table of what each item contributes; all figures of a field share the same draws.
3. BCa: percentiles of the resampled values, moved for bias (how many of them lie below the value) and for acceleration
   (how the figure's spread changes with it, from leaving out one item at a time, which is a subtraction here).
4. Where every item agrees, resampling finds no disagreement either. The lower end is then what the figure would be if as
   large a share of items as n agreeing ones leave possible disagreed as far as the scale goes.

Source: Efron 1987, doi:10.1080/01621459.1987.10478410; Efron and Tibshirani 1993, ch. 14; Clopper and Pearson 1934 (4).
Zapf et al. 2016 (BMC Med Res Methodol 16:93) find that the bootstrap keeps its coverage for agreement where asymptotic
intervals do not. Measured coverage, and wider intervals that were tried: docs/agreement.md, docs/log.md.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from pydantic import Field, PositiveInt
from scipy.sparse import csr_array
from scipy.special import ndtr, ndtri

from labeling.estimate import Estimate, Support, doubts, undefined
from sae.config import Settings

CHUNK_CELLS = 4_000_000
"""Counts drawn at once: 32 MB."""
KEPT_CELLS = 40_000_000
"""Counts that are kept for the next figures of as many items, as the products take them: 320 MB."""
FEW_CELLS = 1_000_000
"""So few counts (8 MB) are kept for several numbers of items, as raters' repeats and weeks have them."""
SPARSE = 0.05
"""Share of contributions that are not 0, below which the sums skip zeros. Source: a product costs some 20 times as much then."""
MAX_LEFT_OUT = 2000
"""Up to so many items, each is left out by itself; of more, a thousand groups are, whose skewness says the same."""
N_GROUPS = 1000
NO_VALUE = "The figure does not exist for these ratings."
EXACT = "exact bound, all items alike"


class BootstrapConfig(Settings, frozen=True):
    """How intervals are made."""

    n_bootstraps: PositiveInt = Field(default=2000, description="Resamples of the items.")
    seed: int = Field(default=0, ge=0, description="Of the resamples; stands beside every result.")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="How often an interval should hold the truth.")


class Statistic(NamedTuple):
    """A figure as a function of sums over items."""

    contributions: np.ndarray
    """[n_items, n_columns] what each item adds."""
    of_sums: Callable[[np.ndarray], np.ndarray]
    """From sums [..., n_columns] to values [...]; NaN where the figure does not exist."""
    exact: Callable[[float], tuple[float, float]] | None = None
    """From what may be missed at either end to an interval; only where all items say the same and resampling nothing."""
    reason: str = ""
    """Why the figure does not exist, if it does not."""

    @property
    def value(self) -> float:
        """The figure of all items; NaN where it does not exist."""
        return float(self.of_sums(self.contributions.sum(axis=0)))


class Interval(NamedTuple):
    """An interval and how it came about."""

    low: float | None
    high: float | None
    method: str
    n_undefined: int
    """Resamples in which the figure does not exist."""


def estimates(
    statistics: Mapping[str, Statistic], supports: Mapping[str, Support] | Support, cfg: BootstrapConfig
) -> dict[str, Estimate]:
    """Every figure with its interval; all from the same resamples.

    Args:
        statistics: Figures of the same items.
        supports: What each rests on, or all of them.
        cfg: Number of resamples, seed and confidence.
    """
    support_of = (lambda _: supports) if isinstance(supports, Support) else supports.__getitem__
    found: dict[str, Estimate] = {}
    existing: dict[str, Statistic] = {}
    for name, one in statistics.items():
        if one.reason or not len(one.contributions) or np.isnan(one.value):
            found[name] = undefined(support_of(name), one.reason or NO_VALUE)
        else:
            existing[name] = one
    for name, resampled in resampled_values(existing, cfg):
        found[name] = estimate(existing[name], resampled, support_of(name), cfg)
    return {name: found[name] for name in statistics}


def resampled_values(statistics: Mapping[str, Statistic], cfg: BootstrapConfig) -> Iterator[tuple[str, np.ndarray]]:
    """[n_bootstraps] values of each figure; the same rows of all figures come from the same items."""
    if not statistics:
        return
    stacked, where = distinct_columns([one.contributions for one in statistics.values()])
    sums = resampled_sums(stacked, cfg)
    for (name, one), columns in zip(statistics.items(), where, strict=True):
        yield name, one.of_sums(sums[:, columns])


def distinct_columns(tables: list[np.ndarray]) -> tuple[np.ndarray, list[list[int]]]:
    """The columns of all tables, each once, and where each table's are: coefficients share most of theirs."""
    place: dict[bytes, int] = {}
    found: list[np.ndarray] = []
    where = []
    for table in tables:
        columns = []
        for column in np.ascontiguousarray(table.T):
            key = hashlib.blake2b(column, digest_size=16).digest()
            if key not in place:
                place[key] = len(found)
                found.append(column)
            columns.append(place[key])
        where.append(columns)
    return np.stack(found).T, where


def resampled_sums(contributions: np.ndarray, cfg: BootstrapConfig) -> np.ndarray:
    """[n_bootstraps, n_columns] sums over items drawn with replacement."""
    is_sparse = np.count_nonzero(contributions) < SPARSE * contributions.size
    columns = csr_array(contributions.T) if is_sparse else contributions.T
    return np.concatenate([(columns @ times.T).T for times in drawings(len(contributions), cfg)])


def drawings(n: int, cfg: BootstrapConfig) -> Iterable[np.ndarray]:
    """How often each of n items is in each resample, [at once, n] at a time; kept for the next field where there is room."""
    n_cells = n * cfg.n_bootstraps
    if n_cells > KEPT_CELLS:
        return drawn(n, cfg)
    return (few_drawings if n_cells <= FEW_CELLS else many_drawings)(n, cfg)


@lru_cache(maxsize=16)
def few_drawings(n: int, cfg: BootstrapConfig) -> tuple[np.ndarray, ...]:
    """The same, drawn once."""
    return tuple(drawn(n, cfg))


@lru_cache(maxsize=1)
def many_drawings(n: int, cfg: BootstrapConfig) -> tuple[np.ndarray, ...]:
    """The same, drawn once; few would drive them out of a common store."""
    return tuple(drawn(n, cfg))


def drawn(n: int, cfg: BootstrapConfig) -> Iterator[np.ndarray]:
    """The same, drawn anew."""
    rng = np.random.default_rng(cfg.seed)
    at_once = max(1, CHUNK_CELLS // n)
    for start in range(0, cfg.n_bootstraps, at_once):
        size = min(at_once, cfg.n_bootstraps - start)
        places = rng.integers(0, n, size=(size, n))
        places += np.arange(size)[:, None] * n
        yield np.bincount(places.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def estimate(one: Statistic, resampled: np.ndarray, support: Support, cfg: BootstrapConfig) -> Estimate:
    """One figure with its interval and what is to be said against it."""
    found = interval(one, resampled, cfg)
    warning = doubts(support, found.n_undefined, len(resampled))
    reason = "" if found.low is not None else "No interval: the figure is the same in every resample."
    return Estimate(
        one.value,
        found.low,
        found.high,
        *support[:3],
        found.method,
        reason,
        not warning and found.low is not None,
        warning,
        found.n_undefined,
        len(resampled),
    )


def interval(one: Statistic, resampled: np.ndarray, cfg: BootstrapConfig) -> Interval:
    """The interval of a figure from its resampled values [n_bootstraps]."""
    values = resampled[~np.isnan(resampled)]
    n_undefined = len(resampled) - len(values)
    sums, n, tail = one.contributions.sum(axis=0), len(one.contributions), (1 - cfg.confidence) / 2
    value = float(one.of_sums(sums))
    if not len(values) or n < 2:
        return Interval(None, None, "none", n_undefined)
    if np.ptp(values) < 1e-12 and abs(values[0] - value) < 1e-12:
        if one.exact is None:
            return Interval(None, None, "none", n_undefined)
        return Interval(*one.exact(tail), EXACT, n_undefined)
    bias = float(ndtri((np.mean(values < value - 1e-12) + np.mean(values <= value + 1e-12)) / 2))
    z = float(ndtri(1 - tail))
    if not np.isfinite(bias):
        low, high = np.quantile(values, [tail, 1 - tail])
        return Interval(float(low), float(high), "percentiles (BCa does not exist)", n_undefined)
    moved = bias + np.array([-z, z])
    pace = 1 - acceleration(one.of_sums(sums - grouped(one.contributions))) * moved
    shares = ndtr(np.where(pace > 0, bias + moved / np.where(pace > 0, pace, 1), np.copysign(np.inf, moved)))
    low, high = np.quantile(values, shares)
    return Interval(float(low), float(high), "BCa", n_undefined)


def grouped(contributions: np.ndarray) -> np.ndarray:
    """What each item contributes; of many items, each of a thousand groups, every thousandth item being in one."""
    n = len(contributions)
    if n <= MAX_LEFT_OUT:
        return contributions
    padded = np.concatenate([contributions, np.zeros((-n % N_GROUPS, contributions.shape[1]))])
    return padded.reshape(-1, N_GROUPS, contributions.shape[1]).sum(axis=0)


def acceleration(left_out: np.ndarray) -> float:
    """From the figures [n_items] with one item left out; 0 where none of them exists."""
    values = left_out[~np.isnan(left_out)]
    if not len(values):
        return 0.0
    below = values.mean() - values
    spread = float((below**2).sum())
    return float((below**3).sum() / (6 * spread**1.5)) if spread > 0 else 0.0


def together(one: Statistic, group: np.ndarray) -> Statistic:
    """The figure with whole groups of rows drawn, where rows of one group are not independent.

    Args:
        one: The figure of single rows.
        group: [n_rows] number of each row's group, from 0, none left out.
    """
    n_rows, n_groups = len(group), int(group.max(initial=-1)) + 1
    sums = np.zeros((n_groups, one.contributions.shape[1]))
    np.add.at(sums, group, one.contributions)
    exact = one.exact
    if exact is None or n_groups == 0:
        return one._replace(contributions=sums)
    # What n groups leave unseen is 1 − tail^(1/n): of as many rows, with this for a tail.
    return one._replace(contributions=sums, exact=lambda tail: exact(tail ** (n_rows / n_groups)))


def difference(first: Statistic, second: Statistic) -> Statistic:
    """The first figure minus the second, of the same items."""
    n = first.contributions.shape[1]

    def of_sums(sums: np.ndarray) -> np.ndarray:
        return first.of_sums(sums[..., :n]) - second.of_sums(sums[..., n:])

    return Statistic(
        np.column_stack([first.contributions, second.contributions]), of_sums, reason=first.reason or second.reason
    )


def mean_of(parts: list[Statistic]) -> Statistic:
    """The mean of figures of the same items, over those that exist."""
    edges = np.cumsum([0, *(one.contributions.shape[1] for one in parts)])

    def of_sums(sums: np.ndarray) -> np.ndarray:
        values = np.stack(
            [one.of_sums(sums[..., a:b]) for one, a, b in zip(parts, edges[:-1], edges[1:], strict=True)], axis=-1
        )
        exists = ~np.isnan(values)
        n = exists.sum(axis=-1)
        return np.where(n > 0, np.where(exists, values, 0).sum(axis=-1) / np.maximum(n, 1), np.nan)

    return Statistic(np.column_stack([one.contributions for one in parts]), of_sums)


def ratio_of(above: np.ndarray, below: np.ndarray) -> Statistic:
    """Σ above / Σ below, both [n_items]: a mean, a share, an accuracy."""

    def of_sums(sums: np.ndarray) -> np.ndarray:
        some = sums[..., 1] > 0
        return np.where(some, sums[..., 0] / np.where(some, sums[..., 1], 1), np.nan)

    contributions = np.column_stack([above, below]).astype(np.float64)
    value, n = float(of_sums(contributions.sum(axis=0))), int((contributions[:, 1] > 0).sum())
    if value == 1:
        return Statistic(contributions, of_sums, lambda tail: (1 - unseen(n, tail), 1.0))
    return Statistic(contributions, of_sums, (lambda tail: (0.0, unseen(n, tail))) if value == 0 else None)


def unseen(n_items: int, tail: float) -> float:
    """The largest share of a kind of item of which n hold none, unless so many were luck with probability `tail`.

    Source: Clopper and Pearson 1934, at 0 of n.
    """
    return float(1 - tail ** (1 / n_items))
