"""How fast this machine does the work, measured in seconds: what a plan's times rest on."""

import statistics
import time

import torch
from jaxtyping import Float
from torch import Tensor

from hooks.backend import open_backend
from hooks.capture import Plan
from hooks.model import LanguageModel
from hooks.part import Part, activations
from hooks.windows import Tokens
from sae.base import SAE
from sae.build import build
from sae.config import SAEConfig
from sae.gated import GatedSAE
from sae.l1 import L1SAE
from training.config import TrainingConfig
from training.fit import engine_for
from training.schedule import learning_rate
from training.trainee import descend, is_worth_sparse, new_optimiser

CAPTURE_TOKENS = 4096
STEPS = 3
SETTLED_L0 = 64
"""Active features of an SAE with an L1 penalty, for its time only. Source: docs/results.md, where the defaults end between
20 and 80."""
SETTLING_ROWS = 1024


def capture_tokens_per_s(plan: Plan, lm: LanguageModel) -> float:
    """Tokens per second of one worker, over the first documents of a plan."""
    some: list[Tokens] = []
    n_tokens = 0
    for document in (doc for part in plan.missing for doc in part.tokens):
        some.append(document)
        n_tokens += len(document.token_id)
        if n_tokens >= CAPTURE_TOKENS:
            break
    part = Part(0, "train", some)
    backend = open_backend(lm, plan.job.capture)
    start = time.perf_counter()
    activations(part, lm, backend, plan.points, plan.job.capture, lambda _amount: None)
    return n_tokens / (time.perf_counter() - start)


def step_seconds(sae_cfg: SAEConfig, d_in: int, cfg: TrainingConfig) -> float:
    """Seconds of one training step on random rows, the median of a few: sparse or dense as training would take it."""
    sae = build(sae_cfg, d_in)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(cfg.batch_tokens, d_in, generator=generator)
    sae.initialise(x, generator, 1.0)
    settle(sae, x)
    optimiser, engine = new_optimiser(sae, learning_rate(cfg, sae.d_sae)), engine_for(cfg, "cpu")
    dead = torch.zeros(sae.d_sae, dtype=torch.bool)
    times, n_codes = [], 0
    for _ in range(STEPS + 1):  # the first one also makes the optimiser's state
        start = time.perf_counter()
        if engine is not None and is_worth_sparse(sae, n_codes, cfg.batch_tokens):
            losses = sae.sparse_losses(x, dead, 1.0, engine)
        else:
            losses = sae.losses(x, dead, 1.0)
        descend(sae, optimiser, losses.total, cfg.gradient_clip)
        n_codes = losses.n_codes
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


@torch.no_grad()
def settle(sae: SAE, x: Float[Tensor, "n d_in"]) -> None:
    """Leaves L1 and gated SAEs few active features, as their penalty does in the first steps of a training.

    JumpReLU's thresholds meet their target from the start; without a target it stays dense, since nobody knows.
    """
    match sae:
        case L1SAE():
            bias = sae.b_enc
        case GatedSAE():
            bias = sae.b_gate
        case _:
            return
    share = 1 - min(SETTLED_L0 / sae.d_sae, 0.5)
    bias.copy_(-torch.quantile(sae.pre_acts(x[:SETTLING_ROWS]), share, dim=0))
