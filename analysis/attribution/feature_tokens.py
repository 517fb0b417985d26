"""Token → feature: which tokens made a feature fire, by its pre-activation z.

Activations per token, which viewers show, say where a feature fires and not what made it fire. What is followed here is z
and not the activation, which has no gradient, or none that helps, at the gate of TopK and JumpReLU. The pass ends at the
hook point.

| tier | score of token i for z at position p | cost |
|---|---|---|
| `gradient_norm`, `attn_lrp`, `gim`, `integrated_gradients` | the method of that name, with z as its target | its own |
| `exact` | z − z with token i replaced | n partial forwards for all features and positions |

A replaced token becomes the mean embedding of its kind, or other tokens of its kind.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.attribution.baseline import baseline_embeds
from analysis.attribution.build import attribute
from analysis.attribution.config import METHODS
from analysis.attribution.feature_site import Active, FeatureSite
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores
from analysis.attribution.target import FeatureTarget

Estimate = Literal["gim", "attn_lrp", "gradient_norm", "integrated_gradients"]
Replacement = Literal["mean", "resample"]


def estimated(site: FeatureSite, active: Active, method: Estimate, seed: int = 0) -> Scores:
    """Scores of every token for each of some features at their positions: [n_tokens, n]."""
    labels = tuple(
        f"{site.point}/{j}@{p}" for p, j in zip(active.position.tolist(), active.feature.tolist(), strict=True)
    )
    target = FeatureTarget(
        site.point, tuple(active.position.tolist()), tuple(active.feature.tolist()), labels,
        answer_ids=site.problem.target.answer_ids,
    )  # fmt: skip
    problem = Problem(
        site.problem.lm, site.problem.case, target, site.sae, batch_tokens=site.problem.batch_tokens,
        fixed=site.problem.fixed, sampler=site.problem.sampler,
    )  # fmt: skip
    found = attribute(problem, METHODS[method](), seed)
    site.problem.cost.n_forwards += found.n_forwards
    site.problem.cost.n_tokens += found.n_tokens
    site.problem.cost.n_backwards += found.n_backwards
    return found


@dataclass(frozen=True)
class Replaced:
    """What happens at the hook point when one token at a time is replaced: one sweep serves every feature."""

    site: FeatureSite
    by: Replacement = "mean"
    n_samples: int = 8
    """Draws of each token's replacement, for `resample`."""
    seed: int = 0

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """The tokens that are replaced: all that are attributed and stand no later than what is explained."""
        n_read = self.site.rows.shape[1]
        return tuple(self.site.problem.is_free[:n_read].nonzero().flatten().tolist())

    @cached_property
    def values(self) -> Float[Tensor, "tokens samples length d_in"]:
        """h after each replacement."""
        found = []
        for rows in self.rows.split(self.site.problem.rows_per_batch):
            with torch.no_grad():
                self.site.problem.cost.add(len(rows), rows.shape[1])
                found.append(self.site.problem.heard(rows, self.site.point).float())
        whole = torch.cat(found)
        return whole.unflatten(0, (len(self.tokens), -1))

    @property
    def rows(self) -> Float[Tensor, "batch length d"]:
        """The embeddings with one token replaced, all draws of the first token first."""
        n_draws = 1 if self.by == "mean" else self.n_samples
        rows = self.site.rows.repeat(len(self.tokens) * n_draws, 1, 1)
        at = torch.tensor(self.tokens, device=rows.device).repeat_interleave(n_draws)
        rows[torch.arange(len(rows), device=rows.device), at] = self.means if self.by == "mean" else self.draws
        return rows

    @property
    def means(self) -> Float[Tensor, "tokens d"]:
        """The mean embedding of each token's kind."""
        return baseline_embeds(self.site.problem, "kind_mean")[list(self.tokens)]

    @property
    def draws(self) -> Float[Tensor, "batch d"]:
        """Embeddings of other tokens."""
        problem = self.site.problem
        ids = problem.sampler.sample(problem.case.input_ids, self.tokens, self.n_samples, self.seed)
        return problem.embed(ids.T.flatten())

    def effects(self, active: Active) -> Float[np.ndarray, "n_tokens n"]:
        """Fall of each feature's pre-activation, mean over draws; 0 for tokens that are not replaced."""
        with torch.no_grad():
            here = self.pre_acts(self.site.value, active)
            there = torch.stack([self.pre_acts(value, active) for value in self.values.flatten(0, 1)])
        mean = there.unflatten(0, (len(self.tokens), -1)).mean(1)
        found = np.zeros((self.site.problem.n_tokens, len(active.feature)))
        found[list(self.tokens)] = (here - mean).double().cpu().numpy()
        return found

    def pre_acts(self, value: Float[Tensor, "length d_in"], active: Active) -> Float[Tensor, "n"]:
        """Each feature's pre-activation at its own position."""
        return at_own_position(self.site, value, active.position, active.feature)

    def activations(self, token: int, position: int, feature: int) -> Float[Tensor, "samples"]:
        """A feature's activation after a token was replaced, gate and all."""
        value = self.values[self.tokens.index(token), :, position]
        with torch.no_grad():
            return self.site.sae.encode(value)[:, feature]


def at_own_position(
    site: FeatureSite, value: Float[Tensor, "length d_in"], position: Int[Tensor, "n"], feature: Int[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """z of each feature at its position, without the others'."""
    places, row = position.unique(return_inverse=True)
    kinds, column = feature.unique(return_inverse=True)
    return site.sae.pre_acts_of(value[places], kinds)[row, column]
