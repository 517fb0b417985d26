"""A second opinion on stored activations: TransformerLens' TransformerBridge at the same hook points.

When you want to know that a store means what TransformerLens means by a hook point, on raw weights.
"""

import warnings
from typing import Any

import numpy as np
import torch

from hooks.model import LanguageModel
from hooks.shard import ShardReader
from hooks.store import Store
from sae.errors import UserError

N_WINDOWS = 4
UNLIKE = {"encoder": ("hook_embed", "hook_resid_mid", "hook_attn_out")}
"""Kinds whose name means another value in the bridge; see hooks.architecture."""


def transformer_lens_difference(store: Store, lm: LanguageModel) -> dict[str, float | None]:
    """The largest difference of stored rows from TransformerBridge's values, relative to the largest value.

    Args:
        store: A finished store.
        lm: The model it was made from.

    Returns:
        By hook point; none where the bridge has no such point or means another value by it.

    Raises:
        UserError: TransformerLens cannot open the model.
    """
    bridge = open_bridge(lm)
    shard = store.shards("held_out")[0]
    found: dict[str, float | None] = dict.fromkeys(store.hook_points)
    for start, stop in first_windows(shard, store.context_tokens):
        ids = torch.from_numpy(shard.index["token_id"][start:stop].astype(np.int64))[None]
        with torch.inference_mode():
            _, cache = bridge.run_with_cache(ids)
        for name in store.hook_points:
            if name.endswith(UNLIKE.get(lm.kind, ("-",))) or name not in cache:
                continue
            theirs = cache[name].float().reshape(stop - start, -1)
            ours = shard.acts(name, start, stop)
            difference = float((ours - theirs).abs().max() / theirs.abs().max())
            found[name] = max(difference, found[name] or 0.0)
    return found


def open_bridge(lm: LanguageModel) -> Any:
    """TransformerLens on the same files, weights as they are."""
    from transformer_lens.model_bridge import TransformerBridge  # slow to import

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return TransformerBridge.boot_transformers(str(lm.folder), device="cpu", dtype=lm.dtype)
    except Exception as error:  # the bridge raises what its adapters meet
        raise UserError(
            f"TransformerLens cannot open {lm.name!r} ({type(error).__name__}), expected a model that it supports. "
            "Checksums alone can be verified for this one."
        ) from error


def first_windows(shard: ShardReader, context_tokens: int) -> list[tuple[int, int]]:
    """Row ranges of the first windows of a shard."""
    starts = np.flatnonzero(shard.index["position"] % context_tokens == 0)
    ends = [*starts[1:].tolist(), shard.n_tokens]
    return list(zip(starts.tolist(), ends, strict=True))[:N_WINDOWS]
