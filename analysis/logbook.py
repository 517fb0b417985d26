"""The W&B run of one autoencoder, written from its files.

The files are the record (`history.jsonl`, `density.jsonl`, `evaluation.json`, `concepts.json`); a W&B run is a view of
them and can be made again at any time:

- offline, it is written whole, in the place of an older one: a kill, a resume, a pause or a later stage leave one
  folder under one id, never several;
- online, the live run of the training is opened again by its id, and what it has not yet is added.

Text goes into it only as the table of examples, which the config has to ask for and the corpus has to allow. What W&B
puts aside for an upload stays in the run folder, under `wandb/data`.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis import concept_recovery
from analysis.examples import VOCABULARY, FeatureExamples, settings_of
from sae import artefact
from training import evaluation
from training.config import TrackingConfig
from training.engine import Done
from training.spec import METRICS_FILE, Fit
from training.tracking import (
    DENSITY_FILE,
    HISTORY_FILE,
    log_density_histogram,
    log_row,
    run_id,
    started,
    wandb_histogram,
)  # fmt: skip

ARTEFACT_FILES = ("cfg.json", "sae_weights.safetensors", METRICS_FILE, evaluation.FILE)
"""All that an artefact of type `sae` may hold: weights and figures."""
COLUMNS = ["feature", "density", "max_activation", "rank", "activation", "context"]


@dataclass(frozen=True)
class WriteRun:
    """Brings the W&B run of one autoencoder up to its files."""

    fit: Fit
    tracking: TrackingConfig
    group: str | None = None
    """Name that W&B groups it by; the one it has, or the run folder's, if none."""

    @property
    def name(self) -> str:
        return f"the W&B run of {self.fit.hook_point} {self.fit.sae_id}"

    @property
    def id(self) -> str:
        return f"wandb-{self.fit.hook_point}-{self.fit.sae_id}-{self.content()}"

    @property
    def mark(self) -> Path:
        """Says what of the files the W&B run holds; written last."""
        return self.fit.run / "wandb" / f"{run_id(self.fit.log_name)}.json"

    @property
    def examples_path(self) -> Path:
        return self.fit.run / "examples" / self.fit.hook_point / f"{self.fit.sae_id}.h5"

    def content(self) -> str:
        """Hash of what the W&B run should hold."""
        names = (HISTORY_FILE, DENSITY_FILE, METRICS_FILE, evaluation.FILE, concept_recovery.FILE)
        paths = [self.fit.folder / name for name in names]
        hashes = [artefact.file_hash(path) if path.is_file() else None for path in paths]
        examples = settings_of(self.examples_path) if self.tracking.examples else None
        return artefact.content_hash(hashes, examples, self.tracking.model_dump(mode="json"))

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing to write; before the first row there is nothing."""
        if self.tracking.wandb == "disabled" or not (self.fit.folder / HISTORY_FILE).is_file():
            return True
        return self.mark.is_file() and artefact.read_json(self.mark)["content"] == self.content()

    def run(self, done: Done) -> None:
        if self.is_complete:
            return
        before = artefact.read_json(self.mark) if self.mark.is_file() else {}
        group = self.group or before.get("group") or self.fit.run.name
        content = self.content()
        if self.tracking.wandb == "offline":
            remove_runs(self.fit.run / "wandb", run_id(self.fit.log_name))
        run = started(self.tracking, self.fit.run, self.fit.log_name, group, self.fit.log_config)
        try:
            self.write(run)
        except BaseException:
            run.finish(exit_code=1)
            raise
        run.finish(exit_code=0)
        artefact.write_json(self.mark, {"content": content, "group": group})
        done(1)

    def write(self, run: Any) -> None:
        """Adds what an open W&B run does not have yet: rows of the training, figures, artefact, examples."""
        densities = {row["step"]: row["counts"] for row in rows(self.fit.folder / DENSITY_FILE)}
        for row in rows(self.fit.folder / HISTORY_FILE):
            if row["step"] >= run.step:
                log_row(run, row, densities.get(row["step"]))
        path = self.fit.folder / evaluation.FILE
        if path.is_file():
            found = artefact.read_json(path)
            held_out = {f"evaluation/{key}": value for key, value in figures(evaluation.FILE, found).items()}
            counts = log_density_histogram(np.asarray(found["density"]))[0].tolist()
            run.log({**held_out, "evaluation/log10_feature_density": wandb_histogram(counts)})
        with staged_in(self.fit.run / "wandb" / "data"):
            if self.tracking.artefacts and self.fit.is_complete:
                log_artefact(run, self.fit)
            if self.tracking.examples and self.examples_path.is_file():
                names = artefact.read_json(self.examples_path.parents[1] / VOCABULARY)
                found = FeatureExamples.read(self.examples_path)
                log_table(run, example_rows(found, names, self.tracking.example_features))
        for name in (METRICS_FILE, evaluation.FILE, concept_recovery.FILE):  # last: rows write into the summary, too
            path = self.fit.folder / name
            if path.is_file():
                run.summary.update(figures(name, artefact.read_json(path)))


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL; none if there is no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def figures(name: str, found: dict[str, Any]) -> dict[str, float]:
    """The plain numbers of one of an autoencoder's result files, by the names that sweeps judge them by."""
    if name == evaluation.FILE:
        return found["reconstruction"] | (found["splice"] or {})
    if name == concept_recovery.FILE:
        probes = {f"probe_auroc_{k}": value["auroc"] for k, value in found["probing"]["features"].items()}
        return {key: found[key] for key in ("n_concepts", "n_recovered")} | probes
    return found


def remove_runs(folder: Path, wandb_id: str) -> None:
    """Takes away older offline folders of a W&B run."""
    for old in folder.glob(f"offline-run-*-{wandb_id}"):
        shutil.rmtree(old)


@contextmanager
def staged_in(folder: Path) -> Iterator[None]:
    """Where W&B puts aside what waits for an upload: here, not in the user's home, which it otherwise takes."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder.absolute())
    try:
        yield
    finally:
        os.environ.pop("WANDB_DATA_DIR")
        if before is not None:
            os.environ["WANDB_DATA_DIR"] = before


def log_artefact(run: Any, fit: Fit) -> None:
    """The autoencoder as SAELens reads it, with its figures. Its files are not copied before an upload."""
    import wandb

    found = wandb.Artifact(run_id(fit.log_name), type="sae", metadata={"hook_point": fit.hook_point})
    for name in ARTEFACT_FILES:
        if (fit.folder / name).is_file():
            found.add_file(str(fit.folder / name), policy="immutable")
    run.log_artifact(found)


def log_table(run: Any, found: list[list[Any]]) -> None:
    """A table of examples."""
    import wandb

    run.log({"examples": wandb.Table(columns=[*COLUMNS], data=[*found])})


def example_rows(found: FeatureExamples, names: list[str], n_features: int) -> list[list[Any]]:
    """The strongest contexts of the features that fire most often, one line each; columns as in COLUMNS."""
    table: list[list[Any]] = []
    top = found.contexts["top"]
    often = found.live[np.argsort(-found.density[found.live], kind="stable")][:n_features]
    for feature in often.tolist():
        figures = [feature, float(found.density[feature]), float(found.max_activation[feature])]
        for place in np.flatnonzero(top.document[feature] >= 0).tolist():
            text = "".join(names[token] for token in top.token_id[feature, place] if token >= 0)
            table.append([*figures, place + 1, float(top.activation[feature, place]), text])
    return table
