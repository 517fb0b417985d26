"""Scores of a text of which only some units are there, for the methods that compare coalitions."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from analysis.attribution.case import Unit
from analysis.attribution.problem import Problem


def coalitions(
    problem: Problem, units: Sequence[Unit], absent: Float[Tensor, "n d"], present: Bool[np.ndarray, "rows units"]
) -> Float[np.ndarray, "rows targets"]:
    """The scores of each row's units, the others replaced; rows that are equal are run once.

    A token of several units is there only where they all are.
    """
    distinct, where = np.unique(present, axis=0, return_inverse=True)
    is_absent = torch.zeros(len(distinct), problem.n_tokens, dtype=torch.bool)
    for index, unit in enumerate(units):
        is_absent[:, list(unit.tokens)] |= torch.from_numpy(~distinct[:, index])[:, None]
    found = []
    for some in is_absent.to(problem.embeds.device).split(problem.rows_per_batch):
        rows = torch.where(some[..., None], absent, problem.embeds)
        found.append(problem.scores_without_grad(rows))
    return torch.cat(found).double().cpu().numpy()[where.reshape(-1)]
