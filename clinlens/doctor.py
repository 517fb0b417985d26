"""What is installed, what the machine has, what is missing; and, of a run, what is done."""

import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clinlens import clinic
from sae import artefact
from sae.errors import UserError
from training.resources import machine

LIBRARIES = (
    "torch", "transformers", "transformer-lens", "sae-lens", "datasets", "h5py", "wandb", "einops", "numpy", "pydantic",
)  # fmt: skip


def examine(run: Path | None) -> dict[str, Any]:
    """Examines the installation, or a run folder."""
    return examine_installation() if run is None else examine_run(run)


def examine_installation() -> dict[str, Any]:
    """Versions, hardware, and checks with what to do where one fails."""
    return {"versions": {name: version_of(name) for name in LIBRARIES}, "machine": machine(), "checks": checks()}


def version_of(name: str) -> str | None:
    """An installed version; none if it is not there."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def checks() -> list[str]:
    """One line for each thing a run needs."""
    found = [
        f"{name}: ok" if version_of(name) else f"{name}: missing, run `pip install clinlens` again"
        for name in LIBRARIES
    ]
    try:
        found.append(f"embedded model: ok ({clinic.model_folder().name})")
    except FileNotFoundError as error:
        found.append(f"embedded model: {error}")
    free = shutil.disk_usage(Path.cwd()).free
    found.append(f"disk here: {free / 1e9:.0f} GB free")
    return found


def examine_run(run: Path) -> dict[str, Any]:
    """What a run folder holds.

    Raises:
        UserError: It is no run folder.
    """
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} holds no config.yaml, expected a run folder. Name the `folder` of a config.")
    saes = sorted(run.glob("saes/*/*/origin.json"))
    n_begun = len(list(run.glob("saes/*/*")))
    manifest = run / "acts" / "manifest.json"
    n_shards = len(list(run.glob("acts/shard-*.h5")))
    stored = len(artefact.read_json(manifest)["shards"]) if manifest.is_file() else None
    return {
        "run": str(run),
        "checks": [
            f"capture: {'complete' if stored is not None else 'unfinished'}, {n_shards} shards",
            f"train: {len(list(run.glob('saes/*/*/metrics.json')))} of {n_begun} SAEs complete",
            f"evaluate: {len(list(run.glob('saes/*/*/evaluation.json')))} of {len(saes)} SAEs",
            f"examples: {len(list(run.glob('examples/*/*.h5')))} of {len(saes)} SAEs",
            f"report: {'there' if (run / 'report.html').is_file() else 'missing'}",
        ],
    }
