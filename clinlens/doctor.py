"""What is installed, what the machine has, what is missing; and, of a run, what is done."""

import shutil
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from clinlens import clinic
from hooks.store import MANIFEST, Store
from sae import artefact
from sae.errors import UserError
from training.jobs import JobTable
from training.resources import machine

LIBRARIES = (
    "torch", "transformers", "transformer-lens", "sae-lens", "datasets", "h5py", "wandb", "einops", "numpy", "pydantic",
)  # fmt: skip


EXTRAS = {
    "ray": ("engine.kind=ray", "clinlens[ray]"),
    "submitit": ("engine.kind=slurm", "clinlens[slurm]"),
    "optuna": ("sweeps of method bayes", "clinlens[bayes]"),
    "bitsandbytes": ("model.quantization", "clinlens[quantized]"),
    "presidio-analyzer": ("clinlens screen", "clinlens[deidentification]"),
}
"""Packages that only some work needs: for what, and how to get them."""


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
    found += [
        f"{name}: {'ok' if version_of(name) else f'not installed, for {purpose}: pip install {extra!r}'}"
        for name, (purpose, extra) in EXTRAS.items()
    ]
    free = shutil.disk_usage(Path.cwd()).free
    found.append(f"disk here: {free / 1e9:.0f} GB free")
    return found


def examine_run(run: Path) -> dict[str, Any]:
    """What a run folder holds, and how its jobs stand, also while it is being made.

    Raises:
        UserError: It is no run folder.
    """
    if not (run / "config.yaml").is_file():
        raise UserError(f"{run} holds no config.yaml, expected a run folder. Name the `folder` of a config.")
    saes = sorted(run.glob("saes/*/*/origin.json"))
    n_begun = len(list(run.glob("saes/*/*")))
    return {
        "run": str(run),
        "checks": [
            *examine_store(run / "acts"),
            f"train: {len(list(run.glob('saes/*/*/metrics.json')))} of {n_begun} SAEs complete",
            f"evaluate: {len(list(run.glob('saes/*/*/evaluation.json')))} of {len(saes)} SAEs",
            f"examples: {len(list(run.glob('examples/*/*.h5')))} of {len(saes)} SAEs",
            f"report: {'there' if (run / 'report.html').is_file() else 'missing'}",
            *examine_jobs(JobTable(run / "jobs")),
            *examine_labels(run),
        ],
    }


def examine_labels(run: Path) -> list[str]:
    """The database of judgements: version, items, judgements, and whether its chains are whole."""
    from clinlens.labels import DATABASE, overview

    if not (run / DATABASE).is_file():
        return []
    found = overview(run / DATABASE)
    state = "intact" if not found["problems"] else f"{found['problems']} problems; see `clinlens labels verify`"
    return [
        f"labels: version {found['version']}, {found['n_projects']} projects, {found['n_items']:,} items, "
        f"{found['n_judgements']:,} judgements, audit {state}"
    ]


def examine_store(folder: Path) -> list[str]:
    """The activations: how many, of what, how large, and their norms at each hook point."""
    n_shards = len(list(folder.glob("shard-*.h5")))
    if not (folder / MANIFEST).is_file():
        return [f"capture: unfinished, {n_shards} shards"]
    manifest = artefact.read_json(folder / MANIFEST)
    store = Store(folder, manifest)
    bad = store.incomplete()
    if bad:
        return [f"capture: {len(bad)} of {len(manifest['shards'])} shards missing or cut, e.g. {bad[0]}; capture again"]
    n_bytes = sum(entry["n_bytes"] for entry in manifest["shards"])
    model = manifest["origin"]["model"]
    found = [
        f"capture: complete, {len(manifest['shards'])} shards, {n_bytes / 1e9:.3g} GB, {store.n_tokens('train'):,} train and "
        f"{store.n_tokens('held_out'):,} held-out tokens of {model['model']} (weights {model['weight_hash'][:8]})"
    ]
    for point, width in store.hook_points.items():
        kinds = ", ".join(sorted({entry["dtypes"][point] for entry in manifest["shards"]}))
        sums = store.statistics(point, "train")
        found.append(f"  {point}: width {width}, {kinds}, mean norm {sums.mean_norm:.4g}, variance {sums.variance:.4g}")
    return found


def examine_jobs(table: JobTable) -> list[str]:
    """The job table: counts, what runs now, and the log of what failed."""
    entries = table.entries()
    if not entries:
        return []
    counts = Counter(entry.state for entry in entries)
    found = ["jobs: " + ", ".join(f"{n} {state}" for state, n in counts.most_common())]
    for entry in entries:
        if entry.state == "running":
            found.append(f"  {entry.name}: {entry.amount:,} done on {entry.host}, last heard of {entry.updated}")
        elif entry.state != "done":
            found.append(f"  {entry.name}: {entry.error} (attempt {entry.attempt}); see {table.log_path(entry.id)}")
    return found
