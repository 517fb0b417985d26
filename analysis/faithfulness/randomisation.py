"""Randomisation checks: an explanation of a model must change when the model does.

Weights are shuffled from the head down. A method whose scores stay as they were does not explain what the model answers,
but something that comes before it.

Source: Adebayo et al. 2018, "Sanity Checks for Saliency Maps" (arXiv:1810.03292), cascading randomisation.
# Differs from it: because every architecture draws its first weights in its own way; shuffling the entries of each matrix
# keeps their distribution and needs to know none.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import nn

from hooks.model import LanguageModel

STAGES = ("head", "upper_half", "all_layers")


def cascade(lm: LanguageModel, seed: int) -> Iterator[tuple[str, LanguageModel]]:
    """The model with its head shuffled, then its upper half too, then all layers; embeddings stay, so that the text is read."""
    for stage in STAGES:
        model = copy.deepcopy(lm.model)
        generator = torch.Generator().manual_seed(seed)
        for module in parts(lm, model, stage):
            shuffle(module, generator)
        yield stage, replace(lm, model=model)


def parts(lm: LanguageModel, model: Any, stage: str) -> list[nn.Module]:
    """What is shuffled at a stage; a head that is tied to the embedding gets weights of its own first."""
    found: list[nn.Module] = []
    head = model.get_output_embeddings() if lm.kind == "decoder" else None
    if head is not None:
        model.set_output_embeddings(copy.deepcopy(head))
        found.append(model.get_output_embeddings())
    if lm.family.final_norm is not None:
        found.append(model.base_model.get_submodule(lm.family.final_norm))
    first = {"head": lm.n_layers, "upper_half": lm.n_layers // 2, "all_layers": 0}[stage]
    return found + [model.base_model.get_submodule(f"{lm.family.layers}.{i}") for i in range(first, lm.n_layers)]


@torch.no_grad()
def shuffle(module: nn.Module, generator: torch.Generator) -> None:
    """Mixes the entries of every parameter."""
    for parameter in module.parameters():
        turn = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[turn].view_as(parameter))


def similarity(before: Float[np.ndarray, "n"], after: Float[np.ndarray, "n"]) -> float:
    """Spearman's correlation of absolute scores; nan where one is constant."""
    a, b = np.abs(before), np.abs(after)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    found: Any = spearmanr(a, b)
    return float(found.statistic)
