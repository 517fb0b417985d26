"""The verb: cases × methods → records, each result made once, with what it took."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from analysis.attribution import case as cases
from analysis.attribution import record
from analysis.attribution.build import attribute, methods
from analysis.attribution.cache import Cache
from analysis.attribution.case import Case, MarkedSpan
from analysis.attribution.config import DEFAULT, METHODS, MethodConfig
from analysis.attribution.problem import Problem
from analysis.attribution.request import problem_of
from analysis.attribution.sae_features import (
    NAME,
    Place,
    SAEFeaturesConfig,
    bridge_origin,
    bridge_result,
    problem_of_bridge,
)
from analysis.attribution.sae_features import Asked as AskedFeatures
from analysis.attribution.scores import Scores
from analysis.attribution.target import FeatureTarget, Target, TokenTarget
from analysis.attribution.windows import taken, windowed, windows
from clinlens.assigned import refusal, value_of
from clinlens.attribution.cases import Asked
from clinlens.attribution.code_stamp import code_stamp
from clinlens.attribution.explained import explained
from clinlens.attribution.saes import middle, sae_folder
from clinlens.pipeline import Run, progress
from hooks.model import LanguageModel, load
from sae.base import SAE
from sae.errors import UserError
from sae.saelens_format import load as load_sae
from training.resources import machine

FOLDER = "attributions"
AnyConfig = MethodConfig | SAEFeaturesConfig
SETTINGS: dict[str, type[Any]] = METHODS | {NAME: SAEFeaturesConfig}
"""Name → settings of all that the verb answers with."""


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
    run: Run, asked: Sequence[Asked], cfgs: Sequence[AnyConfig], options: Options
) -> list[dict[str, Any]]:
    """The records of cases.

    Raises:
        UserError: A case cannot be explained, or not by the only method asked for; of several it says which.
    """
    lm = load(run.model)
    refuse_long_window(lm, options)
    cache = Cache(run.folder / FOLDER if options.is_cached else None)
    found = []
    with progress("attribute", len(asked) * len(cfgs), "result") as done:
        for one in asked:
            try:
                found.append(one_record(run, lm, one, cfgs, options, cache, done))
            except UserError as error:
                if len(asked) == 1:
                    raise
                kept = f" The {len(found)} before it are in the cache." if options.is_cached else ""
                raise UserError(f"Case {one.id!r}: {error}{kept}") from error
    return found


def refuse_long_window(lm: LanguageModel, options: Options) -> None:
    """Refuses a window that the model cannot read.

    Raises:
        UserError: It cannot.
    """
    if options.window is not None and options.window > lm.max_context_tokens:
        raise UserError(
            f"--window is {options.window} tokens, but the model {lm.name!r} reads at most {lm.max_context_tokens}, expected no "
            "more than that. Lower it."
        )


def one_record(
    run: Run, lm: LanguageModel, asked: Asked, cfgs: Sequence[AnyConfig], options: Options, cache: Cache,
    done: Callable[[int], None],
) -> dict[str, Any]:  # fmt: skip
    """The record of one case, with what it took."""
    started, clock = record.now(), time.perf_counter()
    question = ask(run, lm, asked, options)
    results, refused = [], []
    for cfg in cfgs:
        try:
            if isinstance(cfg, SAEFeaturesConfig):
                results.append(bridged(run, question, asked, cfg, options, cache))
            else:
                results.append(one_result(question, cfg, options, cache))
        except UserError as error:
            if len(cfgs) == 1:
                raise
            refused.append({"method": cfg.method, "reason": str(error)})
        done(1)
    for one in results:
        one["explained"] = explained(one, question.case.tokens, asked.request, question.problem.lm)
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
        return load_sae(sae_folder(run.folder, hook_point, options.sae_id, run.cfg.choice))

    if options.window is None or case.n_tokens <= options.window:
        problem = problem_of(case, lm, asked.request, open_sae, fixed)
        refuse_equal_contrast(problem.target)
        if not problem.is_free.any():
            raise UserError(
                "All tokens of the text are special or held fixed, expected some to explain. Mark less of it in `fixed`."
            )
        return Question(case, problem, None)
    if asked.request.features:
        raise UserError(
            f"The text has {case.n_tokens} tokens and would be read in windows of {options.window}, but a feature is explained on "
            f"a whole text, expected at most {lm.max_context_tokens} tokens. Raise --window up to that, or shorten the text."
        )
    last = taken(case, windows(case, options.window, options.tail)[-1])
    problem = problem_of(last, lm, asked.request, open_sae)
    refuse_equal_contrast(problem.target)
    return Question(case, problem, {"window_tokens": options.window, "tail_tokens": options.tail}, tuple(fixed))


def refuse_equal_contrast(target: Target) -> None:
    """Refuses a target that is to be compared with itself.

    Raises:
        UserError: It is.
    """
    if isinstance(target, FeatureTarget):
        return
    chosen = target.token_ids if isinstance(target, TokenTarget) else target.classes
    if target.contrast_ids == chosen:
        raise UserError(
            f"The target and the contrast are both {''.join(target.labels)!r}, expected two that differ: what they share cancels. "
            "Name another contrast, or none."
        )


def one_result(question: Question, cfg: MethodConfig, options: Options, cache: Cache) -> dict[str, Any]:
    """One method's result, from the cache where it lies there."""
    case, problem, window, fixed = question
    origin = record.origin(problem, cfg, options.seed, window)
    origin |= {"fixed": list(fixed or problem.fixed), "code": code_stamp()}
    known = cache.get(case, origin)
    if known is not None:
        return known
    found = record.result(problem, scores_of(question, cfg, options.seed), cfg, options.seed, window)
    found["origin"] = origin
    cache.put(case, origin, found)
    return found


def bridged(
    run: Run, question: Question, asked: Asked, cfg: SAEFeaturesConfig, options: Options, cache: Cache
) -> dict[str, Any]:
    """What connects tokens, features and the answer, from the cache where it lies there.

    Raises:
        UserError: The text is read in windows, or there is no SAE to read it with.
    """
    case, lm = question.case, question.problem.lm
    if question.window is not None:
        raise UserError(
            f"The text has {case.n_tokens} tokens and is read in windows of {options.window}, but {NAME} reads a text whole. "
            f"Raise --window, shorten the text, or choose other methods ({', '.join(METHODS)})."
        )
    features = asked.request.features
    point = features[0].rpartition("/")[0] if features else cfg.hook_point or middle(run.folder, lm.n_layers)
    folder = sae_folder(run.folder, point, options.sae_id, run.cfg.choice)
    what = AskedFeatures(lm, case, asked.request, Place(point, load_sae(folder), folder.name), question.problem.fixed)
    problem = problem_of_bridge(what)
    origin = bridge_origin(what, problem, cfg, options.seed) | {"code": code_stamp()}
    known = cache.get(case, origin)
    if known is None:
        known = bridge_result(what, problem, cfg, options.seed) | {"origin": origin}
        cache.put(case, origin, known)
    return known


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


def method_settings(names: Sequence[str], settings: Sequence[str], *, has_features: bool = False) -> list[AnyConfig]:
    """The methods of a command line: `a,b` or `all`, with METHOD.KEY=VALUE settings.

    Args:
        names: Methods; if none, the default one, and the bridge beside it where features are asked about.
        settings: What differs from the defaults.
        has_features: Whether features are asked about.

    Raises:
        UserError: A method or setting that does not exist, or a value that does not fit.
    """
    chosen = [name.strip() for given in names for name in given.split(",") if name.strip()]
    chosen = chosen or [DEFAULT, *([NAME] if has_features else [])]
    values: dict[str, dict[str, Any]] = {}
    for setting in settings:
        key, is_assignment, value = setting.partition("=")
        method, has_key, name = key.partition(".")
        if not is_assignment or not has_key or method not in SETTINGS or name not in SETTINGS[method].model_fields:
            raise UserError(
                f"--set {setting!r} names no setting of a method, expected METHOD.KEY=VALUE such as "
                "integrated_gradients.n_steps=32. Correct it."
            )
        if method not in chosen and "all" not in chosen:
            raise UserError(
                f"--set {setting!r} is for a method that is not asked for, expected one of {', '.join(chosen)}. "
                "Add --method, or leave it out."
            )
        values.setdefault(method, {})[name] = value_of(value)
    bridge = values.pop(NAME, {})
    try:
        found: list[AnyConfig] = list(methods([name for name in chosen if name != NAME], values))
        return [*found, SAEFeaturesConfig(**bridge)] if {NAME, "all"} & set(chosen) else found
    except ValidationError as error:
        raise refusal(error) from None
