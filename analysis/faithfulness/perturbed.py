"""The answer when parts of a text are taken away: the one place where faithfulness figures run the model."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import expit
from torch import Tensor

from analysis.attribution.problem import Problem


@dataclass(frozen=True)
class Perturbed:
    """One problem whose tokens are replaced or worn away. Its score is the sum over targets."""

    problem: Problem
    n_draws: int
    seed: int

    @cached_property
    def draws(self) -> Int[Tensor, "draws n"]:
        """The text with every free token replaced, several times."""
        case = self.problem.case
        places = tuple(self.problem.is_free.nonzero().flatten().tolist())
        found = case.input_ids.repeat(self.n_draws, 1)
        found[:, list(places)] = self.problem.sampler.sample(case.input_ids, places, self.n_draws, self.seed)
        return found

    def scores(self, gone: Bool[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows draws"]:
        """The score when tokens are replaced, for each draw. Rows that lose later tokens are run together."""
        ids = torch.where(torch.from_numpy(gone)[:, None], self.draws, self.problem.case.input_ids).flatten(0, 1)
        first = np.where(gone.any(1), gone.argmax(1), gone.shape[1]).repeat(self.n_draws)
        turns = np.argsort(first, kind="stable")
        found = np.empty((len(ids), 1))
        size = max(self.problem.rows_per_batch, 1)
        for some in np.split(turns, range(size, len(turns), size)):
            found[some, 0] = self.problem.score_ids(ids[torch.from_numpy(some)]).sum(1).double().cpu().numpy()
        return found.reshape(len(gone), self.n_draws)

    def probability(self, gone: Bool[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows"]:
        """σ of the score, mean over draws."""
        return expit(self.scores(gone)).mean(1)

    def changes(self, gone: Bool[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows"]:
        """Fall of the score, mean over draws."""
        whole = float(self.problem.clean_scores.sum())
        return whole - self.scores(gone).mean(1)

    def soft_probability(self, keep: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows"]:
        """σ of the score when every entry of an embedding is kept with a probability, else 0; mean over draws."""
        generator = torch.Generator().manual_seed(self.seed)
        embeds = self.problem.embeds
        rates = torch.from_numpy(keep).float()[:, None, :, None].expand(-1, self.n_draws, -1, embeds.shape[-1])
        masks = torch.bernoulli(rates, generator=generator).to(embeds)
        scores = self.problem.scores_without_grad((embeds * masks).flatten(0, 1)).sum(1)
        return expit(scores.double().cpu().numpy().reshape(len(keep), self.n_draws)).mean(1)
