"""A second opinion on stored activations: TransformerLens' TransformerBridge at the same hook points.

When you want to know that a store means what TransformerLens means by a hook point, on raw weights.
"""

import logging

import torch
from tqdm import tqdm

from hooks.backend import UNLIKE, open_bridge
from hooks.config import CaptureConfig
from hooks.hook_points import parse
from hooks.model import LanguageModel
from hooks.shard import ShardReader
from hooks.store import Store
from hooks.windows import documents_of, frame_of, windows
from sae.errors import UserError

log = logging.getLogger("clinlens")
N_SHARDS, N_WINDOWS = 6, 4
"""What is compared: windows of shards, the shards spread over both splits."""


def transformer_lens_difference(store: Store, lm: LanguageModel) -> dict[str, float | None]:
    """The largest difference of stored rows from TransformerBridge's values, relative to the largest value.

    Args:
        store: A finished store.
        lm: The model it was made from.

    Returns:
        By hook point; none where the bridge has no such point or means another value by it, and everywhere for
        models that it does not know, for quantised ones, whose whole weights it would open, and for vision towers.
    """
    found: dict[str, float | None] = dict.fromkeys(store.hook_points)
    if lm.is_quantized or lm.kind == "vision":
        return found
    try:
        bridge = open_bridge(lm)
    except UserError as error:  # BioGPT and ModernBERT, for two
        log.warning("%s", error)
        return found
    frame = frame_of(lm, CaptureConfig(**store.origin["capture"]))
    chosen = [(shard, window) for shard in spread(store) for window in windows(documents_of(shard), frame)[:N_WINDOWS]]
    for shard, window in tqdm(chosen, desc="verify", unit="window", disable=None):
        is_row = torch.ones(len(window.token_id), dtype=torch.bool)
        is_row[window.context] = False
        with torch.inference_mode():
            _, cache = bridge.run_with_cache(torch.from_numpy(window.token_id).long()[None].to(lm.device))
        for name in store.hook_points:
            if parse(name).kind in UNLIKE.get(lm.kind, ()) or name not in cache:
                continue
            theirs = cache[name].float().cpu().flatten(2)[0][is_row]
            ours = shard.acts(name, window.rows.start, window.rows.stop)
            difference = float((ours - theirs).abs().max() / theirs.abs().max())
            found[name] = max(difference, found[name] or 0.0)
    return found


def spread(store: Store) -> list[ShardReader]:
    """A few shards of each split, evenly spaced, first and last among them."""
    found: list[ShardReader] = []
    for split in ("train", "held_out"):
        shards = store.shards(split)
        n = min(len(shards), N_SHARDS // 2)
        found += [shards[round(i * (len(shards) - 1) / max(n - 1, 1))] for i in range(n)]
    return found
