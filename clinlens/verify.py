"""Checking a finished activation store: bytes against checksums, values against TransformerLens."""

from typing import Any

import numpy as np

from clinlens.pipeline import Run
from hooks.crosscheck import transformer_lens_difference
from hooks.model import load
from hooks.store import Store
from sae.errors import UserError


def verify_store(run: Run) -> dict[str, Any]:
    """Verifies the store of a run.

    Raises:
        UserError: A shard is damaged.
    """
    store = Store.open(run.folder / "acts")
    damaged = store.verify()
    if damaged:
        raise UserError(
            f"{len(damaged)} of {len(store.manifest['shards'])} shards are damaged ({', '.join(damaged)}), expected the bytes "
            "that were written. Run `clinlens capture` again: only they are made anew."
        )
    differences = transformer_lens_difference(store, load(run.model))
    known = [value for value in differences.values() if value is not None]
    return {
        "store": str(store.folder),
        "shards": len(store.manifest["shards"]),
        "damaged": damaged,
        "transformer_lens_difference": differences,
        "largest_difference": float(np.max(known)) if known else None,
    }
