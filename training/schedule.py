"""How the learning rate and the sparsity penalty change over the steps."""

import math

from training.config import TrainingConfig

LR_SCALE = 0.2
"""The learning rate is this ÷ √d_sae where none is set. Source: docs/log.md, measured at 256 to 2,048 features of widths 64 to 256,
with 300 to 1,500 steps; the law is that of Gao et al. 2024, arXiv:2406.04093, figure 3."""


def learning_rate(cfg: TrainingConfig, d_sae: int) -> float:
    """The learning rate between its rise and its fall."""
    return LR_SCALE / math.sqrt(d_sae) if cfg.lr is None else cfg.lr


def lr_factor(step: int, cfg: TrainingConfig) -> float:
    """Share of the learning rate at a step: a linear rise, a plateau, a linear fall to 0 after the last step.

    Source: Conerly et al. 2024 (decay over the last 20 %).
    """
    warmup, decay = cfg.lr_warmup * cfg.n_steps, cfg.lr_decay * cfg.n_steps
    rise = (step + 1) / warmup if warmup > 0 else 1.0
    fall = (cfg.n_steps - step) / decay if decay > 0 else 1.0
    return min(rise, fall, 1.0)


def sparsity_weight(step: int, cfg: TrainingConfig) -> float:
    """Share of the sparsity penalty at a step: a linear rise, then 1."""
    warmup = cfg.sparsity_warmup * cfg.n_steps
    return min((step + 1) / warmup, 1.0) if warmup > 0 else 1.0
