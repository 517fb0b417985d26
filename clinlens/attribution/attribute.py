"""The verb: cases × methods → records, each result made once, with what it took."""

import json
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from analysis.attribution import case as cases
from analysis.attribution import record
from analysis.attribution.build import attribute, methods
from analysis.attribution.cache import Cache
from analysis.attribution.case import Case, MarkedSpan
from analysis.attribution.config import METHODS, MethodConfig
from analysis.attribution.problem import Problem
from analysis.attribution.request import problem_of
from analysis.attribution.scores import Scores
from analysis.attribution.windows import taken, windowed, windows
from clinlens.attribution.cases import Asked
from clinlens.pipeline import Run, progress
from hooks.model import LanguageModel, load
from sae import artefact
from sae.base import SAE
from sae.errors import UserError
from sae.saelens_format import WEIGHTS_FILE
from sae.saelens_format import load as load_sae
from training.resources import machine

FOLDER = "attributions"
CHOICE = "choice.json"


class Options(NamedTuple):
    """How the verb goes about it."""

    seed: int = 0
    sae_id: str | None = None
    """Autoencoder of features; the recommended or only one, if none."""
    window: int | None = None
    """Tokens of a window, for texts longer than the model reads."""
    tail: int = 32
    """Last tokens of the text, which stand in every window."""
    is_cached: bool = True
    """Whether results are kept in the run folder and taken from there."""


class Question(NamedTuple):
    """A case with its problem; of a long text, the problem of its last window."""

    case: Case
    problem: Problem
    window: dict[str, int] | None
    fixed: tuple[int, ...] = ()
    """Tokens of the whole case that are held fixed."""


def attribute_cases(
    run: Run, asked: Sequence[Asked], cfgs: Sequence[MethodConfig], options: Options
) -> list[dict[str, Any]]:
    """The records of cases.

    Raises:
        UserError: A case cannot be explained, or not by the only method asked for.
    """
    lm = load(run.model)
    cache = Cache(run.folder / FOLDER if options.is_cached else None)
    with progress("attribute", len(asked) * len(cfgs), "result") as done:
        return [one_record(run, lm, one, cfgs, options, cache, done) for one in asked]


def one_record(
    run: Run, lm: LanguageModel, asked: Asked, cfgs: Sequence[MethodConfig], options: Options, cache: Cache,
    done: Callable[[int], None],
) -> dict[str, Any]:  # fmt: skip
    """The record of one case, with what it took."""
    started, clock = record.now(), time.perf_counter()
    question = ask(run, lm, asked, options)
    results, refused = [], []
    for cfg in cfgs:
        try:
            results.append(one_result(question, cfg, options, cache))
        except UserError as error:
            if len(cfgs) == 1:
                raise
            refused.append({"method": cfg.method, "reason": str(error)})
        done(1)
    settings = {"methods": [cfg.model_dump(mode="json") for cfg in cfgs], "seed": options.seed}
    found = record.record(question.case, settings | {"window": question.window}, results, started)
    found["refused"] = refused
    return found | {"profile": profile(found, time.perf_counter() - clock)}


def ask(run: Run, lm: LanguageModel, asked: Asked, options: Options) -> Question:
    """The problem of a case.

    Raises:
        UserError: The text is too long and no window is given, or what is asked for is not to be had.
    """
    spans = [MarkedSpan(one.start, one.end, one.label) for one in asked.spans]
    case = cases.read(asked.text, lm, name=asked.id, spans=spans, may_be_long=options.window is not None)
    fixed = sorted({token for span in asked.fixed for token in case.tokens_of(span.start, span.end)})

    def open_sae(hook_point: str) -> SAE:
        return load_sae(sae_folder(run.folder, hook_point, options.sae_id))

    if options.window is None or case.n_tokens <= options.window:
        return Question(case, problem_of(case, lm, asked.request, open_sae, fixed), None)
    last = taken(case, windows(case, options.window, options.tail)[-1])
    problem = problem_of(last, lm, asked.request, open_sae)
    return Question(case, problem, {"window_tokens": options.window, "tail_tokens": options.tail}, tuple(fixed))


def one_result(question: Question, cfg: MethodConfig, options: Options, cache: Cache) -> dict[str, Any]:
    """One method's result, from the cache where it lies there."""
    case, problem, window, fixed = question
    origin = record.origin(problem, cfg, options.seed, window) | {"fixed": list(fixed or problem.fixed)}
    known = cache.get(case, origin)
    if known is not None:
        return known
    found = record.result(problem, scores_of(question, cfg, options.seed), cfg, options.seed, window)
    found["origin"] = origin
    cache.put(case, origin, found)
    return found


def scores_of(question: Question, cfg: MethodConfig, seed: int) -> Scores:
    """A method's scores of the whole case."""
    if question.window is None:
        return attribute(question.problem, cfg, seed)
    whole = Problem(question.problem.lm, question.case, question.problem.target, fixed=question.fixed)
    return windowed(whole, cfg, seed, **question.window)


def profile(found: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What a case took here, in all; figures of cached results are those of when they were made."""
    each = [one["profile"] for one in found["results"]]
    n_bytes = len(json.dumps(found, ensure_ascii=False).encode())
    spent = sum(one["seconds"] for one in each)
    read = sum(one["tokens_per_s"] * one["seconds"] for one in each)
    return {
        "wall_seconds": seconds,
        "method_seconds": spent,
        "tokens_per_s": read / spent if spent > 0 else 0.0,
        "peak_extra_bytes": max((one["peak_extra_bytes"] for one in each), default=0),
        "record_bytes": n_bytes,
    }


def summary(run: Run, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The hardware profile of a set of cases, on this machine; what the model's weights take on disk beside it."""
    each = [one["profile"] for one in records]
    folder = load(run.model).folder
    return {
        "machine": machine(),
        "n_cases": len(each),
        "seconds_per_case": sum(one["method_seconds"] for one in each) / len(each),
        "tokens_per_s": sum(one["tokens_per_s"] for one in each) / len(each),
        "peak_extra_bytes": max(one["peak_extra_bytes"] for one in each),
        "model_bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
        "record_bytes": sum(one["record_bytes"] for one in each),
    }


@lru_cache(maxsize=8)
def sae_folder(run: Path, hook_point: str, sae_id: str | None) -> Path:
    """The autoencoder to take at a hook point: the named, the recommended, or the only one.

    Raises:
        UserError: There is none, or several and no word which.
    """
    place = run / "saes" / hook_point
    known = sorted(path.parent.name for path in place.glob(f"*/{WEIGHTS_FILE}"))
    if not known or (sae_id is not None and sae_id not in known):
        raise UserError(
            f"{place} holds {', '.join(known) or 'no trained SAE'}, expected {sae_id or 'one'}. "
            "Name another --feature or --sae, or train one there."
        )
    wanted = sae_id or recommended(run, hook_point) or (known[0] if len(known) == 1 else None)
    if wanted is None:
        raise UserError(f"At {hook_point} there are the SAEs {', '.join(known)}, expected one. Choose it with --sae.")
    return place / wanted


def recommended(run: Path, hook_point: str) -> str | None:
    """The id of the SAE that a sweep's choice.json recommends."""
    path = run / CHOICE
    found = artefact.read_json(path)["choices"] if path.is_file() else []
    taken = [one["recommended"] for one in found if one["hook_point"] == hook_point and one["recommended"]]
    return taken[0]["sae_id"] if taken else None


def method_settings(names: Sequence[str], settings: Sequence[str]) -> list[MethodConfig]:
    """The methods of a command line: `a,b` or `all`, with METHOD.KEY=VALUE settings.

    Raises:
        UserError: A method or setting that does not exist, or a value that does not fit.
    """
    chosen = [name.strip() for given in names for name in given.split(",") if name.strip()]
    values: dict[str, dict[str, Any]] = {}
    for setting in settings:
        key, is_assignment, value = setting.partition("=")
        method, has_key, name = key.partition(".")
        if not is_assignment or not has_key or method not in METHODS or name not in METHODS[method].model_fields:
            raise UserError(
                f"--set {setting!r} names no setting of a method, expected METHOD.KEY=VALUE such as "
                "integrated_gradients.n_steps=32. Correct it."
            )
        values.setdefault(method, {})[name] = yaml.safe_load(value)
    try:
        return methods(chosen, values)
    except ValidationError as error:
        detail = error.errors()[0]
        raise UserError(
            f"--set {'.'.join(map(str, detail['loc']))}: {detail['msg'].lower()}, found {detail['input']!r}. Correct it."
        ) from None
