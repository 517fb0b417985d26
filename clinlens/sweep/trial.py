"""One trial in a process of its own: what `wandb agent` runs, several at a time if it likes, in one run folder.

The first one captures; the others wait for it and find the store done. Each trains its own SAEs, which carry their
settings in their names, so that trials do not meet.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from analysis.logbook import WriteRun
from clinlens import config as configs
from clinlens.folder import alone_in, opened
from clinlens.pipeline import Run
from clinlens.sweep.points import Point
from clinlens.sweep.sweep import sae_record
from clinlens.sweep.trials import folder_of, trial_of
from sae.errors import UserError
from training.config import EngineConfig
from training.engine import Engine
from training.tracking import started

AGENT = "WANDB_SWEEP_ID"
"""Set by `wandb agent`, which then waits for an online run."""


def trial(path: Path, words: tuple[str, ...]) -> dict[str, Any]:
    """Captures if nobody has, trains and evaluates the SAEs of one point.

    Args:
        path: The run config that the sweep starts from.
        words: The point: one JSON object, or `section.key=value` each.

    Raises:
        UserError: The point is no such thing, or no config; or `wandb agent` asks for more than one SAE.
    """
    base, point = configs.read(path), point_of(words)
    cfg = trial_of(base, point).cfg
    cfg = cfg.model_copy(update={"folder": folder_of(cfg, point, base.folder)})
    has_agent = AGENT in os.environ
    if has_agent:
        refuse_several(len(cfg.sae))
        cfg = cfg.model_copy(update={"tracking": cfg.tracking.model_copy(update={"wandb": "online"})})
    alone = cfg.model_copy(update={"engine": EngineConfig(kind="inline", threads=cfg.engine.threads)})
    with opened(cfg, patient=True) as engine:
        Run(cfg, [cfg], engine).capture()
    with Engine(alone.engine, cfg.folder / "jobs") as engine:
        run = Run(alone, [alone], engine)
        if has_agent:
            refuse_several(len(run.fits))
            with of_agent(WriteRun(run.fits[0], cfg.tracking)):
                fit_and_measure(run)
        else:
            fit_and_measure(run)
            run.write_runs()
    return {"folder": str(cfg.folder), "saes": [sae_record(fit, cfg.folder) for fit in run.fits]}


def fit_and_measure(run: Run) -> None:
    """Trains the SAEs, each alone in its folder, and evaluates them."""
    for fit in run.fits:
        with alone_in(fit.folder, patient=True):
            run.train_fits([fit])
    run.evaluate_saes()


@contextmanager
def of_agent(log: WriteRun) -> Iterator[None]:
    """The one W&B run that `wandb agent` waits for: open from the first step until the figures are in it."""
    fit = log.fit
    open_run = started(log.tracking, fit.run, fit.log_name, log.group or fit.run.name, fit.log_config)
    is_done = False
    try:
        yield
        log.write(open_run)
        is_done = True
    finally:
        open_run.finish(exit_code=0 if is_done else 1)


def refuse_several(n_saes: int) -> None:
    """Stops a trial of several SAEs under `wandb agent`.

    Raises:
        UserError: There are several.
    """
    if n_saes > 1:
        raise UserError(
            f"The trial has {n_saes} SAEs, but `wandb agent` gives it one run, expected one SAE. "
            "Make sae.architecture and training.hook_points parameters of the sweep, or run it with `clinlens sweep`."
        )


def point_of(words: tuple[str, ...]) -> Point:
    """The point that was written.

    Raises:
        UserError: A word is neither JSON nor `section.key=value`.
    """
    if len(words) == 1 and words[0].lstrip().startswith("{"):
        try:
            return json.loads(words[0])
        except json.JSONDecodeError as error:
            raise UserError(
                f"The point is no JSON at character {error.pos}, expected one object. Correct it."
            ) from error
    found: Point = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"{word!r} has no `=`, expected section.key=value or one JSON object. Write it so.")
        found[key] = yaml.safe_load(text)
    return found
