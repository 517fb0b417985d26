"""Through a long answer: what a token of the answer owes to earlier tokens of the answer is passed on to the text.

FlashTrace (arXiv:2602.01914):

1. Every answer token has scores over the text and over the answer before it.
2. What a target owes to answer token j, it owes to whatever j owes itself to: that mass is handed on by j's own shares.
3. One hop suffices as a rule; what still lies on the answer after the last hop is reported as unresolved.

# Differs from the paper: shares come from any signed method here, not from attention, so mass may speak for or against.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from analysis.attribution.attn_lrp import attn_lrp, gim
from analysis.attribution.config import AttnLRPConfig, GIMConfig, GradientNormConfig, ThroughAnswerConfig
from analysis.attribution.gradient import gradient_norm
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores


def through_answer(problem: Problem, cfg: ThroughAnswerConfig, seed: int) -> Scores:
    """Scores of the text with the answer's own part handed on to it."""
    n = problem.n_tokens
    base = token_by_token(problem.extended(), cfg, seed)
    found, left = handed_on(base.raw[:n], base.raw[n:], cfg.hops)
    if problem.target.is_total:
        found, left = found.sum(1, keepdims=True), left.sum(keepdims=True)
    return Scores(
        "through_answer", found, problem.labels, terms={"direct": direct(problem, base.raw[:n])},
        diagnostics={"hops": cfg.hops, "through": cfg.through, "unresolved": left.tolist()},
        caveat=base.caveat,
    )  # fmt: skip


def token_by_token(whole: Problem, cfg: ThroughAnswerConfig, seed: int) -> Scores:
    """Each answer token's own scores over everything before it."""
    apart = Problem(
        whole.lm, whole.case, replace(whole.target, is_total=False), whole.sae, batch_tokens=whole.batch_tokens,
        fixed=whole.fixed,
    )  # fmt: skip
    apart.cost = whole.cost
    match cfg.through:
        case "attn_lrp":
            return attn_lrp(apart, AttnLRPConfig(), seed)
        case "gim":
            return gim(apart, GIMConfig(), seed)
        case "gradient_norm":
            return gradient_norm(apart, GradientNormConfig(), seed)


def direct(problem: Problem, raw: Float[np.ndarray, "n targets"]) -> Float[np.ndarray, "n columns"]:
    """What came without any hop."""
    return raw.sum(1, keepdims=True) if problem.target.is_total else raw


def handed_on(
    prompt: Float[np.ndarray, "n targets"], answer: Float[np.ndarray, "m targets"], hops: int
) -> tuple[Float[np.ndarray, "n targets"], Float[np.ndarray, "targets"]]:
    """Scores of the text after some hops, and the absolute mass per target that is still on the answer.

    Args:
        prompt: Scores of the text's tokens.
        answer: Scores of the answer's tokens but the last; row j is the token that target j predicts.
        hops: How often mass is handed on.
    """
    m = len(answer)
    size = np.abs(prompt).sum(0) + np.abs(answer).sum(0)
    shares_prompt = np.divide(prompt, size, out=np.zeros_like(prompt), where=size > 0)[:, :m]
    shares_answer = np.divide(answer, size, out=np.zeros_like(answer), where=size > 0)[:, :m]
    found, mass = prompt.copy(), answer
    for _ in range(hops):
        found = found + shares_prompt @ mass
        mass = shares_answer @ mass
    return found, np.abs(mass).sum(0)
