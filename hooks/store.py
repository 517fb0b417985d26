"""The activation store: shards beside a manifest that is written last.

Each shard has a small JSON entry that is written after it; `manifest.json` gathers the entries when all are there.
A store without a manifest is an unfinished capture, and capturing again goes on with the first missing shard.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

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
            UserError: There is none, it is unfinished, or a shard is missing.
        """
        if not (folder / MANIFEST).is_file():
            raise UserError(
                f"{folder} holds no finished activation store. Run `clinlens capture` with the run's config first."
            )
        manifest = artefact.read_json(folder / MANIFEST)
        missing = [entry["file"] for entry in manifest["shards"] if not (folder / entry["file"]).is_file()]
        if missing:
            raise UserError(
                f"{folder} lacks {len(missing)} of {len(manifest['shards'])} shards (the first is {missing[0]}). "
                f"Delete {MANIFEST} there and capture again; only the missing ones are made."
            )
        return cls(folder, manifest)

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
        """Rows per window of a document."""
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
        return [
            entry["file"]
            for entry in self.manifest["shards"]
            if artefact.file_hash(self.folder / entry["file"]) != entry["hash"]
        ]


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
    shard = folder / entry["file"]
    return entry if shard.is_file() and artefact.file_hash(shard) == entry["hash"] else None


def refuse_other_store(folder: Path, found: str, wanted: str) -> None:
    """Stops before two captures mix in one folder."""
    if found != wanted:
        raise UserError(
            f"{folder} holds the activations of another model, corpus or capture setting (store {found}, expected {wanted}). "
            "Give this run another `folder`, or delete that one."
        )
