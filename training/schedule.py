"""How the learning rate and the sparsity penalty change over the steps."""

from training.config import TrainingConfig


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
