"""Reading a finished run into plain records, in the order in which the report shows them."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from analysis.examples import VOCABULARY
from hooks.hook_points import parse
from sae import artefact
from sae.errors import UserError

ARCHITECTURES = {
    "topk": "TopK", "jumprelu": "JumpReLU", "l1": "L1", "batchtopk": "BatchTopK", "matryoshka": "Matryoshka", "gated": "Gated",
}  # fmt: skip
"""Architectures in the order of the report, by the name people use."""
CONCEPT_AUROC = 0.95
"""Held-out AUROC of a recovered concept, where the file does not say. Source: default of ConceptsConfig."""


@dataclass(frozen=True)
class SAEResult:
    """All that is known of one autoencoder."""

    run: Path
    """Its run folder."""
    hook_point: str
    sae_id: str
    origin: dict[str, Any]
    """What it was made from."""
    cfg: dict[str, Any]
    """SAELens' record of it."""
    metrics: dict[str, Any]
    """Last row of the training log."""
    history: list[dict[str, Any]]
    """Rows of the training log."""
    evaluation: dict[str, Any] | None
    """Held-out figures; none if it was not evaluated."""
    concepts: dict[str, Any] | None
    """Concept recovery; none if the corpus has no spans."""
    examples: Path | None
    """The file of feature examples; none if they were not gathered."""

    @property
    def folder(self) -> Path:
        """Where its weights and records lie."""
        return self.run / "saes" / self.hook_point / self.sae_id

    @property
    def architecture(self) -> str:
        """The name people use."""
        name = str(self.origin["sae"]["architecture"])
        return ARCHITECTURES.get(name, name)

    @property
    def settings(self) -> str:
        """Its id without the hash: architecture, expansion and sparsity."""
        return self.sae_id.rpartition("-")[0] or self.sae_id

    @property
    def d_sae(self) -> int:
        return int(self.cfg["d_sae"])

    @property
    def reconstruction(self) -> dict[str, float] | None:
        return None if self.evaluation is None else self.evaluation["reconstruction"]

    @property
    def splice(self) -> dict[str, float] | None:
        """What the spliced model loses; none for encoders."""
        return None if self.evaluation is None else self.evaluation["splice"]

    @property
    def density(self) -> list[float]:
        """Share of held-out tokens each feature fires on; empty if it was not evaluated."""
        return [] if self.evaluation is None else self.evaluation["density"]

    @property
    def found(self) -> dict[str, dict[str, Any]]:
        """Best feature and figures of each measured concept, by name."""
        return {} if self.concepts is None else self.concepts["concepts"]

    @property
    def n_recovered(self) -> int:
        """Concepts that reach the threshold."""
        return 0 if self.concepts is None else self.concepts["n_recovered"]

    @property
    def probing(self) -> dict[str, Any]:
        """Probes on a few features; empty if there are none."""
        return (self.concepts or {}).get("probing", {})

    @property
    def concept_threshold(self) -> float:
        """AUROC from which a concept counts as recovered."""
        return float((self.concepts or {}).get("settings", {}).get("auroc", CONCEPT_AUROC))


@dataclass(frozen=True)
class RunResult:
    """All that the report tells of a run."""

    name: str
    config: dict[str, Any]
    """The resolved config; empty if the run has none."""
    manifest: dict[str, Any]
    """The activation store's manifest."""
    saes: list[SAEResult]
    """By layer, kind of hook point and architecture."""
    resources: dict[str, Any] | None
    """Machine and stages; none if they were not measured."""
    vocabulary: list[str]
    """Text of every token id; empty if no examples were gathered."""

    @cached_property
    def hook_points(self) -> list[str]:
        """Hook points that have an autoencoder, in order."""
        return list(dict.fromkeys(sae.hook_point for sae in self.saes))

    @cached_property
    def architectures(self) -> list[str]:
        """Architectures of the run, in order."""
        return list(dict.fromkeys(sae.architecture for sae in sorted(self.saes, key=rank_of_architecture)))

    @cached_property
    def short_names(self) -> dict[str, str]:
        """`layer 3` for a hook point where all are of one kind; else `layer 3 resid_post`."""
        points = {name: parse(name) for name in self.hook_points}
        kind = {name: point.kind.replace("hook_", "") for name, point in points.items()}
        is_one_kind = len(set(kind.values())) == 1
        return {
            name: kind[name] if point.layer is None else f"layer {point.layer}{'' if is_one_kind else f' {kind[name]}'}"
            for name, point in points.items()
        }

    @cached_property
    def variants(self) -> dict[str, str]:
        """Label of each autoencoder's settings: the architecture alone where it stands for one setting."""
        settings = {(sae.architecture, sae.settings) for sae in self.saes}
        counts = [architecture for architecture, _ in settings]
        return {text: name if counts.count(name) == 1 else text for name, text in settings}

    def label(self, sae: SAEResult) -> str:
        """Architecture and place, for people."""
        return f"{self.variants[sae.settings]}, {self.short_names[sae.hook_point]}"

    @property
    def has_concepts(self) -> bool:
        return any(sae.found for sae in self.saes)

    @property
    def seed(self) -> int:
        """Seed of the run, from the config or the first autoencoder."""
        return int(self.config.get("seed", self.saes[0].origin.get("seed", 0)))

    @property
    def stages(self) -> list[dict[str, Any]]:
        """Sessions of the stages, as measured."""
        return [] if self.resources is None else self.resources["stages"]

    @property
    def date(self) -> str | None:
        """When the last stage was started; none if that was not recorded."""
        return max((session["started"] for session in self.stages), default=None)


def read_run(run: Path, chosen: list[tuple[str, str]] | None = None) -> RunResult:
    """Reads a run folder.

    Args:
        run: The folder.
        chosen: Hook point and id of the autoencoders to read; all that finished training, if none.

    Raises:
        UserError: The run has no activation store, or lacks an autoencoder.
    """
    manifest = run / "acts" / "manifest.json"
    if not manifest.is_file():
        raise UserError(
            f"{run} holds no finished activation store, expected acts/manifest.json. Run `clinlens capture` first."
        )
    names = trained(run) if chosen is None else chosen
    if not names:
        raise UserError(f"{run} holds no trained SAE, expected one under saes/. Run `clinlens train` first.")
    saes = sorted((read_sae(run, *name) for name in names), key=rank)
    config, resources = run / "config.yaml", run / "resources.json"
    vocabulary = run / "examples" / VOCABULARY
    return RunResult(
        name=run.resolve().name,
        config=yaml.safe_load(config.read_text(encoding="utf-8")) if config.is_file() else {},
        manifest=artefact.read_json(manifest),
        saes=saes,
        resources=artefact.read_json(resources) if resources.is_file() else None,
        vocabulary=artefact.read_json(vocabulary) if vocabulary.is_file() else [],
    )


def trained(run: Path) -> list[tuple[str, str]]:
    """Hook point and id of every autoencoder that finished training."""
    return [(path.parts[-3], path.parts[-2]) for path in sorted((run / "saes").glob("*/*/metrics.json"))]


def read_sae(run: Path, hook_point: str, sae_id: str) -> SAEResult:
    """Reads one autoencoder's records.

    Raises:
        UserError: It is missing, or its training is not finished.
    """
    folder = run / "saes" / hook_point / sae_id
    if not (folder / "metrics.json").is_file():
        raise UserError(f"{folder} has no metrics.json, expected a trained SAE. Run `clinlens train` on the run first.")
    evaluation, concepts = folder / "evaluation.json", folder / "concepts.json"
    examples = run / "examples" / hook_point / f"{sae_id}.h5"
    history = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return SAEResult(
        run,
        hook_point,
        sae_id,
        origin=artefact.read_json(folder / "origin.json"),
        cfg=artefact.read_json(folder / "cfg.json"),
        metrics=artefact.read_json(folder / "metrics.json"),
        history=[json.loads(row) for row in history],
        evaluation=artefact.read_json(evaluation) if evaluation.is_file() else None,
        concepts=artefact.read_json(concepts) if concepts.is_file() else None,
        examples=examples if examples.is_file() else None,
    )


def rank(sae: SAEResult) -> tuple[int, str, int, str]:
    """Order of the report: layer, kind of hook point, architecture, id."""
    point = parse(sae.hook_point)
    return (-1 if point.layer is None else point.layer, point.kind, rank_of_architecture(sae), sae.sae_id)


def rank_of_architecture(sae: SAEResult) -> int:
    """Place among the known architectures; others come after them."""
    known = list(ARCHITECTURES.values())
    return known.index(sae.architecture) if sae.architecture in known else len(known)
