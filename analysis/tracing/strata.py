"""Whether a feature of a concept serves all groups alike: AUROC and firing by a protected attribute.

Within each group: the feature's AUROC for the concept, and the share of the concept's units on which it fires. A node is flagged
for an attribute where two of its groups differ by more than chance allows: the difference of AUROCs, or of firing, exceeds its
standard error (of patients drawn with replacement) by the normal quantile of 5 %, Bonferroni-corrected over all nodes, attributes,
and both figures. A flag is a reason to look, no verdict: groups may differ in how notes are written.

Patients of different groups are different people, so that standard errors add in squares. An attribute that changes within a
patient (as in twins of a synthetic clinic) breaks this slightly, on the side of fewer flags.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm

from analysis.tracing.cohort import Cohort
from analysis.tracing.config import MIN_POSITIVES
from analysis.tracing.intervals import ALPHA, Draws, areas, percentiles
from analysis.tracing.layers import Node, pair, rounded

FEWEST_SHOWN = 5
"""Units of a group below which nothing is said of it."""


class Stratum(NamedTuple):
    """One feature in one group."""

    attribute: str
    value: str
    n: int
    n_positive: int
    auroc: float | None
    interval: tuple[float, float] | None
    auroc_error: float
    firing: float | None
    firing_interval: tuple[float, float] | None
    firing_error: float

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "attribute": self.attribute, "value": self.value, "n": self.n, "n_positive": self.n_positive,
            "auroc": rounded(self.auroc), "interval": pair(self.interval),
            "firing": rounded(self.firing), "firing_interval": pair(self.firing_interval),
        }  # fmt: skip


def strata_of(
    nodes: Sequence[Node], attributes: Mapping[str, np.ndarray], cohort: Cohort, draws: Draws
) -> list[list[Stratum]]:
    """For each node its figures in every group of the estimating half.

    Args:
        nodes: The features.
        attributes: Name → [n_units] values as text; empty where unknown.
        cohort: The units.
        draws: Of the estimating units' patients.
    """
    rows = cohort.is_estimate
    found = []
    for node in nodes:
        scores = node.layer.columns([node.feature])[rows, 0]
        found.append(
            [
                stratum(name, str(value), scores, cohort.is_positive[rows], values[rows] == value, draws)
                for name, values in attributes.items()
                for value in np.unique(values[values != ""])
            ]
        )
    return found


def stratum(
    name: str, value: str, scores: np.ndarray, is_positive: np.ndarray, inside: np.ndarray, draws: Draws
) -> Stratum:
    """One feature in one group; figures are none where the group is too small for them."""
    scores, is_positive, draws = scores[inside], is_positive[inside], draws.of(inside)
    n, n_positive = len(scores), int(is_positive.sum())
    if n_positive < FEWEST_SHOWN:
        return Stratum(name, value, n, n_positive, None, None, np.nan, None, None, np.nan)
    fires = (scores > 0)[is_positive].astype(float)
    with np.errstate(invalid="ignore"):
        weights = draws.of(is_positive).weights
        drawn = (weights @ fires) / weights.sum(axis=1)
    firing = (
        float(fires.mean()),
        percentiles(drawn),
        at_least(float(np.nanstd(drawn, ddof=1)), fires.mean(), n_positive),
    )
    if n_positive < MIN_POSITIVES or n - n_positive < MIN_POSITIVES:
        return Stratum(name, value, n, n_positive, None, None, np.nan, *firing)
    area = areas(scores, is_positive, draws)
    error = at_least(area.spread, area.auroc, n_positive)
    return Stratum(name, value, n, n_positive, area.auroc, area.auroc_interval, error, *firing)


def at_least(spread: float, share: float, n: int) -> float:
    """A standard error that does not vanish at 0 and 1, where all draws are alike: that of one more unit of each kind.

    Source: Agresti and Caffo 2000, doi:10.1080/00031305.2000.10474560 (adding one success and one failure).
    """
    p = (share * n + 1) / (n + 2)
    return max(spread, float(np.sqrt(p * (1 - p) / (n + 2))))


def flags(found: Sequence[Sequence[Stratum]]) -> list[list[str]]:
    """For each node the attributes whose groups differ by more than chance allows."""
    names = sorted({one.attribute for strata in found for one in strata})
    n_tests = sum(
        len(list(combinations([one for one in strata if one.attribute == name], 2)))
        for strata in found
        for name in names
    )
    limit = float(norm.isf(ALPHA / (2 * max(2 * n_tests, 1))))
    return [
        [name for name in names if differs([one for one in strata if one.attribute == name], limit)] for strata in found
    ]


def differs(groups: Sequence[Stratum], limit: float) -> bool:
    """Whether two groups differ in AUROC or in firing."""
    return any(
        beyond(a.auroc, b.auroc, a.auroc_error, b.auroc_error, limit)
        or beyond(a.firing, b.firing, a.firing_error, b.firing_error, limit)
        for a, b in combinations(groups, 2)
    )


def beyond(a: float | None, b: float | None, error_a: float, error_b: float, limit: float) -> bool:
    """Whether a difference exceeds its standard error so often; never where either is unknown."""
    if a is None or b is None or not np.isfinite(error_a + error_b):
        return False
    return abs(a - b) > limit * float(np.hypot(error_a, error_b))
