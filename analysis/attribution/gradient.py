"""One gradient: its length at each token, and its product with the embedding.

    norm_i = ‖∂F/∂x_i‖₂        product_i = ⟨∂F/∂x_i, x_i⟩

The length says where the score is sensitive, without a sign, and finds evidence well. The product is the first term of a
Taylor series at a point far from 0 and finds it no better than chance; it is here because others report it.

Source: Simonyan et al. 2014 (arXiv:1312.6034) for the length; Shrikumar et al. 2017 (arXiv:1605.01713) for the product.
"""

import numpy as np
from torch import Tensor

from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import GradientInputConfig, GradientNormConfig
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores


def gradient_norm(problem: Problem, cfg: GradientNormConfig, seed: int) -> Scores:
    """Length of the gradient."""
    _, found = problem.gradients(problem.embeds[None], lambda gradient: gradient.norm(dim=-1))
    caveat = CAVEATS["gradient_norm"]
    return Scores("gradient_norm", free(problem, found[:, 0]), problem.labels, caveat=caveat)


def gradient_input(problem: Problem, cfg: GradientInputConfig, seed: int) -> Scores:
    """Product of gradient and embedding."""
    _, found = problem.gradients(problem.embeds[None], lambda gradient: (gradient * problem.embeds.float()).sum(-1))
    caveat = CAVEATS["gradient_input"]
    return Scores("gradient_input", free(problem, found[:, 0]), problem.labels, caveat=caveat)


def free(problem: Problem, found: Tensor) -> np.ndarray:
    """[targets, n] as [n, targets], with 0 for tokens that are not attributed."""
    rows = found.double().cpu().numpy().T.copy()
    rows[~problem.is_free.numpy()] = 0
    return rows
