"""How fast this machine does the work, measured in seconds: what a plan's times rest on."""

import statistics
import time

import torch

from hooks.backend import open_backend
from hooks.capture import Plan
from hooks.model import LanguageModel
from hooks.part import Part, activations
from hooks.windows import Tokens
from sae.build import build
from sae.config import SAEConfig
from training.config import TrainingConfig
from training.fit import engine_for
from training.trainee import descend, new_optimiser

CAPTURE_TOKENS = 4096
STEPS = 3


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
    """Seconds of one training step on random rows, the median of a few."""
    sae = build(sae_cfg, d_in)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(cfg.batch_tokens, d_in, generator=generator)
    sae.initialise(x, generator, 0.3)
    optimiser, engine = new_optimiser(sae, cfg.lr), engine_for(cfg, "cpu")
    dead = torch.zeros(sae.d_sae, dtype=torch.bool)
    times = []
    for _ in range(STEPS + 1):  # the first one also makes the optimiser's state
        start = time.perf_counter()
        if engine is not None and sae.is_always_sparse:
            losses = sae.sparse_losses(x, dead, 1.0, engine)
        else:
            losses = sae.losses(x, dead, 1.0)
        descend(sae, optimiser, losses.total, cfg.gradient_clip)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])
