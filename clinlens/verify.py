"""Checking a finished activation store: bytes against checksums, values against TransformerLens."""

from typing import Any

from clinlens.pipeline import Run
from hooks.crosscheck import transformer_lens_difference
from hooks.model import load
from hooks.store import Store, refuse_other_store
from sae.errors import UserError

TOLERANCES = {"float32": 5e-5, "float16": 3e-3, "bfloat16": 2e-2}
"""Largest difference from TransformerLens' values, relative to the largest value at the point: several times what
rounding to the stored format and another order of summation make."""


def verify_store(run: Run) -> dict[str, Any]:
    """Verifies the store of a run.

    Raises:
        UserError: A shard is damaged, the store was made from something else, or its values are not the model's.
    """
    store = Store.open(run.folder / "acts")
    damaged = store.verify()
    if damaged:
        raise UserError(
            f"{len(damaged)} of {len(store.manifest['shards'])} shards are damaged ({', '.join(damaged)}), expected the bytes "
            "that were written. Run `clinlens capture` again: only they are made anew."
        )
    refuse_other_store(store.folder, store.id, run.store_id)
    differences = transformer_lens_difference(store, load(run.model))
    wrong = {
        point: value for point, value in differences.items() if value is not None and value > tolerance(store, point)
    }
    if wrong:
        point, value = max(wrong.items(), key=lambda item: item[1])
        raise UserError(
            f"{len(wrong)} of {len(differences)} hook points hold other values than TransformerLens gives (at {point} by "
            f"{value:.2g} of the largest), expected at most {tolerance(store, point):.0e}. Capture again into another folder, "
            "and report it if that is no better."
        )
    known = [value for value in differences.values() if value is not None]
    return {
        "store": str(store.folder),
        "shards": len(store.manifest["shards"]),
        "damaged": damaged,
        "transformer_lens_difference": differences,
        "largest_difference": max(known) if known else None,
        "compared": f"{len(known)} of {len(differences)} hook points with TransformerLens",
    }


def tolerance(store: Store, point: str) -> float:
    """What may differ at a hook point, by the coarsest format its shards are stored in."""
    return max(TOLERANCES[entry["dtypes"][point]] for entry in store.manifest["shards"])
