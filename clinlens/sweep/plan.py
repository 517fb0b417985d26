"""What a sweep would take, before anything is done: trials, tokens, time, disk, energy, cost.

Tokens and disk are counted; times are those of a few batches and training steps measured here, on one worker, spread
over the workers there are. Steps are measured for each architecture, width and sparsity, since a step with k = 64 may take
three times one with k = 8. Energy and cost follow from the factors under `cost:`.
"""

import logging
import math
from typing import Any, NamedTuple

from clinlens.config import RunConfig
from clinlens.pipeline import Run, chosen, gigabytes
from clinlens.report.cost import Stage, estimate
from clinlens.sweep import trials as sweeps
from clinlens.sweep.trials import Trial
from hooks import capture
from hooks.model import load
from sae.build import build
from sae.config import SAEConfig
from training import rates
from training.config import TrainingConfig
from training.jobs import prepare
from training.resources import has_gpu
from training.spec import named

log = logging.getLogger("clinlens")
EVALUATION_SHARE = 1 / 3
"""A row of evaluation costs a third of a row of training: forward without backward."""
WEIGHTS_AND_STATE = 4
"""Saved weights, and weights with Adam's two moments in the checkpoint."""


class Planned(NamedTuple):
    """One SAE of the plan."""

    hook_point: str
    sae: SAEConfig
    training: TrainingConfig
    seed: int
    d_in: int

    @property
    def shape(self) -> tuple[Any, ...]:
        """What decides how long a step takes, sparsity included; weights of losses and learning rates do not."""
        sae = self.sae.model_dump(exclude={"architecture", "expansion_factor"})
        graded = tuple((key, grade(value)) for key, value in sae.items() if not key.endswith("_coefficient"))
        cfg = self.training
        kind = (self.sae.architecture, self.sae.expansion_factor, self.d_in)
        return (*kind, *graded, cfg.batch_tokens, cfg.kernels, cfg.encoder_dtype)


def grade(value: Any) -> Any:
    """A number to the nearest of 2^½ times the one before, so that draws of a sparsity are timed a few times, not each."""
    return round(2 * math.log2(value)) if isinstance(value, int | float) else value


def plan(cfg: RunConfig) -> dict[str, Any]:
    """Plans a sweep; writes nothing.

    Raises:
        UserError: A point is no config, or model or corpus cannot be had.
    """
    assert cfg.sweep is not None  # noqa: S101 - `trials.read` saw to it
    prepare(cfg.engine.threads)
    is_advised = cfg.sweep.method == "bayes"
    # Where the metric will choose, as many random draws stand for what it may choose.
    drawn = cfg.model_copy(update={"sweep": cfg.sweep.model_copy(update={"method": "random"})}) if is_advised else cfg
    trials = sweeps.expanded(drawn)
    stores = [store_plan(some) for some in sweeps.by_store(cfg, trials).values()]
    total = {key: sum(one[key] for one in stores) for key in stores[0] if key != "folder"}
    n_workers = max(cfg.engine.n_workers if cfg.engine.is_local else cfg.engine.workers or 1, 1)
    cpu_s = total["capture_s"] + total["train_s"] + total["evaluate_s"]
    stage = Stage("sweep", 1, cpu_s / n_workers, cpu_s * cfg.engine.threads, cpu_s if has_gpu() else 0.0, 0)
    spent = estimate([stage], cfg.cost)
    return {
        "sweep_id": sweeps.sweep_id(cfg),
        "method": cfg.sweep.method,
        "n_trials": len(trials),
        "n_workers": n_workers,
        "stops_early": cfg.sweep.early_terminate is not None,
        "stores": stores,
        **total,
        "hours": cpu_s / n_workers / 3600,
        "cpu_core_hours": spent.cpu_core_hours,
        "kwh": spent.kwh,
        "kg_co2e": spent.kg_co2e,
        "price": spent.price,
        "currency": cfg.cost.currency,
    }


def store_plan(some: list[Trial]) -> dict[str, Any]:
    """The plan of the trials that share one store."""
    cfg = some[0].cfg
    run = Run(cfg, [trial.cfg for trial in some])
    lm = load(run.model)
    whole = capture.plan(run.job, run.documents, lm, cfg.folder / "acts")
    saes = planned_saes(some, whole.widths)
    seconds: dict[tuple[Any, ...], float] = {}
    for one in saes:
        if one.shape not in seconds:
            seconds[one.shape] = rates.step_seconds(one.sae, one.d_in, one.training)
            log.info("plan: a step of %s, d_in %d: %.0f ms", named(one.sae), one.d_in, 1000 * seconds[one.shape])
    train_s = sum(seconds[one.shape] * one.training.n_steps for one in saes)
    held_out = cfg.evaluation.n_tokens
    evaluate_s = sum(seconds[one.shape] / one.training.batch_tokens * held_out * EVALUATION_SHARE for one in saes)
    rate = rates.capture_tokens_per_s(whole, lm) if whole.missing else math.inf
    n_passes = len(saes) + 2 * len({one.hook_point for one in saes}) if lm.kind == "decoder" else 0
    return {
        "folder": str(cfg.folder),
        "n_saes": len(saes),
        "capture_tokens": whole.n_tokens,
        "train_tokens": sum(one.training.n_steps * one.training.batch_tokens for one in saes),
        "acts_bytes": whole.n_bytes,
        "sae_bytes": sum(n_parameters(one) for one in saes) * 4 * WEIGHTS_AND_STATE,
        "capture_s": whole.n_tokens / rate,
        "train_s": train_s,
        "evaluate_s": evaluate_s + (n_passes * cfg.evaluation.splice_tokens / rate if math.isfinite(rate) else 0.0),
    }


def planned_saes(some: list[Trial], widths: dict[str, int]) -> list[Planned]:
    """Every SAE of some trials, each once."""
    found = [
        Planned(point, sae, trial.cfg.training.model_copy(update={"hook_points": None}), trial.cfg.seed, widths[point])
        for trial in some
        for point in chosen(list(widths), trial.cfg.training.hook_points)
        for sae in trial.cfg.sae
    ]
    return list({repr(one): one for one in found}.values())


def n_parameters(one: Planned) -> int:
    """Numbers in an SAE."""
    return sum(parameter.numel() for parameter in build(one.sae, one.d_in).parameters())


def lines(found: dict[str, Any]) -> list[str]:
    """The plan for a terminal."""
    hours, price = found["hours"], found["price"]
    time = f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"
    stops = ", before early stopping takes its share" if found["stops_early"] else ""
    return [
        f"{found['sweep_id']}: {found['n_trials']} trials ({found['method']}), {found['n_saes']} SAEs, "
        f"{len(found['stores'])} store(s)",
        f"tokens   {found['capture_tokens']:,} to capture, {found['train_tokens']:,} to train on",
        f"disk     {gigabytes(found['acts_bytes'])} of activations, {gigabytes(found['sae_bytes'])} of SAEs and checkpoints",
        f"time     {time} on {found['n_workers']} worker(s), from steps measured here{stops}: capture {found['capture_s']:,.0f} s, "
        f"train {found['train_s']:,.0f} s, evaluate {found['evaluate_s']:,.0f} s of one worker",
        f"energy   {found['kwh']:.3g} kWh, {found['kg_co2e']:.2g} kg CO2e (estimates)",
        f"cost     {price:.2f} {found['currency']} for {found['cpu_core_hours']:.2g} core hours (estimate)",
    ]
