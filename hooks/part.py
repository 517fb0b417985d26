"""The work of a capture: parts of the corpus, each one shard of the store.

A shard is a pure function of its documents and the settings: its windows are sorted by length, run in batches, and
the rows put back in the documents' order; images come in their order. Several parts make a task, in which one shard
is written while the model is at the next.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import einops
import numpy as np
import torch
from torch import Tensor

from hooks import patches, shard, store, windows
from hooks.backend import Backend, open_backend
from hooks.config import CaptureConfig, ModelConfig
from hooks.corpus import Split
from hooks.hook_points import HookPoint
from hooks.model import LanguageModel, load
from hooks.windows import Tokens
from sae import artefact

Progress = Callable[[int], None]
"""Told how many tokens were done since the last call."""


class Part(NamedTuple):
    """The documents of one shard."""

    number: int
    split: Split
    tokens: list[Tokens]

    @property
    def n_tokens(self) -> int:
        return sum(len(doc.token_id) for doc in self.tokens)


def plan(tokens: list[Tokens], sides: dict[int, Split], most_tokens: int) -> list[Part]:
    """Consecutive documents of one side, in shards of at most `most_tokens` rows where documents allow."""
    parts: list[Part] = []
    for side in ("train", "held_out"):
        room = 0
        for doc in tokens:
            if sides[doc.document] != side:
                continue
            if not parts or parts[-1].split != side or len(doc.token_id) > room:
                parts.append(Part(len(parts), side, []))
                room = most_tokens
            parts[-1].tokens.append(doc)
            room -= len(doc.token_id)
    return parts


@dataclass(frozen=True)
class CaptureParts:
    """Makes some shards, one after another; can be sent to another process."""

    model: ModelConfig
    capture: CaptureConfig
    points: tuple[HookPoint, ...]
    parts: tuple[Part, ...]
    folder: Path
    store_id: str

    @property
    def name(self) -> str:
        first, last = self.parts[0].number, self.parts[-1].number
        return f"shard {first}" if first == last else f"shards {first} to {last}"

    @property
    def id(self) -> str:
        return f"capture-{self.parts[0].number:05d}-{self.parts[-1].number:05d}-{self.store_id}"

    def run(self, done: Progress) -> None:
        """Runs the model over each shard's documents and writes the shard, then its entry; skips whole shards.

        Raises:
            UserError: The disk is full, or an activation does not fit the number format.
        """
        lm = load(self.model)
        backend = open_backend(lm, self.capture)
        writing: Future[None] | None = None
        with ThreadPoolExecutor(1, "shard-writer") as writer:
            for part in self.parts:
                if store.intact_entry(self.folder, part.number, self.store_id) is not None:
                    done(part.n_tokens)
                    continue
                acts = activations(part, lm, backend, self.points, self.capture, done)
                if writing is not None:
                    writing.result()  # at most two shards are in memory
                writing = writer.submit(self.write, part, acts, lm.fingerprint)
            if writing is not None:
                writing.result()

    def write(self, part: Part, acts: dict[str, Tensor], fingerprint: dict[str, str]) -> None:
        """Writes one shard and then its entry."""
        words = torch.from_numpy(~np.concatenate([doc.is_special for doc in part.tokens]))
        stored = {point: shard.encode(acts.pop(point), self.capture.dtype, point, words) for point in list(acts)}
        path = self.folder / store.shard_name(part.number)
        attributes = {"store_id": self.store_id, "split": part.split, "capture": self.capture.model_dump_json()}
        digest = shard.write(path, index_columns(part.tokens), stored, attributes | fingerprint)
        artefact.write_json(store.entry_path(self.folder, part.number), self.entry(part, path, stored, digest))

    def entry(self, part: Part, path: Path, stored: dict[str, shard.Stored], digest: str) -> dict[str, Any]:
        """What the manifest says of a shard."""
        return {
            "file": path.name,
            "split": part.split,
            "n_tokens": part.n_tokens,
            "documents": [part.tokens[0].document, part.tokens[-1].document],
            "n_documents": len(part.tokens),
            "dtypes": {point: values.dtype for point, values in stored.items()},
            "n_bytes": path.stat().st_size,
            "hash": digest,
            "store_id": self.store_id,
        }


def activations(
    part: Part,
    lm: LanguageModel,
    backend: Backend,
    points: tuple[HookPoint, ...],
    cfg: CaptureConfig,
    progress: Progress,
) -> dict[str, Tensor]:
    """Activations of a shard's documents, [n_tokens, width] per hook point."""
    found: dict[str, Tensor] = {}
    for batch in batches(part, lm, cfg):
        values = backend(points, *batch.inputs)
        places = torch.cat([torch.arange(rows.start, rows.stop) for rows in batch.rows])
        for point, value in values.items():
            rows = flattened(value).cpu()[batch.is_row]
            rows = rows if rows.dtype == torch.bfloat16 else rows.float()
            target = found.setdefault(str(point), torch.empty(part.n_tokens, rows.shape[-1], dtype=rows.dtype))
            target[places] = rows
        progress(len(places))
    return found


def batches(
    part: Part, lm: LanguageModel, cfg: CaptureConfig
) -> Iterator[windows.Batch] | Iterator[patches.PixelBatch]:
    """What the model is given of a shard's documents."""
    if lm.processor is not None:
        return patches.batches(part.tokens, lm.processor, cfg.batch_tokens)
    return windows.batches(part.tokens, windows.frame_of(lm, cfg), cfg.batch_tokens, lm.tokenizer.pad_token_id or 0)


def flattened(value: Tensor) -> Tensor:
    """Heads side by side: the store has one row per token."""
    return einops.rearrange(value, "batch position ... -> batch position (...)") if value.dim() > 3 else value


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
