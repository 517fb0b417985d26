"""Capturing: documents → windows → one pass of the model → shards of the store.

1. The documents become tokens, and the tokens of each split are cut into shards of consecutive documents.
2. A shard is a pure function of its documents and the settings: its windows are sorted by length, run in batches,
   and the rows put back in the documents' order.
3. It is written under a temporary name, renamed when whole, and its entry written after it. The manifest comes last.

So a capture that was killed goes on with the first missing shard and ends in the same bytes.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import einops
import numpy as np
import torch
from torch import Tensor

from hooks import corpus as corpora
from hooks import passage, shard, store, windows
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.corpus import Document, Split
from hooks.hook_points import HookPoint, expand
from hooks.model import LanguageModel, fingerprint, load, locate
from hooks.store import Store
from hooks.windows import Tokens
from sae import artefact
from sae.errors import UserError

BUFFER_BYTES = 512 * 2**20
"""Activations of one shard in memory, at most."""
INDEX_BYTES = 5 * 4 + 1
"""Bytes of a row beside its activations and norms."""

Progress = Callable[[int], None]
"""Told how many tokens were done since the last call."""


class Job(NamedTuple):
    """All that decides the bytes of a store."""

    model: ModelConfig
    corpus: CorpusConfig
    capture: CaptureConfig
    seed: int

    def origin(self, docs: list[Document]) -> dict[str, Any]:
        """What the store says of where it comes from; no text, only hashes."""
        return {
            "model": fingerprint(self.model.name, locate(self.model))
            | {"dtype": self.model.dtype, "weights": "raw", "kind": self.model.kind},
            "corpus": {"name": self.corpus.name, "hash": corpora.corpus_hash(docs), "n_documents": len(docs)},
            "split": {"held_out": self.corpus.held_out, "seed": self.seed},
            "tokens": {"min_tokens": self.corpus.min_tokens, "short_documents": self.corpus.short_documents},
            "capture": self.capture.model_dump(mode="json"),
            "format_version": shard.FORMAT_VERSION,
        }


class Part(NamedTuple):
    """The documents of one shard."""

    number: int
    split: Split
    tokens: list[Tokens]

    @property
    def n_tokens(self) -> int:
        return sum(len(doc.token_id) for doc in self.tokens)


def store_id(origin: dict[str, Any]) -> str:
    """The name of a store's content: the same for the same model, texts and settings, wherever they lie."""
    model = {key: value for key, value in origin["model"].items() if key != "model"}
    data = {key: value for key, value in origin["corpus"].items() if key != "name"}
    return artefact.content_hash(origin | {"model": model, "corpus": data})


def finished(job: Job, docs: list[Document], folder: Path) -> Store | None:
    """The store of this job, if it is complete; found without loading the model.

    Raises:
        UserError: The folder holds a store made from something else.
    """
    if not (folder / store.MANIFEST).is_file():
        return None
    found = Store.open(folder)
    store.refuse_other_store(folder, found.id, store_id(job.origin(docs)))
    return found


class Plan(NamedTuple):
    """What has to be done for a store, and what is done already."""

    folder: Path
    origin: dict[str, Any]
    store_id: str
    widths: dict[str, int]
    """Hook point → width of its activations."""
    n_shards: int
    missing: list["CapturePart"]

    @property
    def n_tokens(self) -> int:
        """Tokens that are still to be run."""
        return sum(task.part.n_tokens for task in self.missing)


def prepare(job: Job, docs: list[Document], lm: LanguageModel, folder: Path) -> Plan:
    """Plans a store and finds which of its shards are missing.

    Args:
        job: What to capture.
        docs: The corpus.
        lm: The model, loaded.
        folder: Where the store goes.

    Raises:
        UserError: A hook point the model has not, documents too short, a disk too small, or a folder with another
            store.
    """
    origin = job.origin(docs)
    name = store_id(origin)
    points = expand(job.capture.hook_points, lm.n_layers, tuple(lm.family.places))
    tokens = windows.tokenise(docs, lm, job.corpus, job.capture)
    widths = {str(point): width_at(lm, point, tokens[0]) for point in points}
    parts = plan(tokens, split_of(docs, job), shard_tokens(job.capture, widths))
    folder.mkdir(parents=True, exist_ok=True)
    missing = [
        CapturePart(job.model, job.capture, tuple(points), part, folder, name)
        for part in parts
        if store.intact_entry(folder, part.number, name) is None
    ]
    check_disk(folder, sum(task.part.n_tokens for task in missing), widths, 4 if job.capture.dtype == "float32" else 2)
    return Plan(folder, origin, name, widths, len(parts), missing)


def conclude(done: Plan) -> Store:
    """Writes the manifest, last of all, and opens the store."""
    entries = [artefact.read_json(store.entry_path(done.folder, index)) for index in range(done.n_shards)]
    manifest = {"store_id": done.store_id, "origin": done.origin, "hook_points": done.widths, "shards": entries}
    artefact.write_json(done.folder / store.MANIFEST, manifest)
    return Store.open(done.folder)


@dataclass(frozen=True)
class CapturePart:
    """Makes one shard; can be sent to another process."""

    model: ModelConfig
    capture: CaptureConfig
    points: tuple[HookPoint, ...]
    part: Part
    folder: Path
    store_id: str

    @property
    def name(self) -> str:
        return f"shard {self.part.number}"

    def run(self, done: Progress) -> None:
        """Runs the model over the shard's documents, writes the shard and then its entry.

        Raises:
            UserError: The disk is full, or an activation does not fit the number format.
        """
        lm = load(self.model)
        acts = activations(self.part, lm, self.points, self.capture, done)
        stored = {point: shard.encode(values, self.capture.dtype, point) for point, values in acts.items()}
        path = self.folder / f"shard-{self.part.number:05d}.h5"
        attributes = {"store_id": self.store_id, "split": self.part.split, "capture": self.capture.model_dump_json()}
        shard.write(path, index_columns(self.part.tokens), stored, attributes | lm.fingerprint)
        artefact.write_json(store.entry_path(self.folder, self.part.number), self.entry(path, stored))

    def entry(self, path: Path, stored: dict[str, shard.Stored]) -> dict[str, Any]:
        """What the manifest says of the shard."""
        tokens = self.part.tokens
        return {
            "file": path.name,
            "split": self.part.split,
            "n_tokens": self.part.n_tokens,
            "documents": [tokens[0].document, tokens[-1].document],
            "n_documents": len(tokens),
            "dtypes": {point: values.dtype for point, values in stored.items()},
            "hash": artefact.file_hash(path),
            "store_id": self.store_id,
        }


def split_of(docs: list[Document], job: Job) -> dict[int, Split]:
    """Side of each document, by its row number."""
    sides = corpora.split(docs, job.corpus.held_out, job.seed)
    return {doc.index: side for doc, side in zip(docs, sides, strict=True)}


def plan(tokens: list[Tokens], sides: dict[int, Split], most_tokens: int) -> list[Part]:
    """Consecutive documents of one side, in shards of at most `most_tokens` rows where documents allow."""
    parts: list[Part] = []
    splits: tuple[Split, ...] = ("train", "held_out")
    for side in splits:
        room = 0
        for doc in (doc for doc in tokens if sides[doc.document] == side):
            if len(doc.token_id) > room:
                parts.append(Part(len(parts), side, []))
                room = most_tokens
            parts[-1].tokens.append(doc)
            room -= len(doc.token_id)
    for side in splits:
        if not any(part.split == side for part in parts):
            raise UserError(
                f"No document is left for the {side} side of {len(tokens)} documents, expected at least one. "
                "Give more distinct documents or change corpus.held_out."
            )
    return parts


def shard_tokens(cfg: CaptureConfig, widths: dict[str, int]) -> int:
    """Rows per shard: as asked, or fewer where the activations would not fit in memory."""
    return max(min(cfg.shard_tokens, BUFFER_BYTES // (4 * sum(widths.values()))), cfg.context_tokens)


def width_at(lm: LanguageModel, point: HookPoint, tokens: Tokens) -> int:
    """Width of a hook point's activations, seen on two tokens."""
    ids = torch.from_numpy(tokens.token_id[:2].astype(np.int64))[None]
    return flattened(passage.record(lm, [point], ids, torch.ones_like(ids))[point]).shape[-1]


def flattened(value: Tensor) -> Tensor:
    """Heads side by side: the store has one row per token."""
    return einops.rearrange(value, "batch position ... -> batch position (...)") if value.dim() > 3 else value


def check_disk(folder: Path, n_tokens: int, widths: dict[str, int], itemsize: int) -> None:
    """Refuses to begin what will not fit."""
    needed = n_tokens * (sum(widths.values()) * itemsize + 4 * len(widths) + INDEX_BYTES)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"The activations need about {needed / 1e9:.1f} GB, but the disk of {folder} has {free / 1e9:.1f} GB free. "
            "Free some space, or lower corpus.max_documents or the number of hook points."
        )


def activations(
    part: Part, lm: LanguageModel, points: tuple[HookPoint, ...], cfg: CaptureConfig, progress: Progress
) -> dict[str, Tensor]:
    """Activations of a shard's documents, [n_tokens, width] per hook point."""
    found: dict[str, Tensor] = {}
    pad = lm.tokenizer.pad_token_id or 0
    for batch in windows.batches(part.tokens, cfg.context_tokens, cfg.batch_tokens, pad):
        values = passage.record(lm, points, batch.input_ids, batch.attention_mask)
        for point, value in values.items():
            rows = flattened(value).cpu()
            rows = rows if rows.dtype == torch.bfloat16 else rows.float()
            target = found.setdefault(str(point), torch.empty(part.n_tokens, rows.shape[-1], dtype=rows.dtype))
            for window, place in enumerate(batch.rows):
                target[place] = rows[window, : place.stop - place.start]
        progress(int(batch.attention_mask.sum()))
    return found


def index_columns(tokens: list[Tokens]) -> dict[str, np.ndarray]:
    """What stands beside the activations in a shard."""
    lengths = [len(doc.token_id) for doc in tokens]
    return {
        "token_id": np.concatenate([doc.token_id for doc in tokens]),
        "document": np.repeat(np.asarray([doc.document for doc in tokens], np.int32), lengths),
        "position": np.concatenate([np.arange(n, dtype=np.int32) for n in lengths]),
        "char_start": np.concatenate([doc.char_start for doc in tokens]),
        "char_end": np.concatenate([doc.char_end for doc in tokens]),
        "is_special": np.concatenate([doc.is_special for doc in tokens]).astype(np.uint8),
    }
