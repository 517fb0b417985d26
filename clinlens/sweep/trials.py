"""From points to trials: each a whole run config, those that come to the same thing counted once."""

import json
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from clinlens import config as configs
from clinlens.config import ARCHITECTURES, RunConfig
from clinlens.sweep.points import Point, points
from sae import artefact
from sae.errors import UserError

FILE = "trials.json"
"""Beside config.yaml, where trials follow from more than the config: draws led by results, trials that were stopped."""
SAE_KEY = "sae."
STORE_SECTIONS = ("model", "corpus", "clinic", "capture", "seed")
"""What decides the activations: trials that agree in these share one store."""
TRIAL_SECTIONS = (*STORE_SECTIONS, "sae", "training", "evaluation")


class Trial(NamedTuple):
    """One point of a sweep."""

    id: str
    """Hash of the settings it comes to."""
    point: Point
    cfg: RunConfig


def read(path: Path, overrides: tuple[str, ...] = ()) -> RunConfig:
    """The config in a W&B sweep file with its `program`, or in a run config with `sweep:`.

    Args:
        path: The file, or the folder of a sweep.
        overrides: `section.key=value`, of the run config.

    Raises:
        UserError: The file is neither, or something in it is wrong.
    """
    values = plain(path) if path.is_file() else {}
    if not {"method", "parameters"} & values.keys():
        cfg = configs.read(path, overrides)
        if cfg.sweep is None:
            raise UserError(
                f"{path} holds no sweep, expected a W&B sweep file (method, parameters, program) or a run config with `sweep:`. "
                "Begin from configs/sweeps/layers-by-sparsity.yaml."
            )
        return cfg
    program = values.get("program")
    if not isinstance(program, str):
        raise UserError(
            f"{path} names no `program`, expected the run config that every trial starts from. Add program: configs/….yaml."
        )
    base = next((place for place in (Path(program), path.parent / program) if place.is_file()), Path(program))
    name = values.get("name") or path.stem
    inherited = configs.read(base, overrides).folder
    folder = inherited if any(text.startswith("folder=") for text in overrides) else inherited.parent / str(name)
    merged = plain(base) | {"folder": str(folder), "sweep": values}
    for override in overrides:
        configs.apply(override, merged)
    return configs.validated(merged, str(path))


def plain(path: Path) -> dict[str, Any]:
    """The keys of a YAML file; none where it is no mapping, which reading it as a config then says."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return values if isinstance(values, dict) else {}


def sweep_id(cfg: RunConfig) -> str:
    """Name that W&B groups the trials by."""
    assert cfg.sweep is not None  # noqa: S101 - callers have one
    values = cfg.model_dump(mode="json", include={*TRIAL_SECTIONS, "sweep"})
    return f"{cfg.sweep.name or cfg.folder.name}-{artefact.content_hash(values)[:8]}"


def expanded(cfg: RunConfig) -> list[Trial]:
    """All trials of a grid or of random draws.

    Raises:
        UserError: A point is no config.
    """
    assert cfg.sweep is not None  # noqa: S101 - callers have one
    return resolved(cfg, points(cfg.sweep, cfg.seed))


def resolved(cfg: RunConfig, some: Iterable[Point]) -> list[Trial]:
    """The trials of some points, each once.

    Raises:
        UserError: A point is no config.
    """
    found: dict[str, Trial] = {}
    for point in some:
        trial = trial_of(cfg, point)
        found.setdefault(trial.id, trial)
    return list(found.values())


def trial_of(cfg: RunConfig, point: Point) -> Trial:
    """The config of one point.

    A point that names an architecture takes the base config's SAE of that architecture; settings that only other
    architectures have are left out, so that one grid may hold the settings of several.
    """
    values = cfg.model_dump(mode="json", exclude={"sweep"})
    said = f"The point {json.dumps(point, default=str)}"
    if "sae" in point:
        whole = deepcopy(point["sae"])  # settings are put into it below, and points of a grid share it
        values["sae"] = whole if isinstance(whole, list) else [whole]
    if "sae.architecture" in point:
        name = point["sae.architecture"]
        same = [sae for sae in values["sae"] if sae.get("architecture") == name]
        values["sae"] = same or [{"architecture": name}]
    for key, value in point.items():
        if key not in ("sae", "sae.architecture") and applies(key, values["sae"]):
            configs.put(key, value, values, said)
    resolved_cfg = configs.validated(values, said)
    return Trial(
        artefact.content_hash(resolved_cfg.model_dump(mode="json", include={*TRIAL_SECTIONS})), point, resolved_cfg
    )


def applies(key: str, saes: list[Any]) -> bool:
    """Whether a setting says something of the trial's SAEs; one that no architecture has is left for the error."""
    if not key.startswith(SAE_KEY):
        return True
    name = key.removeprefix(SAE_KEY)
    known = {kind for kind, section in ARCHITECTURES.items() if name in section.model_fields}
    return not known or any(isinstance(sae, dict) and sae.get("architecture") in known for sae in saes)


def store_key(cfg: RunConfig) -> str:
    """What trials with the same activations share."""
    return artefact.content_hash(cfg.model_dump(mode="json", include={*STORE_SECTIONS}))


def by_store(cfg: RunConfig, trials: list[Trial]) -> dict[Path, list[Trial]]:
    """Run folder → its trials: the sweep's own folder, or one below it for each store."""
    settings = cfg.sweep.flat if cfg.sweep is not None else {}
    found: dict[Path, list[Trial]] = {}
    for trial in trials:
        folder = folder_of(trial.cfg, settings, cfg.folder)
        moved = trial.cfg.model_copy(update={"folder": folder})
        found.setdefault(folder, []).append(trial._replace(cfg=moved))
    return found


def folder_of(trial: RunConfig, settings: Iterable[str], folder: Path) -> Path:
    """Where a trial's activations and SAEs lie: one below the sweep's folder where its settings decide the store."""
    decide = any(setting.split(".")[0] in STORE_SECTIONS for setting in settings)
    return folder / f"store-{store_key(trial)[:8]}" if decide else folder


def of_folder(cfg: RunConfig) -> list[RunConfig]:
    """The trials whose SAEs lie in a sweep's run folder, as its later stages see them."""
    path = cfg.folder / FILE
    if cfg.sweep is not None and cfg.sweep.method == "bayes" and not path.is_file():
        raise UserError(f"{cfg.folder} holds no finished sweep, expected {FILE}. Run `clinlens sweep` first.")
    trials = resolved(cfg, artefact.read_json(path)) if path.is_file() else expanded(cfg)
    return [trial.cfg for trial in trials if store_key(trial.cfg) == store_key(cfg)]
