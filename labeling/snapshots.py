"""Evidence from a finished run: what a rater will see of a feature, and which features are worth asking about.

Reads `examples/<hook_point>/<sae_id>.h5`, `examples/vocabulary.json` and `saes/<hook_point>/<sae_id>/origin.json`,
with h5py and safetensors alone: no model, no torch.
"""

import hashlib
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from safetensors.numpy import load_file

from analysis.examples import VOCABULARY, Contexts, FeatureExamples, before
from labeling.evidence import Context, Kind, SAERef, Snapshot
from sae import artefact
from sae.errors import UserError

FAMILY_COSINE = 0.9
"""Decoder rows this close or closer are one family; random rows of width 128 stay below 0.45."""
BLOCK = 2048
N_LOGITS = 10


class CandidateFeature(NamedTuple):
    """A feature that could be put before raters."""

    hook_point: str
    sae_id: str
    number: int
    """Its index in the autoencoder."""
    density: float
    max_activation: float
    n_contexts: int
    """Passages in which it fires, as kept."""
    family: str
    """Shared by near-duplicates."""


def saes_of(run_folder: Path) -> list[tuple[str, str]]:
    """Hook points and ids of the autoencoders whose features have examples.

    Raises:
        UserError: There are none.
    """
    found = sorted((path.parent.name, path.stem) for path in (run_folder / "examples").glob("*/*.h5"))
    if not found:
        raise UserError(
            f"{run_folder} has no feature examples, expected a finished run. Run `clinlens run` with its config first."
        )
    return found


@lru_cache(maxsize=8)
def examples_of(run_folder: Path, hook_point: str, sae_id: str) -> FeatureExamples:
    """The examples of one autoencoder."""
    return FeatureExamples.read(run_folder / "examples" / hook_point / f"{sae_id}.h5")


@lru_cache(maxsize=8)
def ref_of(run_folder: Path, hook_point: str, sae_id: str) -> SAERef:
    """Which autoencoder it is, wherever its files lie."""
    folder = run_folder / "saes" / hook_point / sae_id
    origin = origin_of(folder)
    weights = (folder / "sae_weights.safetensors").read_bytes()
    return SAERef(
        model=origin["store"]["model"]["model"],
        model_hash=origin["store"]["model"]["weight_hash"],
        hook_point=hook_point,
        sae_id=sae_id,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        d_sae=len(examples_of(run_folder, hook_point, sae_id).density),
    )


def origin_of(folder: Path) -> dict:
    """What an autoencoder was made from.

    Raises:
        UserError: Its folder has no origin.
    """
    path = folder / "origin.json"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist, expected a trained autoencoder. Run `clinlens run` with its config first."
        )
    return artefact.read_json(path)


@lru_cache(maxsize=4)
def vocabulary_of(run_folder: Path) -> tuple[str, ...]:
    """The text of every token id."""
    return tuple(artefact.read_json(run_folder / "examples" / VOCABULARY))


@lru_cache(maxsize=4)
def n_quantiles_of(run_folder: Path) -> int:
    """Into how many groups the quantile contexts fall."""
    return int(yaml.safe_load((run_folder / "config.yaml").read_text(encoding="utf-8"))["examples"]["n_quantiles"])


def snapshot_of(run_folder: Path, hook_point: str, sae_id: str, feature: int) -> Snapshot:
    """The evidence on one feature: strongest passages, then the quantiles from strong to weak, then contrasts.

    Raises:
        UserError: The run is not finished, or it has no such feature.
    """
    examples = examples_of(run_folder, hook_point, sae_id)
    if not 0 <= feature < len(examples.density):
        raise UserError(
            f"Feature {feature} of {sae_id}, expected 0 to {len(examples.density) - 1}. Choose one of those."
        )
    corpus = origin_of(run_folder / "saes" / hook_point / sae_id)["store"]["corpus"]
    return Snapshot(
        sae=ref_of(run_folder, hook_point, sae_id),
        feature=feature,
        density=rounded(examples.density[feature]),
        max_activation=rounded(examples.max_activation[feature]),
        contexts=contexts_of(run_folder, examples, feature),
        top_logits=logits_of(run_folder, examples, feature, "top"),
        bottom_logits=logits_of(run_folder, examples, feature, "bottom"),
        corpus=corpus["name"],
        corpus_hash=corpus["hash"],
        code_version=version("clinlens"),
    )


def contexts_of(run_folder: Path, examples: FeatureExamples, feature: int) -> tuple[Context, ...]:
    """All passages, each once."""
    words, found = vocabulary_of(run_folder), {}
    for kind in ("top", "quantile", "contrast"):
        kept = examples.contexts[kind]
        n_kept = kept.document.shape[1]
        for place in np.flatnonzero(kept.document[feature] >= 0):
            group = int(place) * n_quantiles_of(run_folder) // n_kept if kind == "quantile" else None
            context = context_of(kept, feature, int(place), words, kind, group)
            found.setdefault((context.document, context.position), context)
    return tuple(found.values())


def context_of(
    kept: Contexts, feature: int, place: int, words: tuple[str, ...], kind: Kind, quantile: int | None
) -> Context:
    """One passage; places beyond its text are left out."""
    ids = kept.token_id[feature, place]
    inside = np.flatnonzero(ids >= 0)
    return Context(
        kind=kind,
        document=int(kept.document[feature, place]),
        position=int(kept.position[feature, place]),
        is_held_out=bool(kept.is_held_out[feature, place]),
        tokens=tuple(words[token] for token in ids[inside]),
        acts=tuple(rounded(value) for value in kept.acts[feature, place, inside]),
        peak=int(np.searchsorted(inside, before(len(ids)))),
        quantile=quantile,
    )


def logits_of(run_folder: Path, examples: FeatureExamples, feature: int, end: str) -> tuple[tuple[str, float], ...]:
    """The next tokens a feature pushes up or down; none for encoders."""
    if not examples.logits:
        return ()
    words = vocabulary_of(run_folder)
    ids, values = examples.logits[f"{end}_id"][feature], examples.logits[f"{end}_value"][feature]
    return tuple((words[token], rounded(value)) for token, value in zip(ids[:N_LOGITS], values[:N_LOGITS], strict=True))


def rounded(value: float) -> float:
    """Three significant digits: what a reader sees, and the same bytes everywhere."""
    return float(f"{float(value):.3g}")


def candidate_features(
    run_folder: Path, hook_point: str, sae_id: str, *, min_contexts: int = 5, max_density: float = 0.5
) -> list[CandidateFeature]:
    """The features with enough passages to judge from, by number.

    Args:
        run_folder: A finished run.
        hook_point: Of the autoencoder.
        sae_id: Of the autoencoder.
        min_contexts: Passages in which the feature fires.
        max_density: A feature that fires on more of all tokens says little about any.
    """
    examples = examples_of(run_folder, hook_point, sae_id)
    kept = [examples.contexts[kind].document >= 0 for kind in ("top", "quantile")]
    n_contexts = np.sum([found.sum(axis=1) for found in kept], axis=0)
    is_fit = (n_contexts >= min_contexts) & (examples.density <= max_density) & (examples.density > 0)
    families = families_of(run_folder, hook_point, sae_id)
    return [
        CandidateFeature(
            hook_point, sae_id, int(number), rounded(examples.density[number]), rounded(examples.max_activation[number]),
            int(n_contexts[number]), families[number],
        )
        for number in np.flatnonzero(is_fit)
    ]  # fmt: skip


@lru_cache(maxsize=8)
def families_of(run_folder: Path, hook_point: str, sae_id: str) -> tuple[str, ...]:
    """The family of every feature: those connected by decoder rows of cosine `FAMILY_COSINE` or more."""
    weights = load_file(run_folder / "saes" / hook_point / sae_id / "sae_weights.safetensors")["W_dec"]
    rows = weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
    first = np.arange(len(rows))
    for start in range(0, len(rows), BLOCK):
        near = rows[start : start + BLOCK] @ rows.T >= FAMILY_COSINE
        for a, b in zip(*np.nonzero(near), strict=True):
            low, high = sorted((root(first, start + int(a)), root(first, int(b))))
            first[high] = low
    return tuple(f"{sae_id}:{root(first, number)}" for number in range(len(rows)))


def root(first: np.ndarray, number: int) -> int:
    """The smallest member of a feature's family so far."""
    while first[number] != number:
        first[number] = first[first[number]]
        number = int(first[number])
    return number
