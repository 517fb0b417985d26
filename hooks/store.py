"""The activation store: shards beside a manifest that is written last.

Each shard has a small JSON entry that is written after it; `manifest.json` gathers the entries when all are there.
A store without a manifest is an unfinished capture, and capturing again goes on with the first missing shard.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hooks import shard
from hooks.corpus import Split
from hooks.shard import ShardReader
from sae import artefact
from sae.errors import UserError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Store:
    """A complete activation store, open for reading."""

    folder: Path
    manifest: dict[str, Any]
    _readers: dict[str, ShardReader] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Opens a store.

        Raises:
            UserError: There is none, it is unfinished or of another format, or a shard is missing.
        """
        if not (folder / MANIFEST).is_file():
            raise UserError(
                f"{folder} holds no finished activation store. Run `clinlens capture` with the run's config first."
            )
        manifest = artefact.read_json(folder / MANIFEST)
        version = manifest["origin"].get("format_version")
        if version != shard.FORMAT_VERSION:
            raise UserError(
                f"{folder} is an activation store of format {version}, expected {shard.FORMAT_VERSION}. "
                "Run `clinlens capture` into another folder, and train there."
            )
        found = cls(folder, manifest)
        bad = found.incomplete()
        if bad:
            raise UserError(
                f"{folder} lacks {len(bad)} of {len(manifest['shards'])} shards or parts of them (the first is {bad[0]}). "
                "Run `clinlens capture` again; only they are made anew."
            )
        return found

    def incomplete(self) -> list[str]:
        """Names of shards that are missing or have not the size they were written with."""
        sizes = {entry["file"]: entry["n_bytes"] for entry in self.manifest["shards"]}
        there = {path.name: path.stat().st_size for path in self.folder.glob("shard-*.h5")}
        return [file for file, n_bytes in sizes.items() if there.get(file) != n_bytes]

    @property
    def id(self) -> str:
        """Name of the content: a hash of model, corpus and settings."""
        return self.manifest["store_id"]

    @property
    def origin(self) -> dict[str, Any]:
        """Model, corpus and settings it was made from."""
        return self.manifest["origin"]

    @cached_property
    def hook_points(self) -> dict[str, int]:
        """Name of each hook point and the width of its activations."""
        return dict(self.manifest["hook_points"])

    @property
    def context_tokens(self) -> int:
        """Rows of a document's first window; later ones have fewer by the overlap."""
        return self.origin["capture"]["context_tokens"]

    def n_tokens(self, split: Split) -> int:
        """Rows of a split, special tokens included."""
        return sum(entry["n_tokens"] for entry in self.manifest["shards"] if entry["split"] == split)

    def shards(self, split: Split) -> list[ShardReader]:
        """Readers of a split's shards, in order; opened once."""
        return [self._reader(entry["file"]) for entry in self.manifest["shards"] if entry["split"] == split]

    def _reader(self, file: str) -> ShardReader:
        if file not in self._readers:
            self._readers[file] = ShardReader(self.folder / file)
        return self._readers[file]

    def verify(self) -> list[str]:
        """Names of the shards whose bytes are no longer those that were written."""
        gone = self.incomplete()
        return [
            entry["file"]
            for entry in self.manifest["shards"]
            if entry["file"] in gone or artefact.file_hash(self.folder / entry["file"]) != entry["hash"]
        ]

    @cached_property
    def _places(self) -> dict[int, tuple[str, int, int]]:
        """Document → its shard, first row and number of rows."""
        found: dict[int, tuple[str, int, int]] = {}
        for entry in self.manifest["shards"]:
            reader = self._reader(entry["file"])
            for start, stop in pairwise(reader.document_bounds):
                found[int(reader.index["document"][start])] = entry["file"], start, stop - start
        return found

    def document(self, hook_point: str, document: int) -> Float[Tensor, "rows width"]:
        """All rows of a document, by its row number in the corpus.

        Raises:
            UserError: The store has no such document.
        """
        file, start, n_rows = self._place(document)
        return self._reader(file).acts(hook_point, start, start + n_rows)

    def rows(
        self, hook_point: str, documents: Int[np.ndarray, "n"], positions: Int[np.ndarray, "n"]
    ) -> Float[Tensor, "n width"]:
        """Single rows, wherever they lie, in the order asked for.

        Args:
            hook_point: Where.
            documents: Row numbers in the corpus.
            positions: Rows within the documents, from 0.

        Raises:
            UserError: The store has no such document, or the document no such position.
        """
        found = torch.empty(len(documents), self.hook_points[hook_point])
        wanted: dict[str, list[tuple[int, int]]] = {}
        for index, (document, position) in enumerate(zip(documents.tolist(), positions.tolist(), strict=True)):
            file, start, n_rows = self._place(document)
            if not 0 <= position < n_rows:
                raise UserError(
                    f"Document {document} has positions 0 to {n_rows - 1}, but {position} was asked for. Correct it."
                )
            wanted.setdefault(file, []).append((start + position, index))
        for file, places in wanted.items():
            for start, stop, indices in runs(sorted(places)):
                found[indices] = self._reader(file).acts(hook_point, start, stop)
        return found

    def _place(self, document: int) -> tuple[str, int, int]:
        if document not in self._places:
            raise UserError(f"{self.folder} has no document {document}. Ask for one that was captured.")
        return self._places[document]

    def statistics(self, hook_point: str, split: Split) -> shard.Sums:
        """Sums over the words of a split that were gathered while capturing, for normalisation."""
        sums = [reader.sums(hook_point) for reader in self.shards(split)]
        return shard.Sums(
            sum(one.n for one in sums), sum((one.sum for one in sums[1:]), sums[0].sum),
            sum(one.sum_norms for one in sums), sum(one.sum_squares for one in sums),
        )  # fmt: skip


def runs(places: list[tuple[int, int]]) -> Iterator[tuple[int, int, list[int]]]:
    """Neighbouring rows together: first row, end, and where each goes."""
    first = 0
    for last in range(1, len(places) + 1):
        if last == len(places) or places[last][0] != places[last - 1][0] + 1:
            yield places[first][0], places[last - 1][0] + 1, [index for _, index in places[first:last]]
            first = last


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.h5"


def entry_path(folder: Path, index: int) -> Path:
    """The small file that says that a shard is whole."""
    return folder / f"shard-{index:05d}.json"


def intact_entry(folder: Path, index: int, store_id: str) -> dict[str, Any] | None:
    """A shard's entry, if the shard is there and its bytes are those that were written.

    Raises:
        UserError: The shard belongs to another model, corpus or other settings.
    """
    path = entry_path(folder, index)
    if not path.is_file():
        return None
    entry = artefact.read_json(path)
    refuse_other_store(folder, entry["store_id"], store_id)
    file = folder / entry["file"]
    is_there = file.is_file() and file.stat().st_size == entry["n_bytes"]
    return entry if is_there and artefact.file_hash(file) == entry["hash"] else None


def refuse_other_store(folder: Path, found: str, wanted: str) -> None:
    """Stops before two captures mix in one folder."""
    if found != wanted:
        raise UserError(
            f"{folder} holds the activations of another model, corpus or capture setting (store {found}, expected {wanted}). "
            "Give this run another `folder`, or delete that one."
        )
