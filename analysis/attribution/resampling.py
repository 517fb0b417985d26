"""Resampling: how much the score falls, on average, when a unit is replaced by others of its kind.

    score_u = F(x) − mean_r F(x with unit u replaced by draw r)

The replaced texts are like texts, as far as the sampler knows; so of all methods here this comes nearest to a causal effect,
and it is what the others are judged by. Draws have an error; it is reported per unit.

Source: Chan et al. 2022, "Causal scrubbing" for resampling in place of zeros; measured (docs/attribution.md).
"""

import numpy as np
import torch

from analysis.attribution.case import Unit
from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import ResamplingConfig
from analysis.attribution.occlusion import batches, free_units, spread
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores


@torch.no_grad()
def resampling(problem: Problem, cfg: ResamplingConfig, seed: int) -> Scores:
    """The mean change by replacing each unit, with its standard error."""
    units = free_units(problem, cfg.unit)
    draws = [draw for unit in units for draw in [unit] * cfg.n_samples]
    ids = problem.case.input_ids
    samples = torch.cat([padded(problem, unit, cfg.n_samples, seed) for unit in units])
    found, done = [], 0
    for start, group in batches(problem, draws):
        rows = ids.repeat(len(group), 1)
        is_changed = samples[done : done + len(group)] >= 0
        rows[is_changed] = samples[done : done + len(group)][is_changed]
        found.append(problem.score_after(start, problem.embed(rows[:, start:])))
        done += len(group)
    changes = (problem.clean_scores - torch.cat(found)).double().cpu().numpy()
    changes = changes.reshape(len(units), cfg.n_samples, -1)
    errors = changes.std(1, ddof=1) / np.sqrt(cfg.n_samples) if cfg.n_samples > 1 else np.zeros_like(changes[:, 0])
    return Scores(
        "resampling", spread(problem, units, changes.mean(1)), problem.labels,
        terms={"standard_error": spread(problem, units, errors)},
        diagnostics={"unit": cfg.unit, "n_units": len(units), "n_samples": cfg.n_samples},
        caveat=CAVEATS["resampling"],
    )  # fmt: skip


def padded(problem: Problem, unit: Unit, n_samples: int, seed: int) -> torch.Tensor:
    """Draws for a unit, as rows over the whole case; −1 where the case stays."""
    rows = torch.full((n_samples, problem.n_tokens), -1)
    rows[:, list(unit.tokens)] = problem.sampler.sample(problem.case.input_ids, unit.tokens, n_samples, seed)
    return rows
