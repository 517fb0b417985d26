"""From settings to scores: which function each method is, and what it cost."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, assert_never

from analysis.attribution.attention import attention_rollout, last_attention
from analysis.attribution.attn_lrp import attn_lrp, gim
from analysis.attribution.config import (
    METHODS,
    AttentionRolloutConfig,
    AttnLRPConfig,
    ExpectedGradientsConfig,
    GatedLRPConfig,
    GIMConfig,
    GradientInputConfig,
    GradientNormConfig,
    HETAConfig,
    HiddenStateConfig,
    IntegratedGradientsConfig,
    LastAttentionConfig,
    MethodConfig,
    OcclusionConfig,
    ResamplingConfig,
    ShapleyConfig,
    SurrogateConfig,
    ThroughAnswerConfig,
)
from analysis.attribution.expected_gradients import expected_gradients
from analysis.attribution.footprint import Footprint
from analysis.attribution.gated_lrp import gated_lrp
from analysis.attribution.gradient import gradient_input, gradient_norm
from analysis.attribution.heta import heta
from analysis.attribution.hidden_state import hidden_state
from analysis.attribution.integrated_gradients import integrated_gradients
from analysis.attribution.occlusion import occlusion
from analysis.attribution.problem import Cost, Problem
from analysis.attribution.resampling import resampling
from analysis.attribution.scores import Scores
from analysis.attribution.shapley import shapley
from analysis.attribution.surrogate import surrogate
from analysis.attribution.through_answer import through_answer
from sae.errors import UserError


def attribute(problem: Problem, cfg: MethodConfig, seed: int = 0) -> Scores:
    """Runs a method and measures what it takes.

    Args:
        problem: What is explained.
        cfg: The method's settings.
        seed: Of everything random in it.

    Raises:
        UserError: The method cannot answer, or no token may change.
    """
    problem.refuse_nothing_free()
    problem.cost, problem.batch_tokens = Cost(), cfg.batch_tokens
    memory, start = Footprint(problem.lm.device), time.perf_counter()
    found = run(problem, cfg, seed)
    return replace(
        found, n_forwards=problem.cost.n_forwards, n_tokens=problem.cost.n_tokens, n_backwards=problem.cost.n_backwards,
        seconds=time.perf_counter() - start, peak_bytes=memory.extra_bytes(),
    )  # fmt: skip


def run(problem: Problem, cfg: MethodConfig, seed: int) -> Scores:  # noqa: PLR0912 - one case per method
    """A method's scores."""
    match cfg:
        case IntegratedGradientsConfig():
            return integrated_gradients(problem, cfg, seed)
        case GradientNormConfig():
            return gradient_norm(problem, cfg, seed)
        case GradientInputConfig():
            return gradient_input(problem, cfg, seed)
        case GatedLRPConfig():
            return gated_lrp(problem, cfg, seed)
        case AttnLRPConfig():
            return attn_lrp(problem, cfg, seed)
        case GIMConfig():
            return gim(problem, cfg, seed)
        case ExpectedGradientsConfig():
            return expected_gradients(problem, cfg, seed)
        case OcclusionConfig():
            return occlusion(problem, cfg, seed)
        case ResamplingConfig():
            return resampling(problem, cfg, seed)
        case ShapleyConfig():
            return shapley(problem, cfg, seed)
        case SurrogateConfig():
            return surrogate(problem, cfg, seed)
        case HiddenStateConfig():
            return hidden_state(problem, cfg, seed)
        case AttentionRolloutConfig():
            return attention_rollout(problem, cfg, seed)
        case LastAttentionConfig():
            return last_attention(problem, cfg, seed)
        case HETAConfig():
            return heta(problem, cfg, seed)
        case ThroughAnswerConfig():
            return through_answer(problem, cfg, seed)
        case _:
            assert_never(cfg)


def methods(names: Sequence[str], settings: dict[str, dict[str, Any]] | None = None) -> list[MethodConfig]:
    """The settings of named methods; `all` names every one.

    Args:
        names: Methods.
        settings: Method → setting → value, where it is not the default.

    Raises:
        UserError: There is no such method.
    """
    wanted = list(METHODS) if "all" in names else list(dict.fromkeys(names))
    for name in (*wanted, *(settings or {})):
        if name not in METHODS:
            raise UserError(
                f"{name!r} is no method, expected one of {', '.join(METHODS)}, sae_features, or all. Choose one."
            )
    return [METHODS[name](**(settings or {}).get(name, {})) for name in wanted]
