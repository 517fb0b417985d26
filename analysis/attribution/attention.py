"""Attention as an explanation: the last layer's, or followed through all layers.

    A ← mean over heads        R^(l) = (½ A^(l) + ½ I) R^(l−1)        score_i = R_{p, i}, p where the target is predicted

Source: Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers" (arXiv:2005.00928).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from analysis.attribution.attention_function import Attention, Seen, attending, plain
from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import AttentionRolloutConfig, LastAttentionConfig
from analysis.attribution.gradient import free
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores
from sae.errors import UserError


def attention_rollout(problem: Problem, cfg: AttentionRolloutConfig, seed: int) -> Scores:
    """Attention followed through the layers, heads averaged."""
    whole = problem.extended()
    layers = [one.weights.float().mean(0, keepdim=True) for one in seen(whole)]
    return told(problem, followed(starts(whole, layers[0].shape[-1]), layers)[:, -1, 0], "attention_rollout")


def last_attention(problem: Problem, cfg: LastAttentionConfig, seed: int) -> Scores:
    """Attention of the last layer that matters, heads averaged."""
    whole = problem.extended()
    weights = seen(whole)[-1].weights.float().mean(0)
    return told(problem, starts(whole, weights.shape[-1]) @ weights, "last_attention")


@torch.no_grad()
def seen(problem: Problem) -> list[Seen]:
    """Weights and values of every layer up to where the pass ends.

    Raises:
        UserError: It ends before any.
    """
    found: list[Seen] = []

    def attend(module: nn.Module, call: Attention) -> tuple[Tensor, Tensor]:
        values, weights = plain(module, call)
        found.append(Seen.of(call, weights))
        return values, weights

    with attending(problem.lm.model, attend):
        problem.outputs(problem.embeds[None])
    if not found:
        where = getattr(problem.target, "hook_point", "what is explained")
        raise UserError(
            f"No attention layer lies before {where}, expected at least one to look at. "
            "Explain a feature of a later hook point, or choose occlusion."
        )
    return found


def followed(
    where: Float[Tensor, "targets n"], layers: Sequence[Float[Tensor, "head n n"]]
) -> Float[Tensor, "targets layer head n"]:
    """Attention up to each layer from some places, every head by itself, half of each step staying where it is.

    Row vectors are multiplied from the last layer down, one for each layer that they may have begun at: the n × n products of the
    layers, of which a few rows are wanted, are never made.

    Args:
        where: The places, as shares of each.
        layers: Attention weights from the first layer on.
    """
    found = where.new_zeros(len(where), 0, len(layers[0]), where.shape[1])
    begun = where[:, None, None].expand(-1, 1, len(layers[0]), -1)
    for weights in reversed(layers):
        rows = torch.cat([begun, found], dim=1)
        found = 0.5 * torch.einsum("tlhn,hnm->tlhm", rows, weights.float()) + 0.5 * rows
    return found


def starts(problem: Problem, n: int) -> Float[Tensor, "targets n"]:
    """Where each target is read, as shares of a pass's n tokens; an encoder's classes at its first token, or at all alike where it
    takes their mean."""
    target, device = problem.target, problem.lm.device
    if target.positions:
        return torch.eye(n, device=device)[list(target.positions)]
    is_mean = getattr(problem.lm.model.config, "classifier_pooling", "cls") == "mean"
    row = torch.full((n,), 1 / n, device=device) if is_mean else torch.eye(1, n, device=device)[0]
    return row.repeat(len(target.labels), 1)


def told(problem: Problem, rows: Float[Tensor, "targets length"], method: str) -> Scores:
    """Rows of attention as scores of the case's tokens."""
    found = torch.zeros(len(rows), problem.n_tokens, dtype=torch.float64)
    n = min(problem.n_tokens, rows.shape[1])
    found[:, :n] = rows[:, :n].double().cpu()
    if problem.target.is_total:
        found = found.sum(0, keepdim=True)
    return Scores(method, free(problem, found), problem.labels, caveat=CAVEATS[method])
