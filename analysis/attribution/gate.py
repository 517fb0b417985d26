"""How much of a token could have reached the place where an answer is read: HETA's gate, the semantic transition vector.

    G_i = Σ_layer Σ_head R^(head, layer)_{p, i} · ‖V_i W_O‖₁, scaled to Σ_i G_i = 1

R is the attention of each head followed up to the layer (`analysis.attribution.attention`), p the place of the target, ‖V_i W_O‖₁
the size of what the head would write of token i.

Source: "Hessian-Enhanced Token Attribution" (paper 004, arXiv:2604.13258).
# Differs from the released code: because it slices W_O by the width of the shared key and value heads, which is wrong where
# queries share them; here every head has its own part of the output matrix.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from analysis.attribution.attention import followed, starts
from analysis.attribution.attention_function import Seen
from analysis.attribution.problem import Problem


@torch.no_grad()
def gates(problem: Problem, layers: Sequence[Seen]) -> Float[Tensor, "targets n"]:
    """The gate of every target over the case's tokens; over all tokens of the pass it is a simplex.

    Args:
        problem: What is explained.
        layers: What each layer saw of the whole text, answer included. Without any, as for a feature before the first attention, a
            place is reached by its own token alone.
    """
    whole = problem.extended()
    n = layers[0].weights.shape[-1] if layers else max(whole.n_tokens, *whole.target.positions) + 1
    where = starts(whole, n)
    if layers:
        sizes = torch.stack([written(problem, index, layer) for index, layer in enumerate(layers)])
        total = (followed(where, [one.weights for one in layers]) * sizes).double().sum((1, 2))
        where = total / total.sum(1, keepdim=True).clamp_min(torch.finfo(total.dtype).tiny)
    found = torch.zeros(len(where), problem.n_tokens, dtype=torch.float64)
    found[:, : where.shape[1]] = where[:, : problem.n_tokens].cpu()
    return found


@torch.no_grad()
def written(problem: Problem, layer: int, attention: Seen) -> Float[Tensor, "head n"]:
    """‖V_i W_O‖₁ of every head: each head's values alone through its part of the output matrix."""
    lm = problem.lm
    out = lm.base.get_submodule(f"{lm.family.layers}.{layer}.{lm.family.places['attn.hook_z'].path}")
    values = attention.values.to(lm.dtype)
    matrix = matrix_of(out)
    if matrix is None:
        return torch.stack([through(out, values, head) for head in range(len(values))])
    parts = matrix.unflatten(0, (len(values), -1))
    return torch.stack([(one @ part).float().abs().sum(-1) for one, part in zip(values, parts, strict=True)])


def matrix_of(out: nn.Module) -> Float[Tensor, "heads_width d"] | None:
    """The matrix that heads, side by side, are multiplied by; none where the module is not plainly one, as with adapters."""
    if type(out) is nn.Linear:
        return out.weight.T
    return out.weight if type(out) is Conv1D else None


def through(out: nn.Module, values: Float[Tensor, "head n d_head"], head: int) -> Float[Tensor, "n"]:
    """The size of what one head writes, by running the module on it alone; its bias is taken away."""
    n_heads, n, width = values.shape
    alone = values.new_zeros(n, n_heads, width)
    alone[:, head] = values[head]
    return (out(alone.flatten(1)) - out(values.new_zeros(1, n_heads * width))).float().abs().sum(-1)
