"""Shapley values by sampling: what a unit adds, averaged over random orders in which units come in.

    φ_u = E_π [F(units up to u) − F(units before u)]        Σ_u φ_u = F(x) − F(nothing)

Each order is walked forwards and backwards, which makes the two marginal contributions of a unit vary against each other. So the
two are not independent, and the standard error is that of the pairs' means.

Source: Castro et al. 2009, "Polynomial calculation of the Shapley value based on sampling"; antithetic orders: Mitchell et
al. 2022, "Sampling Permutations for Shapley Value Estimation" (arXiv:2104.12199).
"""

import numpy as np
from jaxtyping import Float

from analysis.attribution.ablation import coalitions
from analysis.attribution.baseline import WARNINGS, baseline_embeds
from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import ShapleyConfig
from analysis.attribution.occlusion import free_units, spread
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores, completeness


def shapley(problem: Problem, cfg: ShapleyConfig, seed: int) -> Scores:
    """The values with their standard error over pairs of orders."""
    units = free_units(problem, cfg.unit)
    absent = baseline_embeds(problem, cfg.baseline, cfg.baseline_token)
    orders = random_orders(len(units), cfg.n_permutations, np.random.default_rng(seed))
    ranks = np.argsort(orders, axis=1)  # when each unit comes in
    present = ranks[:, None, :] < np.arange(len(units) + 1)[None, :, None]  # [order, step, unit]
    scores = coalitions(problem, units, absent, present.reshape(-1, len(units)))
    gains = np.diff(scores.reshape(len(orders), len(units) + 1, -1), axis=1)  # [order, step, target]
    values = np.take_along_axis(gains, ranks[..., None], axis=1)  # [order, unit, target]
    raw = spread(problem, units, values.mean(0))
    totals = (problem.clean_scores.double().cpu().numpy() - scores[0]).tolist()
    return Scores(
        "shapley", raw, problem.labels, tuple(completeness(t, raw[:, i]) for i, t in enumerate(totals)),
        terms={"standard_error": spread(problem, units, error_over_pairs(values))},
        diagnostics={"unit": cfg.unit, "n_units": len(units), "baseline_warning": WARNINGS.get(cfg.baseline, "")},
        caveat=CAVEATS["shapley"],
    )  # fmt: skip


def error_over_pairs(values: Float[np.ndarray, "orders *rest"]) -> Float[np.ndarray, "*rest"]:
    """Standard error of the mean over orders that come in pairs; a last one without its pair is one by itself. 0 for a single pair.

    Source: Cochran 1977, "Sampling Techniques", 3rd ed., section 9.2: clusters are drawn, not the orders in them.
    """
    starts = np.arange(0, len(values), 2)
    if len(starts) < 2:
        return np.zeros_like(values[0])
    misses = np.add.reduceat(values - values.mean(0), starts) / len(
        values
    )  # a pair's part of the mean, less its expectation
    return np.sqrt((misses**2).sum(0) * len(starts) / (len(starts) - 1))


def random_orders(n_units: int, n_orders: int, rng: np.random.Generator) -> np.ndarray:
    """Orders of units in pairs, the second of each the first backwards."""
    forwards = [rng.permutation(n_units) for _ in range((n_orders + 1) // 2)]
    return np.stack([order for one in forwards for order in (one, one[::-1])])[:n_orders]
