"""ContextCite: a sparse linear model of the score over random ablations.

Cohen-Wang et al. 2024, "ContextCite: Attributing Model Generation to Context" (arXiv:2409.00729):

1. Draw ablations: every unit is kept with probability ½.
2. Fit a lasso from which units are there to the score, on standardised columns.
3. A unit's weight is its score.
4. How much the model explains is told of ablations it was not fitted to: in turn, each of eight parts is predicted from the others.
   Of its own ablations a fit with as many units as ablations explains nearly everything, whether or not it holds.

# Differs from the paper: units are replaced by a baseline embedding, not cut out, so that positions stay; and the score is
# the target's own (a sum of log-odds for an answer), where the paper takes the log-odds of the whole answer's probability.
"""

import numpy as np
from jaxtyping import Float

from analysis.attribution.ablation import coalitions
from analysis.attribution.baseline import WARNINGS, baseline_embeds
from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import SurrogateConfig
from analysis.attribution.occlusion import free_units, spread
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores

MOST_SWEEPS = 2000
N_PARTS = 8
SETTLED = 1e-9
"""Largest change of a weight in a sweep, as a share of the largest weight, at which the fit ends."""


def surrogate(problem: Problem, cfg: SurrogateConfig, seed: int) -> Scores:
    """The weights, with how much of the score they explain."""
    units = free_units(problem, cfg.unit)
    absent = baseline_embeds(problem, cfg.baseline, cfg.baseline_token)
    present = np.random.default_rng(seed).random((cfg.n_ablations, len(units))) < cfg.keep
    scores = coalitions(problem, units, absent, present)
    columns = present.astype(float)
    effects = np.stack([fitted(columns, target, cfg.alpha) for target in scores.T], axis=1)
    return Scores(
        "surrogate", spread(problem, units, effects), problem.labels,
        diagnostics={
            "unit": cfg.unit, "n_units": len(units),
            "held_out_r_squared": [held_out_r_squared(columns, target, cfg.alpha) for target in scores.T],
            "baseline_warning": WARNINGS.get(cfg.baseline, ""),
        },
        caveat=CAVEATS["surrogate"],
    )  # fmt: skip


def fitted(columns: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n"], alpha: float) -> Float[np.ndarray, "p"]:
    """What each unit's presence adds, by a lasso on standardised columns."""
    deviations = columns.std(0)
    standard = np.divide(columns - columns.mean(0), deviations, out=np.zeros_like(columns), where=deviations > 0)
    weights = lasso(standard, y - y.mean(), alpha)
    return np.divide(weights, deviations, out=np.zeros_like(weights), where=deviations > 0)


def lasso(x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n"], alpha: float) -> Float[np.ndarray, "p"]:
    """The minimum of ‖y − xw‖² / 2n + alpha · ‖w‖₁, by coordinate descent.

    Source: Friedman, Hastie & Tibshirani 2010, "Regularization Paths for Generalized Linear Models via Coordinate Descent".
    """
    n, p = x.shape
    sizes, w, rest = (x**2).sum(0) / n, np.zeros(p), y.astype(float).copy()
    for _ in range(MOST_SWEEPS):
        largest = 0.0
        for j in np.flatnonzero(sizes):
            pull = x[:, j] @ rest / n + sizes[j] * w[j]
            new = np.sign(pull) * max(abs(pull) - alpha, 0.0) / sizes[j]
            rest += x[:, j] * (w[j] - new)
            largest, w[j] = max(largest, abs(new - w[j])), new
        if largest <= SETTLED * max(np.abs(w).max(initial=0.0), 1e-12):
            break
    return w


def held_out_r_squared(columns: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n"], alpha: float) -> float | None:
    """Share of the variance that is predicted of ablations left out of the fit; below 0 where their mean would predict better.

    None where the score does not vary, or there are too few ablations to leave any out.
    """
    n_parts = min(N_PARTS, len(y))
    if n_parts < 2:
        return None
    part, misses, around = np.arange(len(y)) % n_parts, np.zeros(len(y)), np.zeros(len(y))
    for number in range(n_parts):
        is_out = part == number
        x, mean = columns[~is_out], y[~is_out].mean()
        predicted = (columns[is_out] - x.mean(0)) @ fitted(x, y[~is_out], alpha)
        around[is_out] = y[is_out] - mean
        misses[is_out] = around[is_out] - predicted
    variance = (around**2).sum()
    return float(1 - (misses**2).sum() / variance) if variance > 0 else None
