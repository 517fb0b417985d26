"""Running a sweep: one capture for the trials that share it, all trials over the engine, the same file any time again.

Early stopping is successive halving (Jamieson and Talwalkar 2016, arXiv:1502.07943; W&B calls it hyperband): trials
pause at each look, the best 1/eta of those at the same hook point go on. They are compared per hook point, since
layers differ by more than settings do.
"""

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

from clinlens import choices
from clinlens import config as configs
from clinlens.choices import PlaceChoice
from clinlens.config import RunConfig
from clinlens.folder import alone_in, opened
from clinlens.pipeline import Run, refuse_replicas
from clinlens.report.gather import rank, read_sae
from clinlens.sweep import live
from clinlens.sweep import trials as sweeps
from clinlens.sweep.config import EarlyTerminateConfig, MetricConfig
from clinlens.sweep.points import Adviser
from clinlens.sweep.trials import Trial
from sae import artefact
from sae.errors import JobFailed, UserError
from training import evaluation
from training.config import EngineConfig
from training.replicas import launched
from training.spec import METRICS_FILE, Fit

log = logging.getLogger("clinlens")
FILE = "sweep.json"
Record = dict[str, Any]


def sweep(cfg: RunConfig) -> dict[str, Any]:
    """Runs a sweep, or what is left of it.

    Raises:
        UserError: A trial met a user's mistake; the others are done and in sweep.json.
        JobFailed: A trial failed for another reason, likewise.
    """
    assert cfg.sweep is not None  # noqa: S101 - `trials.read` saw to it
    refuse_replicas(launched(os.environ))
    records: dict[str, Record] = {}
    failures: list[UserError | JobFailed] = []
    if cfg.sweep.method == "bayes":
        run_advised(cfg, records, failures)
    else:
        run_trials(cfg, sweeps.expanded(cfg), records, failures)
    result = summary(cfg, list(records.values()))
    artefact.write_json(cfg.folder / FILE, result)
    chosen = choose(cfg, result["trials"])
    reports = write_reports(cfg, result["trials"])
    if failures:
        raise failures[0]
    return {"folder": str(cfg.folder), "sweep": str(cfg.folder / FILE), **result, **chosen, "reports": reports}


def choose(cfg: RunConfig, records: list[Record]) -> Record:
    """Writes choice.json and says, for each hook point, which SAE to take and why."""
    saes = [read_sae(run, *name) for run, names in evaluated(cfg, records).items() for name in names]
    found = choices.choices(sorted(saes, key=rank), cfg.choice)
    result = choices.record(cfg.choice, found, cfg.folder)
    artefact.write_json(cfg.folder / choices.FILE, result)
    for place in found:
        log.info("\n%s%s: %s", place.hook_point, where(place, found, cfg.folder), place.reasons)
    return {"choice": str(cfg.folder / choices.FILE), "choices": result["choices"]}


def where(place: PlaceChoice, found: list[PlaceChoice], folder: Path) -> str:
    """The stores of a choice, where the hook point's name alone does not tell it from another."""
    alike = [other for other in found if other.hook_point == place.hook_point]
    return f" ({', '.join(str(run.relative_to(folder)) for run in place.runs)})" if len(alike) > 1 else ""


def evaluated(cfg: RunConfig, records: list[Record]) -> dict[Path, list[tuple[str, str]]]:
    """Run folder → hook point and id of its SAEs that are measured, each once."""
    found: dict[Path, dict[tuple[str, str], None]] = {}
    for one in records:
        for sae in one["saes"] if one["state"] == "done" else ():
            folder = cfg.folder / sae["folder"]
            if (folder / evaluation.FILE).is_file():
                found.setdefault(folder.parents[2], {})[sae["hook_point"], sae["sae_id"]] = None
    return {run: list(names) for run, names in found.items()}


def write_reports(cfg: RunConfig, records: list[Record]) -> list[str]:
    """The report of each store's run folder, from what there is; `clinlens examples` and `report` add the features."""
    from clinlens.report.page import write_report  # draws plots; the trials need none

    paths = []
    for run, names in evaluated(cfg, records).items():
        with alone_in(run):
            paths.append(str(write_report(run, cfg.report, cfg.cost, names, cfg.choice)))
    return paths


def run_advised(cfg: RunConfig, records: dict[str, Record], failures: list[UserError | JobFailed]) -> None:
    """Trials a few at a time, each few chosen by what the ones before came to."""
    assert cfg.sweep is not None  # noqa: S101
    adviser = Adviser(cfg.sweep, cfg.seed)
    left = cfg.sweep.run_cap or 0
    while left > 0:
        asked = adviser.ask(min(width(cfg.engine), left))
        left -= len(asked)
        trials = [sweeps.trial_of(cfg, point) for point in asked]
        new = [trial for trial in trials if trial.id not in records]
        run_trials(cfg, new, records, failures)
        adviser.tell([records[trial.id]["metric"] for trial in trials])


def width(cfg: EngineConfig) -> int:
    """Trials asked for at a time: as many as run at once. On a cluster without a limit, eight."""
    return cfg.n_workers if cfg.is_local else cfg.workers or 8


def run_trials(
    cfg: RunConfig, trials: list[Trial], records: dict[str, Record], failures: list[UserError | JobFailed]
) -> None:
    """Runs some trials, store by store, and adds their records."""
    for folder, some in sweeps.by_store(cfg, trials).items():
        own = some[0].cfg.model_copy(update={"sweep": cfg.sweep, "sae": cfg.sae, "training": cfg.training})
        with opened(own) as engine:
            run = Run(own, [trial.cfg for trial in some], engine, group=sweeps.sweep_id(cfg), display=live.display)
            try:
                run.capture()
            except (UserError, JobFailed) as failure:  # other stores may do
                failures.append(failure)
                records |= {trial.id: lost_record(trial) for trial in some}
                continue
            stopped = train(run, cfg, failures)
            done = [trial for trial in some if all(fit.is_complete for fit in run.fits_of(trial.cfg))]
            if done:
                Run(own, [trial.cfg for trial in done], engine).evaluate()
            run.write_runs()
            for trial in some:
                records[trial.id] = record(run, trial, cfg, stopped)
            refuse_unknown_metric(cfg, [records[trial.id] for trial in done])
            write_points(folder, list(records.values()))
            configs.write(own, folder)


def write_points(folder: Path, records: list[Record]) -> None:
    """The points whose SAEs are complete, for the later stages of the run folder."""
    artefact.write_json(folder / sweeps.FILE, [one["point"] for one in records if one["state"] == "done"])


def train(run: Run, cfg: RunConfig, failures: list[UserError | JobFailed]) -> set[str]:
    """Trains all trials; the keys of the fits that were stopped on the way."""
    assert cfg.sweep is not None  # noqa: S101
    stopped: set[str] = set()
    if cfg.sweep.early_terminate is not None and cfg.sweep.metric is not None:
        stopped = halve(run, cfg.sweep.early_terminate, cfg.sweep.metric, failures)
    attempt(run, [fit for fit in run.fits if fit.key not in stopped], None, failures)
    return stopped


def halve(run: Run, cfg: EarlyTerminateConfig, metric: MetricConfig, failures: list[UserError | JobFailed]) -> set[str]:
    """Trains from look to look, leaving behind what stands badly.

    Returns:
        The keys of the fits that were stopped.
    """
    stopped: set[str] = set()
    rows = {fit.training.n_steps // fit.training.log_every_steps for fit in run.fits}
    for look in cfg.looks(min(rows)):
        alive = [fit for fit in run.fits if fit.key not in stopped]
        for steps in {look * fit.training.log_every_steps for fit in alive}:
            attempt(run, [fit for fit in alive if look * fit.training.log_every_steps == steps], steps, failures)
        for hook_point in dict.fromkeys(fit.hook_point for fit in alive):
            here = [fit for fit in alive if fit.hook_point == hook_point]
            values = {fit.key: standing(fit, metric, look * fit.training.log_every_steps) for fit in here}
            ranked = sorted(here, key=lambda fit: values[fit.key])
            stopped |= {fit.key for fit in ranked[math.ceil(len(ranked) / cfg.eta) :]}
        log.info("sweep: %d of %d SAEs go on after %d logged steps", len(run.fits) - len(stopped), len(run.fits), look)
    return stopped


def standing(fit: Fit, metric: MetricConfig, step: int) -> float:
    """The metric at a step, smaller is better; a fit that failed stands last.

    Raises:
        UserError: The log has no such metric.
    """
    path = fit.folder / "history.jsonl"
    row = next((row for row in read_rows(path) if row["step"] == step), None)
    if row is None:
        return math.inf
    if metric.name not in row:
        raise UserError(
            f"early_terminate compares {metric.name!r}, but the log has {', '.join(row)}. Choose one of them as metric.name."
        )
    return -row[metric.name] if metric.goal == "maximize" else row[metric.name]


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a training log."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def attempt(run: Run, fits: list[Fit], until_step: int | None, failures: list[UserError | JobFailed]) -> None:
    """Trains some fits; a failure is kept for the end, since the others are done."""
    try:
        run.train_fits(fits, until_step)
    except (UserError, JobFailed) as failure:
        failures.append(failure)


def record(run: Run, trial: Trial, cfg: RunConfig, stopped: set[str]) -> Record:
    """What became of a trial."""
    fits = run.fits_of(trial.cfg)
    state = "stopped" if any(fit.key in stopped for fit in fits) else "failed"
    state = "done" if all(fit.is_complete for fit in fits) else state
    saes = [sae_record(fit, cfg.folder) for fit in fits]
    values = [one["figures"][name] for one in saes if (name := metric_name(cfg)) in one["figures"]]
    values = values if len(values) == len(saes) else []
    return {
        "id": trial.id,
        "point": trial.point,
        "state": state,
        "metric": sum(values) / len(values) if values else None,
        "saes": saes,
    }


def lost_record(trial: Trial) -> Record:
    """A trial whose activations could not be captured."""
    return {"id": trial.id, "point": trial.point, "state": "failed", "metric": None, "saes": []}


def refuse_unknown_metric(cfg: RunConfig, records: list[Record]) -> None:
    """Stops a sweep whose metric nothing has.

    Raises:
        UserError: It is no figure of the evaluation or of the log.
    """
    for one in records:
        if one["metric"] is None:
            known = sorted({key for sae in one["saes"] for key in sae["figures"]})
            raise UserError(
                f"sweep.metric.name is {metric_name(cfg)!r}, expected one of {', '.join(known)}. Correct it and run again; "
                "what is trained is kept."
            )


def metric_name(cfg: RunConfig) -> str:
    """The figure trials are judged by; explained variance if the sweep names none."""
    assert cfg.sweep is not None  # noqa: S101
    return cfg.sweep.metric.name if cfg.sweep.metric else "explained_variance"


def sae_record(fit: Fit, folder: Path) -> Record:
    """One SAE of a trial: where it lies and its figures, measured on held-out text where that is done."""
    figures: dict[str, Any] = {}
    if (fit.folder / METRICS_FILE).is_file():
        figures |= artefact.read_json(fit.folder / METRICS_FILE)
    elif (rows := read_rows(fit.folder / "history.jsonl")) != []:
        figures |= rows[-1]
    path = fit.folder / evaluation.FILE
    if path.is_file():
        found = artefact.read_json(path)
        figures |= found["reconstruction"] | (found["splice"] or {})
    return {
        "hook_point": fit.hook_point,
        "sae_id": fit.sae_id,
        "architecture": fit.sae.architecture,
        "folder": str(fit.folder.relative_to(folder)),
        "figures": figures,
    }


def summary(cfg: RunConfig, records: list[Record]) -> dict[str, Any]:
    """What sweep.json holds."""
    assert cfg.sweep is not None  # noqa: S101
    goal = cfg.sweep.metric.goal if cfg.sweep.metric else "maximize"
    best: dict[str, Record] = {}
    for one in records:
        if one["state"] != "done" or one["metric"] is None:
            continue
        place = ", ".join(dict.fromkeys(sae["hook_point"] for sae in one["saes"]))
        better = max if goal == "maximize" else min
        best[place] = better(best.get(place, one), one, key=lambda some: some["metric"])
    return {
        "sweep_id": sweeps.sweep_id(cfg),
        "method": cfg.sweep.method,
        "metric": {"name": metric_name(cfg), "goal": goal},
        "seed": cfg.seed,
        "trials": records,
        "best": {place: one["id"] for place, one in sorted(best.items())},
    }


def table(result: dict[str, Any]) -> list[str]:
    """The trials as lines for a terminal, best first at each hook point."""
    rows = [(sae, one) for one in result["trials"] for sae in one["saes"]]
    sign = -1 if result["metric"]["goal"] == "maximize" else 1
    name = result["metric"]["name"]
    rows.sort(key=lambda row: (row[0]["hook_point"], sign * row[0]["figures"].get(name, sign * math.inf)))
    shown = list(dict.fromkeys([name, "explained_variance", "l0", "dead_fraction", "ce_loss_score"]))
    varying = varying_keys([one["point"] for one in result["trials"]])
    lines = [f"{'hook point':28}{'SAE':34}{'state':9}" + "".join(f"{key[:18]:>20}" for key in shown)]
    for sae, one in rows:
        figures = (sae["figures"].get(key) for key in shown)
        cells = "".join(f"{'–' if value is None else format(value, '.4g'):>20}" for value in figures)
        settings = "  ".join(f"{key}={brief(one['point'].get(key))}" for key in varying)
        lines.append(f"{sae['hook_point']:28}{sae['sae_id']:34}{one['state']:9}{cells}  {settings}")
    return lines


def varying_keys(points: list[Record]) -> list[str]:
    """Settings that differ between points, the layer and the SAE's own apart, which the table shows anyway."""
    keys = dict.fromkeys(key for point in points for key in point)
    return [
        key
        for key in keys
        if not key.startswith(("sae", "training.hook_points")) and len({repr(point.get(key)) for point in points}) > 1
    ]


def brief(value: Any) -> str:
    """A value in few characters."""
    return format(value, ".3g") if isinstance(value, float) else str(value)
