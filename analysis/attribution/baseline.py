"""Embeddings that stand for the absence of a token."""

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attribution.config import BaselineKind
from analysis.attribution.problem import Problem
from sae.errors import UserError

WARNINGS = {
    "zero": "Zeros are far from any text: for models with RMS norms nearly all of the change happens next to them.",
    "token": "A token is a word too: what it says takes part in the comparison.",
}


def baseline_embeds(problem: Problem, kind: BaselineKind, token_id: int | None = None) -> Float[Tensor, "n d"]:
    """What stands in each free token's place; the others keep their own embedding.

    Raises:
        UserError: A token is wanted and none, or none of the vocabulary, is named.
    """
    absent = everywhere(problem, kind, token_id)
    return torch.where(problem.is_free[:, None].to(absent.device), absent, problem.embeds)


def everywhere(problem: Problem, kind: BaselineKind, token_id: int | None) -> Float[Tensor, "n d"]:
    """As above, for all tokens alike."""
    match kind:
        case "zero":
            return torch.zeros_like(problem.embeds)
        case "vocabulary_mean":
            return mean_embedding(problem, tuple(range(n_embeddings(problem)))).expand_as(problem.embeds)
        case "kind_mean":
            groups = [tuple(problem.vocabulary.kind(int(one))) for one in problem.case.input_ids]
            means = {group: mean_embedding(problem, group) for group in set(groups)}
            return torch.stack([means[group] for group in groups])
        case "token":
            if token_id is None or not 0 <= token_id < n_embeddings(problem):
                raise UserError(
                    f"baseline_token is {token_id}, expected a number from 0 to {n_embeddings(problem) - 1}. Set it."
                )
            return problem.embed(torch.tensor(token_id)).expand_as(problem.embeds)


def n_embeddings(problem: Problem) -> int:
    """Rows of the model's embedding."""
    return len(problem.vocabulary)


def mean_embedding(problem: Problem, token_ids: tuple[int, ...]) -> Float[Tensor, "d"]:
    """The mean over some tokens, in float32."""
    rows = problem.embed(torch.tensor(token_ids))
    return rows.float().mean(0).to(rows.dtype)
