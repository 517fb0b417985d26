"""Attention as an explanation: the last layer's, or followed through all layers.

    A ← mean over heads        R^(l) = (½ A^(l) + ½ I) R^(l−1)        score_i = R_{p, i}, p where the target is predicted

Source: Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers" (arXiv:2005.00928).
"""

from collections.abc import Iterator, Sequence

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
    *_, rolled = followed([one.weights.mean(0, keepdim=True) for one in seen(whole)])
    return told(problem, rolled[0, places(whole)], "attention_rollout")


def last_attention(problem: Problem, cfg: LastAttentionConfig, seed: int) -> Scores:
    """Attention of the last layer that matters, heads averaged."""
    whole = problem.extended()
    return told(problem, seen(whole)[-1].weights.mean(0)[places(whole)], "last_attention")


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


def followed(layers: Sequence[Float[Tensor, "head n n"]]) -> Iterator[Float[Tensor, "head n n"]]:
    """Attention up to each layer in turn, every head by itself, half of each step staying where it is."""
    unit = torch.eye(layers[0].shape[-1], device=layers[0].device)
    found = unit
    for weights in layers:
        found = (0.5 * weights + 0.5 * unit) @ found
        yield found


def places(problem: Problem) -> list[int]:
    """Where each target is read; an encoder's classes at its first token."""
    return list(problem.target.positions) or [0] * len(problem.target.labels)


def told(problem: Problem, rows: Float[Tensor, "targets length"], method: str) -> Scores:
    """Rows of attention as scores of the case's tokens."""
    found = torch.zeros(len(rows), problem.n_tokens, dtype=torch.float64)
    n = min(problem.n_tokens, rows.shape[1])
    found[:, :n] = rows[:, :n].double().cpu()
    if problem.target.is_total:
        found = found.sum(0, keepdim=True)
    return Scores(method, free(problem, found), problem.labels, caveat=CAVEATS[method])
