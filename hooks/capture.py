"""Capturing: documents → windows → one pass of the model → shards of the store.

1. The documents become tokens, and the tokens of each split are cut into parts of consecutive documents.
2. Each part becomes a shard (hooks.part), written under a temporary name, renamed when whole, its entry after it.
3. The manifest comes last.

So a capture that was killed goes on with the first missing shard and ends in the same bytes, and one whose shards
were damaged later makes just those anew.
"""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch

from hooks import corpus as corpora
from hooks import part, patches, shard, store, windows
from hooks.backend import open_backend
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.corpus import Document, Split
from hooks.hook_points import HookPoint, expand
from hooks.model import LanguageModel, fingerprint, locate
from hooks.part import CaptureParts, Part
from hooks.store import Store
from sae import artefact
from sae.errors import UserError

BUFFER_BYTES = 512 * 2**20
"""Activations of one shard in memory, at most; two shards are there at a time."""
MOST_PARTS = 16
"""Shards of one task, at most: what waits behind each other on one worker."""


class Job(NamedTuple):
    """All that decides the bytes of a store."""

    model: ModelConfig
    corpus: CorpusConfig
    capture: CaptureConfig
    seed: int

    def origin(self, docs: list[Document]) -> dict[str, Any]:
        """What the store says of where it comes from; no text, only hashes."""
        weights = "raw" if self.model.quantization == "none" else f"raw, then {self.model.quantization}"
        return {
            "model": fingerprint(self.model.name, locate(self.model))
            | {"dtype": self.model.dtype, "weights": weights, "kind": self.model.kind},
            "corpus": {"name": self.corpus.name, "hash": corpora.corpus_hash(docs), "n_documents": len(docs)},
            "split": {"held_out": self.corpus.held_out, "seed": self.seed},
            "tokens": {"min_tokens": self.corpus.min_tokens, "short_documents": self.corpus.short_documents},
            "capture": self.capture.model_dump(mode="json"),
            "format_version": shard.FORMAT_VERSION,
        }


def store_id(origin: dict[str, Any]) -> str:
    """The name of a store's content: the same for the same model, texts and settings, wherever they lie."""
    model = {key: value for key, value in origin["model"].items() if key != "model"}
    data = {key: value for key, value in origin["corpus"].items() if key != "name"}
    return artefact.content_hash(origin | {"model": model, "corpus": data})


def finished(job: Job, docs: list[Document], folder: Path, *, thorough: bool = False) -> Store | None:
    """The store of this job, if it is complete; found without loading the model.

    Args:
        job: What was to be captured.
        docs: The corpus.
        folder: Where the store lies.
        thorough: Whether to read every shard for its checksum, not only to look at its size.

    Raises:
        UserError: The folder holds a store made from something else.
    """
    if not (folder / store.MANIFEST).is_file():
        return None
    manifest = artefact.read_json(folder / store.MANIFEST)
    store.refuse_other_store(folder, manifest["store_id"], store_id(job.origin(docs)))
    found = Store(folder, manifest)
    return None if found.incomplete() or (thorough and found.verify()) else found


class Plan(NamedTuple):
    """What has to be done for a store, and what is done already."""

    job: Job
    folder: Path
    origin: dict[str, Any]
    store_id: str
    points: tuple[HookPoint, ...]
    widths: dict[str, int]
    """Hook point → width of its activations."""
    overflows: bool
    """Whether activations are too large for float16, so that `auto` keeps float32."""
    n_shards: int
    missing: list[Part]

    @property
    def n_tokens(self) -> int:
        """Tokens that are still to be run."""
        return sum(one.n_tokens for one in self.missing)

    @property
    def n_bytes(self) -> int:
        """Disk that the missing shards will take."""
        dtype = self.job.capture.dtype
        itemsize = 4 if dtype == "float32" or (dtype == "auto" and self.overflows) else 2
        per_token = sum(self.widths.values()) * itemsize + 4 * len(self.widths) + shard.INDEX_BYTES
        return self.n_tokens * per_token + len(self.missing) * shard.HEADER_BYTES

    def tasks(self, n_shares: int) -> list[CaptureParts]:
        """The work in about so many portions of neighbouring shards."""
        size = min(max(len(self.missing) // n_shares, 1), MOST_PARTS)
        portions = [tuple(self.missing[start : start + size]) for start in range(0, len(self.missing), size)]
        job = self.job
        return [
            CaptureParts(job.model, job.capture, self.points, some, self.folder, self.store_id) for some in portions
        ]


def prepare(job: Job, docs: list[Document], lm: LanguageModel, folder: Path) -> Plan:
    """Plans a store and finds which of its shards are missing or damaged.

    Args:
        job: What to capture.
        docs: The corpus.
        lm: The model, loaded.
        folder: Where the store goes.

    Raises:
        UserError: A hook point the model has not, documents too short, a disk too small, or a folder with another
            store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    planned = plan(job, docs, lm, folder)
    check_disk(planned)
    return planned


def plan(job: Job, docs: list[Document], lm: LanguageModel, folder: Path) -> Plan:
    """As `prepare`, writing nothing and asking nothing of the disk."""
    origin = job.origin(docs)
    name = store_id(origin)
    points = tuple(expand(job.capture.hook_points, lm.n_layers, tuple(lm.family.places)))
    tokens = rows_of(docs, lm, job)
    widths, overflows = look_at(lm, points, job.capture, tokens[0])
    parts = part.plan(tokens, split_of(docs, job), shard_tokens(job.capture, widths))
    refuse_one_sided(parts, len(tokens))
    missing = [one for one in parts if store.intact_entry(folder, one.number, name) is None]
    return Plan(job, folder, origin, name, points, widths, overflows, len(parts), missing)


def rows_of(docs: list[Document], lm: LanguageModel, job: Job) -> list[windows.Tokens]:
    """The rows of every document, whether it is a text or an image."""
    return patches.rows_of(docs, lm) if lm.kind == "vision" else windows.tokenise(docs, lm, job.corpus, job.capture)


def conclude(done: Plan) -> Store:
    """Writes the manifest, last of all, and opens the store."""
    entries = [artefact.read_json(store.entry_path(done.folder, index)) for index in range(done.n_shards)]
    manifest = {"store_id": done.store_id, "origin": done.origin, "hook_points": done.widths, "shards": entries}
    artefact.write_json(done.folder / store.MANIFEST, manifest)
    return Store.open(done.folder)


def split_of(docs: list[Document], job: Job) -> dict[int, Split]:
    """Side of each document, by its row number."""
    sides = corpora.split(docs, job.corpus.held_out, job.seed)
    return {doc.index: side for doc, side in zip(docs, sides, strict=True)}


def refuse_one_sided(parts: list[Part], n_documents: int) -> None:
    """Both sides need documents."""
    for side in ("train", "held_out"):
        if not any(one.split == side for one in parts):
            raise UserError(
                f"No document is left for the {side} side of {n_documents} documents, expected at least one. "
                "Give more distinct documents or change corpus.held_out."
            )


def shard_tokens(cfg: CaptureConfig, widths: dict[str, int]) -> int:
    """Rows per shard: as asked, or fewer where the activations would not fit in memory."""
    return max(min(cfg.shard_tokens, BUFFER_BYTES // (4 * sum(widths.values()))), cfg.context_tokens)


def look_at(
    lm: LanguageModel, points: tuple[HookPoint, ...], cfg: CaptureConfig, tokens: windows.Tokens
) -> tuple[dict[str, int], bool]:
    """Width of each hook point's activations, and whether they overflow float16; seen on two tokens or a blank image."""
    ids = torch.from_numpy(tokens.token_id[:2]).long()[None]
    inputs = (ids, torch.ones_like(ids)) if lm.processor is None else (lm.processor.blank,)
    values = open_backend(lm, cfg)(points, *inputs)
    overflows = any(
        value.dtype != torch.bfloat16 and float(value.abs().max()) > shard.FLOAT16_MAX for value in values.values()
    )
    return {str(point): part.flattened(value).shape[-1] for point, value in values.items()}, overflows


def check_disk(planned: Plan) -> None:
    """Refuses to begin what will not fit."""
    free = shutil.disk_usage(planned.folder).free
    if planned.n_bytes > free:
        raise UserError(
            f"The activations need about {planned.n_bytes / 1e9:.1f} GB, but the disk of {planned.folder} has "
            f"{free / 1e9:.1f} GB free. "
            "Free some space, or lower corpus.max_documents or the number of hook points."
        )
