"""Occlusion: how much the score falls when a unit is replaced by something that says nothing.

    score_u = F(x) − F(x with unit u replaced)

Every replacement is run from its first token on: what stands before keeps its keys and values, and what stands after the
last target is not run. That halves the work, and is exact.

Source: Zeiler & Fergus 2014 (arXiv:1311.2901); Li et al. 2016, "Understanding Neural Networks through Representation Erasure"
(arXiv:1612.08220).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attribution.baseline import WARNINGS, baseline_embeds
from analysis.attribution.case import Unit
from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import OcclusionConfig, UnitKind
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores
from sae.errors import UserError


def occlusion(problem: Problem, cfg: OcclusionConfig, seed: int) -> Scores:
    """The change by replacing each unit."""
    absent = baseline_embeds(problem, cfg.baseline, cfg.baseline_token)
    units = free_units(problem, cfg.unit)
    effects = problem.clean_scores.double().cpu() - replaced(problem, units, absent).double().cpu()
    caveat = CAVEATS["occlusion"]
    return Scores(
        "occlusion", spread(problem, units, effects.numpy()), problem.labels,
        diagnostics={"unit": cfg.unit, "n_units": len(units), "baseline_warning": WARNINGS.get(cfg.baseline, "")},
        caveat=caveat,
    )  # fmt: skip


def free_units(problem: Problem, kind: UnitKind) -> list[Unit]:
    """The units of a case without tokens that stay as they are, in the order of their first tokens.

    Raises:
        UserError: None has a token that may change.
    """
    if found := units_of(problem, kind):
        return found
    raise UserError(
        f"Units are {kind!r}, but none of the case's holds a token that may change, expected at least one: they are blanks, or "
        "held fixed. Mark or free some, or choose another unit."
    )


def units_of(problem: Problem, kind: UnitKind) -> list[Unit]:
    """The same, perhaps none; the order does not rest on the one in which spans are listed."""
    free = problem.is_free.tolist()
    units = [Unit(one.label, tuple(i for i in one.tokens if free[i])) for one in problem.case.units(kind)]
    return sorted((unit for unit in units if unit.tokens), key=lambda one: (one.tokens[0], len(one.tokens), one.label))


@torch.no_grad()
def replaced(problem: Problem, units: Sequence[Unit], absent: Float[Tensor, "n d"]) -> Float[Tensor, "units targets"]:
    """The scores with each unit replaced."""
    found = []
    for start, group in batches(problem, units):
        tail = problem.embeds[start:].repeat(len(group), 1, 1)
        for row, unit in zip(tail, group, strict=True):
            places = torch.tensor(unit.tokens)
            row[places - start] = absent[places]
        found.append(problem.score_after(start, tail))
    return torch.cat(found)


def batches(problem: Problem, units: Sequence[Unit]) -> Iterator[tuple[int, Sequence[Unit]]]:
    """Neighbouring units, and the first token that any of them changes."""
    index = 0
    while index < len(units):
        start = units[index].tokens[0]
        size = problem.rows_after(start)
        yield start, units[index : index + size]
        index += size


def spread(
    problem: Problem, units: Sequence[Unit], effects: Float[np.ndarray, "units targets"]
) -> Float[np.ndarray, "n targets"]:
    """Each unit's effect shared evenly among its tokens, so that sums stay what they are."""
    raw = np.zeros((problem.n_tokens, effects.shape[1]))
    for unit, effect in zip(units, effects, strict=True):
        raw[list(unit.tokens)] += effect / len(unit.tokens)
    return raw
