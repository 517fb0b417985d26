"""Is a rater, or the panel, drifting? Charts over time, in the order in which judgements were given.

- EWMA: a mean that forgets, between limits that widen to L standard deviations. It shows slow change.
- CUSUM: the summed evidence that the share of right answers has fallen from what is expected to what would be bad. It
  starts again at 0 when the evidence is for the expected, and an alarm when it passes its threshold.

Both run on gold accuracy (1 right, 0 wrong) and on left-out agreement (the share of the other raters of an item who say
the same). An alarm is a task for whoever leads the study, never a block.

Source: Roberts 1959 and Lucas and Saccucci 1990 (EWMA); Page 1954; Steiner et al. 2000, doi:10.1093/biostatistics/1.4.441
(CUSUM of a proportion by likelihood ratios).
"""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

import numpy as np
from pydantic import Field

from labeling.agreement import nothing_to_say, support_of
from labeling.alpha import alpha
from labeling.bootstrap import BootstrapConfig, estimates
from labeling.estimate import Estimate
from labeling.scale import Scale, checked, counts_of, levels_of
from sae.config import Settings
from sae.errors import UserError


class DriftConfig(Settings, frozen=True):
    """When a change counts.

    With these, simulated: a rater at the expected .85 raises a false alarm after some 270 (EWMA) and 750 (CUSUM) gold items
    on average; one who has fallen to .65 is noticed after 14 and 28, to .5 after 8 and 14.
    """

    memory: float = Field(default=0.1, gt=0, le=1, description="Weight of the newest judgement in the EWMA.")
    width: float = Field(default=2.7, gt=0, description="EWMA limits, in standard deviations.")
    expected: float = Field(default=0.85, gt=0, lt=1, description="Share of right answers while all is well.")
    bad: float = Field(default=0.65, gt=0, lt=1, description="Share of right answers that must be noticed.")
    threshold: float = Field(default=4.0, gt=0, description="Evidence, a log likelihood ratio, that raises an alarm.")


class Chart(NamedTuple):
    """One line over time."""

    values: tuple[float, ...]
    """After each judgement."""
    low: tuple[float, ...]
    """Lower limit; empty where there is none."""
    high: tuple[float, ...]
    """Upper limit, or the threshold."""
    alarms: tuple[int, ...]
    """Judgements, counted from 0, at which it leaves the limits, having been inside before."""


class PeriodAlpha(NamedTuple):
    """One week, or one codebook version."""

    period: str
    alpha: Estimate


def ewma(values: np.ndarray, cfg: DriftConfig | None = None) -> Chart:
    """The forgetting mean of values [n] between 0 and 1, from the expected share on."""
    cfg = cfg or DriftConfig()
    x = refuse_shares(values)
    spread = np.sqrt(cfg.expected * (1 - cfg.expected))
    found, mean = [], cfg.expected
    for value in x.tolist():
        mean = cfg.memory * value + (1 - cfg.memory) * mean
        found.append(mean)
    steps = np.arange(1, len(x) + 1)
    half = cfg.width * spread * np.sqrt(cfg.memory / (2 - cfg.memory) * (1 - (1 - cfg.memory) ** (2 * steps)))
    low, high = np.maximum(cfg.expected - half, 0), np.minimum(cfg.expected + half, 1)
    return Chart(tuple(found), tuple(low), tuple(high), starts(np.asarray(found) < low))


def cusum(values: np.ndarray, cfg: DriftConfig | None = None) -> Chart:
    """Evidence of a fall from values [n] between 0 and 1; shares other than 0 and 1 count as that much of either."""
    cfg = cfg or DriftConfig()
    if cfg.bad >= cfg.expected:
        raise UserError(
            f"bad={cfg.bad:g} is not below expected={cfg.expected:g}, which is the fall to be noticed. Lower `bad`."
        )
    right, wrong = log(cfg.bad / cfg.expected), log((1 - cfg.bad) / (1 - cfg.expected))
    found, total = [], 0.0
    for value in refuse_shares(values).tolist():
        total = max(0.0, total + value * right + (1 - value) * wrong)
        found.append(total)
    return Chart(tuple(found), (), (cfg.threshold,) * len(found), starts(np.asarray(found) > cfg.threshold))


def starts(is_out: np.ndarray) -> tuple[int, ...]:
    """Where a chart leaves its limits."""
    before = np.concatenate([[False], is_out[:-1]])
    return tuple(map(int, np.flatnonzero(is_out & ~before)))


def refuse_shares(values: np.ndarray) -> np.ndarray:
    """Values as floats; an error unless all lie between 0 and 1."""
    x = np.asarray(values, np.float64)
    if not ((x >= 0) & (x <= 1)).all():
        raise UserError(
            "A chart was given values outside 0 to 1 or missing ones, expected 1 for right, 0 for wrong or a share. "
            "Leave missing ones out."
        )
    return x


def left_out_agreement(ratings: np.ndarray) -> np.ndarray:
    """[n_items, n_raters] share of the other raters of the item who gave the same; NaN where there is none."""
    given = ~np.isnan(ratings)
    same = (ratings[:, :, None] == ratings[:, None, :]).sum(axis=2) - given
    others = given.sum(axis=1, keepdims=True) - 1
    some = given & (others > 0)
    return np.where(some, same / np.where(others > 0, others, 1), np.nan)


def alpha_by_period(
    ratings: np.ndarray, periods: Sequence[str], scale: Scale, cfg: BootstrapConfig | None = None
) -> tuple[PeriodAlpha, ...]:
    """Alpha of the items of each period, in the order in which the periods are first named.

    Args:
        ratings: [n_items, n_raters].
        periods: Of each item, such as `2026-W47`, or the codebook's version.
        scale: The field's.
        cfg: Of the intervals.
    """
    table = checked(ratings, scale)
    levels = levels_of(table, scale)
    found = []
    number = {period: n for n, period in enumerate(dict.fromkeys(periods))}
    which = np.asarray([number[period] for period in periods], int)
    for n, period in enumerate(number):
        counts = counts_of(table[which == n], levels)
        counts = counts[counts.sum(axis=1) > 0]
        one = alpha(counts, levels, scale.level)._replace(reason=nothing_to_say(counts, scale).pairable)
        support = support_of(counts, table.shape[1], scale.level)
        found.append(PeriodAlpha(period, estimates({"alpha": one}, support, cfg or BootstrapConfig())["alpha"]))
    return tuple(found)
