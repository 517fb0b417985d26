"""Hidden-state activation, the Activation Flow Network of paper 001: how long a token's hidden state is.

    s_i = ‖h_i^(l)‖₂        HIGH where s_i ≥ the upper quartile over tokens, else LOW

1. l is layer 8 of 12; in other models two thirds of the way.
2. The flow shows s in every layer, and the shift ‖h_i^(l) − h_i^(l−1)‖ that each layer makes.

Source: arXiv:2605.22377.
# Differs from the paper: special tokens take no part in the quartile, since decoders put huge norms on the first token
# (Sun et al. 2024, "Massive Activations in Large Language Models", arXiv:2402.17762).
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float

from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import HiddenStateConfig
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores
from hooks import passage
from hooks.hook_points import HookPoint
from sae.errors import UserError

QUARTILE = 0.75


class Flow(NamedTuple):
    """Token activation strength through the layers."""

    strength: Float[np.ndarray, "layers n"]
    """s of every token after every layer."""
    shift: Float[np.ndarray, "layers n"]
    """How far each layer moves the state; the first from the embedding on."""


def hidden_state(problem: Problem, cfg: HiddenStateConfig, seed: int) -> Scores:
    """Strength at one layer; the same for every target, since it knows of none."""
    layer = layer_of(cfg.layer, problem.lm.n_layers)
    found = flow(problem)
    is_free = problem.is_free.numpy()
    strength = np.where(is_free, found.strength[layer - 1], 0.0)
    n_targets = problem.n_targets
    return Scores(
        "hidden_state", np.repeat(strength[:, None], n_targets, axis=1), problem.labels,
        terms={"shift": np.repeat(np.where(is_free, found.shift[layer - 1], 0.0)[:, None], n_targets, axis=1)},
        diagnostics={
            "layer": layer, "is_high": buckets(strength, is_free).tolist(), "flow": found.strength.tolist(),
        },
        caveat=CAVEATS["hidden_state"],
    )  # fmt: skip


def flow(problem: Problem) -> Flow:
    """Strength and shift in every layer."""
    lm, ids = problem.lm, problem.case.input_ids[None]
    points = [HookPoint(layer, "hook_resid_post") for layer in range(lm.n_layers)]
    values = passage.record(lm, [HookPoint(0, "hook_resid_pre"), *points], ids, torch.ones_like(ids))
    problem.cost.add(1, ids.shape[1])
    states = torch.stack([values[one][0] for one in (HookPoint(0, "hook_resid_pre"), *points)]).double()
    return Flow(states[1:].norm(dim=-1).cpu().numpy(), states.diff(dim=0).norm(dim=-1).cpu().numpy())


def buckets(strength: Float[np.ndarray, "n"], is_free: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """HIGH or LOW."""
    return is_free & (strength >= np.quantile(strength[is_free], QUARTILE))


def layer_of(asked: int | None, n_layers: int) -> int:
    """The layer to look at, from 1.

    Raises:
        UserError: The model has no such layer.
    """
    if asked is not None and asked > n_layers:
        raise UserError(f"hidden_state.layer is {asked}, but the model has layers 1 to {n_layers}. Choose one of them.")
    return asked or max(1, round(2 * n_layers / 3))
