"""What fits need of memory, planned before the first step."""

from collections.abc import Mapping, Sequence

import psutil
import torch

from sae.errors import UserError
from sae.sparse.engine import chunk_rows
from training.spec import Fit

COPIES = 4
"""Of every weight: itself, its gradient, and Adam's two moments."""


def state_bytes(fit: Fit, d_in: int) -> int:
    """Weights of one autoencoder in training, with gradients and moments."""
    d_sae = fit.sae.d_sae(d_in)
    return COPIES * 4 * (2 * d_in * d_sae + 3 * d_sae + d_in)


def step_bytes(fit: Fit, d_in: int) -> int:
    """What one step holds beside the state, at most: dense or sparse, whichever is more."""
    d_sae, batch = fit.sae.d_sae(d_in), fit.training.batch_tokens
    buffer = 4 * d_sae * min(chunk_rows(d_sae), batch)
    is_bounded = fit.sae.architecture in ("topk", "batchtopk", "matryoshka") and fit.training.kernels != "dense"
    acts = buffer if is_bounded else 6 * 4 * d_sae * batch
    return acts + 8 * 4 * d_in * batch


def stream_bytes(fit: Fit, d_in: int) -> int:
    """The pool of mixed rows: as read, in float32, and one batch."""
    cfg = fit.training
    return d_in * (cfg.shuffle_tokens * (4 + 4 + 4) + 4 * cfg.batch_tokens)


def need_bytes(fits: Sequence[Fit], d_in: int) -> int:
    """What fits that train together need: every state, the largest step, one stream."""
    largest = max(step_bytes(fit, d_in) for fit in fits)
    return sum(state_bytes(fit, d_in) for fit in fits) + largest + stream_bytes(fits[0], d_in)


def refuse_too_large(fits: Sequence[Fit], d_in: int, device: str) -> None:
    """Stops before the first step where memory will not suffice, saying what would fit.

    Raises:
        UserError: They need more than is free.
    """
    free = psutil.virtual_memory().available if device == "cpu" else torch.cuda.mem_get_info(torch.device(device))[0]
    need = need_bytes(fits, d_in)
    if need <= free:
        return
    n_fit = sum(need_bytes(fits[: n + 1], d_in) <= free for n in range(len(fits)))
    if n_fit:
        advice = f"Set training.saes_at_once={n_fit}."
    else:
        one = max(fits, key=lambda fit: need_bytes([fit], d_in))
        widest = one.sae.expansion_factor
        while widest > 1 and need_bytes([narrowed(one, widest)], d_in) > free:
            widest //= 2
        advice = f"Lower expansion_factor to {widest}, or training.shuffle_tokens or training.batch_tokens, or run fewer workers."
    raise UserError(
        f"{len(fits)} SAEs at {fits[0].hook_point} need about {need / 1e9:.1f} GB of memory at once, but "
        f"{free / 1e9:.1f} GB are free, expected enough. {advice}"
    )


def refuse_too_many(groups: Sequence[Sequence[Fit]], widths: Mapping[str, int], n_workers: int) -> None:
    """Stops before the first worker starts where those that work at once will not have memory enough together.

    Args:
        groups: Fits of one job each.
        widths: Width of each hook point's activations.
        n_workers: Jobs at once on this machine, on its CPU.

    Raises:
        UserError: They need more than is free.
    """
    by_need = sorted(groups, key=lambda fits: need_bytes(fits, widths[fits[0].hook_point]), reverse=True)
    if not by_need:
        return
    refuse_too_large(by_need[0], widths[by_need[0][0].hook_point], "cpu")
    needs = [need_bytes(fits, widths[fits[0].hook_point]) for fits in by_need[:n_workers]]
    free = psutil.virtual_memory().available
    if sum(needs) <= free:
        return
    n_fit = sum(sum(needs[: n + 1]) <= free for n in range(len(needs)))
    raise UserError(
        f"{len(needs)} jobs of training at once need about {sum(needs) / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are "
        f"free, expected enough. Set engine.workers={max(n_fit, 1)}, or lower training.saes_at_once or training.shuffle_tokens."
    )


def narrowed(fit: Fit, expansion_factor: int) -> Fit:
    """The same fit with another width."""
    sae = fit.sae.model_copy(update={"expansion_factor": expansion_factor})
    return Fit(fit.run, fit.hook_point, sae, fit.training, fit.seed, fit.store_id, fit.threads)
