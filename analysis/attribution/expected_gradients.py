"""Expected gradients: integrated gradients averaged over drawn replacements, one point of each path.

    EG_i = E_{x′, α} [⟨x_i − x′_i, ∂F/∂x_i (x′ + α(x − x′))⟩]

The baseline is no single embedding that has to be chosen, but texts of the same kinds of tokens.

Source: Erion et al. 2021, "Improving performance of deep learning models with axiomatic attribution priors and expected
gradients" (arXiv:1906.10670).
"""

import numpy as np
import torch

from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import ExpectedGradientsConfig
from analysis.attribution.gradient import free
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores, completeness


def expected_gradients(problem: Problem, cfg: ExpectedGradientsConfig, seed: int) -> Scores:
    """The mean over draws, with its standard error and its gap."""
    problem.refuse_without_gradients()
    places = tuple(problem.is_free.nonzero().flatten().tolist())
    rows = problem.case.input_ids.repeat(cfg.n_samples, 1)
    rows[:, list(places)] = problem.sampler.sample(problem.case.input_ids, places, cfg.n_samples, seed)
    others = problem.embed(rows)
    alphas = torch.from_numpy(np.random.default_rng(seed).random(cfg.n_samples)).to(others.device, torch.float32)
    products = []
    for batch, alpha in zip(others.split(problem.rows_per_batch), alphas.split(problem.rows_per_batch), strict=True):
        steps = problem.embeds.float() - batch.float()
        points = (batch.float() + alpha[:, None, None] * steps).to(batch.dtype)
        _, found = problem.gradients(points, lambda g, s=steps: (g * s).sum(-1))
        products.append(found.double().cpu())
    draws = torch.cat(products, dim=1)  # [target, draw, n]
    ends = problem.scores_without_grad(others).double().cpu().numpy()
    totals = problem.clean_scores.double().cpu().numpy() - ends.mean(0)
    raw = free(problem, draws.mean(1))
    errors = draws.std(1) / np.sqrt(cfg.n_samples) if cfg.n_samples > 1 else torch.zeros_like(draws[:, 0])
    return Scores(
        "expected_gradients", raw, problem.labels,
        tuple(completeness(float(total), raw[:, t]) for t, total in enumerate(totals)),
        terms={"standard_error": free(problem, errors)},
        diagnostics={"n_samples": cfg.n_samples},
        caveat=CAVEATS["expected_gradients"],
    )  # fmt: skip
