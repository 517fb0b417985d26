"""From the options of the command line to one file of figures per autoencoder, and a few lines to read."""

import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from analysis.concept_recovery import find_units
from analysis.feature_quality.config import QualityConfig
from analysis.feature_quality.material import Material
from analysis.feature_quality.quality import quality
from analysis.tracing.config import TraceConfig
from analysis.units import Unit
from clinlens import __version__
from clinlens import config as configs
from clinlens.assigned import assigned
from clinlens.audit.opened import sae_ids
from clinlens.pipeline import Run, progress
from clinlens.trace.gather import Seen, layer_of
from hooks.store import Store
from sae import artefact, saelens_format
from sae.errors import UserError

FOLDER = "quality"
VERSION = 1
"""Of the set of figures: a file of an older one is made anew."""


def quality_command(place: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Runs the verb.

    Args:
        place: A run folder, or its config.
        given: The command line's options by name.

    Returns:
        The figures of each autoencoder, and the files written.

    Raises:
        UserError: The corpus has no annotations, no autoencoder fits, or too few concepts have mentions enough.
    """
    cfg = assigned(QualityConfig, given["settings"])
    run = Run(configs.read(place))
    folders = chosen(run.folder, given["sae"])
    store = Store.open(run.folder / "acts")
    units = find_units(store, run.documents, cfg.seed)
    if not any(unit.label for unit in units):
        raise UserError(
            "The held-out documents have no annotated spans, expected some: concepts are what features are judged on. Name "
            "the corpus' spans in corpus.span_column, or hold out more documents (corpus.held_out)."
        )
    files = []
    with progress("quality", len(folders), "SAE") as done:
        for folder in folders:
            files.append(made(run, store, folder, units, cfg, is_fresh=given["is_fresh"]))
            done(1)
    return {"saes": [artefact.read_json(path) for path in files], "files": [str(path) for path in files]}


def chosen(run: Path, pattern: str | None) -> list[Path]:
    """Folders of the autoencoders that fit.

    Raises:
        UserError: None does.
    """
    there = sae_ids(run)
    found = [
        run / "saes" / point / one
        for point, ids in there.items()
        for one in ids
        if pattern is None or fnmatch.fnmatchcase(one, pattern)
    ]
    if not found:
        ids = sorted({one for some in there.values() for one in some})
        raise UserError(f"No SAE is called {pattern!r}, expected one of {', '.join(ids)}. Correct --sae.")
    return found


def made(run: Run, store: Store, folder: Path, units: list[Unit], cfg: QualityConfig, *, is_fresh: bool) -> Path:
    """The file of one autoencoder; one that rests on the same is left as it is."""
    model = store.origin["model"]
    origin = {
        "version": VERSION,
        "code_version": __version__,
        "hook_point": folder.parent.name,
        "sae_id": folder.name,
        "sae_hash": artefact.file_hash(folder / saelens_format.WEIGHTS_FILE),
        "model": {"name": model["model"], "hash": model["weight_hash"]},
        "data": {"hash": store.origin["corpus"]["hash"], "store_id": store.id, "units": artefact.content_hash(units)},
        "settings": cfg.model_dump(mode="json"),
    }
    path = run.folder / FOLDER / folder.parent.name / f"{folder.name}.json"
    if is_fresh or not path.is_file() or artefact.read_json(path)["origin"] != origin:
        artefact.write_json(path, {"origin": origin} | quality(material_of(store, folder, units), cfg))
    return path


def material_of(store: Store, folder: Path, units: list[Unit]) -> Material:
    """What the measures read of one autoencoder."""
    n = len(units)
    patient = np.asarray([unit.bundle for unit in units])
    seen = Seen(units, np.asarray([bool(unit.label) for unit in units]), np.zeros(n, np.int64), patient)
    layer = layer_of(store, folder, seen, frozenset(), TraceConfig(aggregation="mean"))
    offset = saelens_format.load(folder).b_dec.detach().numpy()
    return Material(units, sparse.csr_array(layer.scores), layer.dense, layer.decoder, offset)


def lines(found: dict[str, Any]) -> list[str]:
    """The figures for people: one row per autoencoder."""
    rows = []
    for one in found["saes"]:
        origin, absorbed, split = one["origin"], one["absorption"], one["splitting"]
        probing, tpp, unlearnt = one["sparse_probing"], one["targeted"]["features"], one["unlearning"]["auroc"]
        probes = ", ".join(f"k = {k}: {value['auroc']:.3f}" for k, value in probing["features"].items())
        model = f", model {probing['model']['auroc']:.3f}" if probing["model"] else ""
        most = max(tpp, key=int)
        rows += [
            f"{origin['hook_point']}  {origin['sae_id']}  ({one['n_concepts']} concepts)",
            f"  absorption fraction {shown(absorbed['fraction'])}, full {shown(absorbed['full'])}",
            f"  {split['mean_n_parts']:.2f} features per concept, {split['share_split']:.0%} of concepts split",
            f"  sparse probes: {probes}{model}",
            f"  TPP of {most} features {shown(tpp[most]['tpp'])}, of random ones {shown(tpp[most]['control'])}",
            f"  unlearning {one['unlearning']['n_features']} features: AUROC {shown(unlearnt['before'])}, refitted "
            f"{shown(unlearnt['refitted'])}, another concept's {shown(unlearnt['other_refitted'])}",
        ]
    return [*rows, *(f"wrote {path}" for path in found["files"])]


def shown(figure: dict[str, float | None]) -> str:
    """A figure with its interval."""
    return "none" if figure["value"] is None else f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
