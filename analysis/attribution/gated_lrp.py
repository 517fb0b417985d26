"""AttnLRP's relevance beside a gated sensitivity, from the same forward and backward pass: the default method.

    score_i = R_i + S_i  where R_i > −¾ S_i, else R_i        S_i = w · (Σ_j |R_j| / Σ_j U_j) · U_i        U_i = G_i^p · ‖g_i‖₂

1. *Relevance* R_i = ⟨g_i, x_i⟩, or x_i less a baseline, by AttnLRP's rules (`analysis.attribution.attn_lrp`). It has a sign, but
   adds up what a token does through values, keys and queries; where these speak against each other, the token that decides the
   answer is left with little.
2. *Sensitivity* S_i, from ‖g_i‖: the length of the same gradient. Nothing cancels in it, and it has no sign.
3. *Gate* G_i: how much of the token could have reached the place of the answer (`analysis.attribution.gate`), 0 at that place
   itself; of a sum over an answer, the mean. Without it, sensitive tokens that nobody looks at would be shown.

Both parts are scaled to the same absolute sum over the tokens that are attributed; w = 1 gives each one half. Where relevance
speaks against the answer nearly as much as the token is sensitive, or more, it stands alone: their sum would hide the token.

Source: this project; the rules from AttnLRP (arXiv:2402.05602), the gate from HETA (paper 004, arXiv:2604.13258), whose score
is a gate times curvature and information. What it finds of known evidence beside each alone, and how w and p were chosen:
docs/faithfulness.md.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attribution.attention_function import Seen
from analysis.attribution.attn_lrp import traced
from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import GatedLRPConfig
from analysis.attribution.gate import gates
from analysis.attribution.gradient import free
from analysis.attribution.problem import Problem
from analysis.attribution.rules import Rules
from analysis.attribution.scores import Scores
from analysis.attribution.target import FeatureTarget

AGAINST = 0.75
"""Share of its sensitivity from which on relevance against the answer stands alone. Source: measured; in 1 of 100 records with
negations the asked entry has relevance below −.47 of its sensitivity, and no figure changes from .75 to 2."""
SMALLEST = 1e-30
"""Stands for 0 in divisions."""


def gated_lrp(problem: Problem, cfg: GatedLRPConfig, seed: int) -> Scores:
    """The sum, with its parts; the residuals are those of the relevance alone."""
    watched: list[Seen] = []
    found = traced(problem, cfg, Rules(), watched)
    gate = without_own_place(problem, gates(problem, watched))
    if problem.target.is_total:
        gate = gate.mean(0, keepdim=True)
    is_free = problem.is_free.to(gate.device)
    relevance = torch.where(is_free, found.relevance.cpu(), 0.0)
    sharp = (gate / gate.amax(1, keepdim=True).clamp_min(SMALLEST)) ** cfg.power
    reached = torch.where(is_free, sharp * found.gradients.double().norm(dim=-1).cpu(), 0.0)
    share = relevance.abs().sum(1, keepdim=True) / reached.sum(1, keepdim=True).clamp_min(SMALLEST)
    sensitivity = cfg.weight * share * reached
    total = relevance + torch.where(relevance > -AGAINST * sensitivity, sensitivity, 0.0)
    terms = {"relevance": relevance, "sensitivity": sensitivity, "gate": gate}
    return Scores(
        "gated_lrp", free(problem, total), problem.labels, found.plain, found.booked,
        terms={name: free(problem, term) for name, term in terms.items()}, diagnostics=found.diagnostics,
        caveat=CAVEATS["gated_lrp"],
    )  # fmt: skip


def without_own_place(problem: Problem, gate: Float[Tensor, "targets n"]) -> Float[Tensor, "targets n"]:
    """The gate, 0 at the token that an answer is read off.

    That token, the colon of `Diagnosis:`, is reached by itself whatever the text says, so that it would have the largest share of
    nearly every picture. A feature is read off the token that it is of, which may well be its cause: there it stays.
    """
    if isinstance(problem.target, FeatureTarget):
        return gate
    found = gate.clone()
    for row, place in enumerate(problem.target.positions):
        found[row, place : place + 1] = 0
    return found
