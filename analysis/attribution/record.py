"""One record per case for all methods: what the JSON API answers, what an auditor runs again.

    {job_id, created_at, completed_at, input, options, results: [{model, method, output, attribution, step_scores,
     faithfulness, origin, diagnostics, profile}]}

Everything but the clock fields (`CLOCKS`, and each result's `profile`) is decided by model, text, settings and seed: running
it again gives the same bytes on the same machine with as many threads.
"""

import math
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from analysis.attribution.case import Case
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores
from analysis.attribution.target import TokenTarget
from sae import artefact
from sae.config import Settings

FORMAT_VERSION = 2
CLOCKS = ("created_at", "completed_at", "profile")
"""Fields of a record that a second run changes; so does `profile` in each result."""


def now() -> str:
    """The time, in the form that records have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def result(
    problem: Problem, scores: Scores, cfg: Settings, seed: int, window: dict[str, int] | None = None
) -> dict[str, Any]:
    """One method's part of a record."""
    return {
        "model": problem.lm.name,
        "method": scores.method,
        "output": {"text": "".join(problem.target.labels), "tokens": list(problem.labels)},
        "attribution": {
            "raw": scores.raw.tolist(),
            "aggregated": {
                "token_importance": {"input": scores.importance.tolist(), "output": scores.raw.sum(0).tolist()}
            },
            "terms": {name: term.tolist() for name, term in scores.terms.items()},
        },
        "step_scores": step_scores(problem),
        "faithfulness": {
            "completeness": [one._asdict() for one in scores.completeness],
            "after_correction": [one._asdict() for one in scores.corrected],
            "caveat": scores.caveat,
        },
        "diagnostics": scores.diagnostics,
        "origin": origin(problem, cfg, seed, window),
        "profile": profile(scores),
    }


def step_scores(problem: Problem) -> dict[str, list[float]]:
    """What the model thought of each target: its score and, for tokens, probability and entropy (in nats)."""
    found = {"score": problem.clean_scores.tolist()}
    if isinstance(problem.target, TokenTarget):
        logs = problem.clean_outputs[0].float().log_softmax(-1)
        chosen = logs.gather(-1, torch.tensor(problem.target.token_ids, device=logs.device)[:, None])[:, 0]
        found |= {"probability": chosen.exp().tolist(), "entropy": (-(logs.exp() * logs).sum(-1)).tolist()}
    return found


def origin(problem: Problem, cfg: Settings, seed: int, window: dict[str, int] | None = None) -> dict[str, Any]:
    """All that decides a result, the text apart."""
    lm = problem.lm
    return {
        "format_version": FORMAT_VERSION,
        "model": lm.fingerprint | {"dtype": str(lm.dtype), "device": lm.device.type, "is_quantized": lm.is_quantized},
        "target": problem.target_record(),
        "settings": cfg.model_dump(mode="json"),
        "seed": seed,
        "fixed": list(problem.fixed),
        "window": window,
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "transformers", "clinlens")},
    }


def profile(scores: Scores) -> dict[str, Any]:
    """What the result took on this machine."""
    return {
        "seconds": scores.seconds,
        "n_forwards": scores.n_forwards,
        "n_backwards": scores.n_backwards,
        "tokens_per_s": scores.n_tokens / scores.seconds if scores.seconds > 0 else 0.0,
        "peak_extra_bytes": scores.peak_bytes,
    }


def record(case: Case, options: dict[str, Any], results: list[dict[str, Any]], created_at: str) -> dict[str, Any]:
    """The record of a case."""
    given = {
        "name": case.name,
        "text": case.text,
        "tokens": list(case.tokens),
        "token_ids": case.input_ids.tolist(),
        "offsets": [list(pair) for pair in case.offsets],
        "is_special": case.is_special.tolist(),
    }
    return {
        "job_id": artefact.content_hash(given, options, [one["origin"] for one in results]),
        "created_at": created_at,
        "completed_at": now(),
        "input": given,
        "options": options,
        "results": [plain(one) for one in results],
    }


def without_clocks(whole: dict[str, Any]) -> dict[str, Any]:
    """What a second run must give again, byte for byte."""
    kept = {key: value for key, value in whole.items() if key not in CLOCKS}
    kept["results"] = [{key: value for key, value in one.items() if key != "profile"} for one in whole["results"]]
    return kept


def plain(value: Any) -> Any:
    """A value as JSON knows it: what is not a finite number becomes null."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
