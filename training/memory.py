"""What fits need of memory, planned before the first step."""

from collections.abc import Mapping, Sequence

import torch

from sae.config import BatchTopKConfig, MatryoshkaConfig, TopKConfig
from sae.errors import UserError
from sae.sparse.engine import chunk_rows
from sae.topk import AUX_SHARE, aux_k_of
from training.cgroup import available_bytes
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
    if not isinstance(fit.sae, TopKConfig | BatchTopKConfig | MatryoshkaConfig):
        return 6 * 4 * d_sae * batch + 8 * 4 * d_in * batch
    is_dense = fit.training.kernels == "dense"
    # Of a sparse step: what lies above a floor is marked and collected; each code has its value, its places by row and by
    # feature, and their gradients.
    acts = 6 * 4 * d_sae * batch if is_dense else buffer + buffer // 4 + 16 * 4 * fit.sae.k * batch
    # While features are dead: the auxiliary loss, dense for as many as its share allows, their rows, and the gradient it adds.
    n_dead = d_sae if is_dense else min(d_sae, round(aux_k_of(fit.sae, d_in, d_sae) / AUX_SHARE))
    n_outputs = 1 + len(fit.sae.prefixes) if isinstance(fit.sae, MatryoshkaConfig) else 1
    return acts + 4 * 4 * n_dead * batch + 4 * 4 * d_in * d_sae + (4 + 4 * n_outputs) * 4 * d_in * batch


def stream_bytes(fit: Fit, d_in: int) -> int:
    """The pool of mixed rows: as read, in float32, and one batch."""
    cfg = fit.training
    return d_in * (cfg.shuffle_tokens * (4 + 4 + 4) + 4 * cfg.batch_tokens)


def need_bytes(fits: Sequence[Fit], widths: Mapping[str, int]) -> int:
    """What fits that train together need: every state, the largest step, one stream for each hook point."""
    largest = max(step_bytes(fit, widths[fit.hook_point]) for fit in fits)
    streams = {fit.hook_point: stream_bytes(fit, widths[fit.hook_point]) for fit in fits}
    return sum(state_bytes(fit, widths[fit.hook_point]) for fit in fits) + largest + sum(streams.values())


def refuse_too_large(fits: Sequence[Fit], widths: Mapping[str, int], device: str) -> None:
    """Stops before the first step where memory will not suffice, saying what would fit.

    Args:
        fits: Those of one job.
        widths: Width of each hook point's activations.
        device: Where they are trained.

    Raises:
        UserError: They need more than is free.
    """
    free = available_bytes() if device == "cpu" else torch.cuda.mem_get_info(torch.device(device))[0]
    need = need_bytes(fits, widths)
    if need <= free:
        return
    points = list(dict.fromkeys(fit.hook_point for fit in fits))
    alone = [[fit for fit in fits if fit.hook_point == point] for point in points]
    if len(points) > 1 and all(need_bytes(members, widths) <= free for members in alone):
        held = [[fit for fit in fits if fit.hook_point in points[: n + 1]] for n in range(len(points))]
        advice = f"Set training.hook_points_at_once={sum(need_bytes(members, widths) <= free for members in held)}."
    elif n_fit := sum(need_bytes(fits[: n + 1], widths) <= free for n in range(len(fits))):
        advice = f"Set training.saes_at_once={n_fit}{' and training.hook_points_at_once=1' if len(points) > 1 else ''}."
    else:
        one = max(fits, key=lambda fit: need_bytes([fit], widths))
        widest = one.sae.expansion_factor
        while widest > 1 and need_bytes([narrowed(one, widest)], widths) > free:
            widest //= 2
        advice = f"Lower expansion_factor to {widest}, or training.shuffle_tokens or training.batch_tokens, or run fewer workers."
    raise UserError(
        f"{len(fits)} SAEs at {', '.join(points)} need about {need / 1e9:.1f} GB of memory at once, but "
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
    by_need = sorted(groups, key=lambda fits: need_bytes(fits, widths), reverse=True)
    if not by_need:
        return
    refuse_too_large(by_need[0], widths, "cpu")
    needs = [need_bytes(fits, widths) for fits in by_need[:n_workers]]
    free = available_bytes()
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
