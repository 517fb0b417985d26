"""Two ways to get the values at hook points from the same weights: plain forward hooks, and TransformerBridge.

Plain hooks are the main one: every kind of model, no layer run in vain. TransformerLens' TransformerBridge is the
second, for those who want their activations from the library that gave the points their names; the two agree within
5e-6 (tests), and `clinlens capture --verify` lays one beside the other.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hooks import passage
from hooks.config import CaptureConfig
from hooks.hook_points import EMBED, HookPoint
from hooks.model import LanguageModel
from sae.errors import UserError

Backend = Callable[..., dict[HookPoint, Tensor]]
"""From hook points and a batch's inputs (input ids and attention mask, or pixel values) to [batch, position, width], or
[batch, position, head, d_head]."""
UNLIKE = {"encoder": (EMBED, "hook_resid_mid", "hook_attn_out")}
"""Kinds whose name means another value in the bridge; see hooks.architecture."""


def open_backend(lm: LanguageModel, cfg: CaptureConfig) -> Backend:
    """The backend that a config asks for, ready for right-padded batches.

    Raises:
        UserError: TransformerLens cannot open the model.
    """
    if cfg.backend == "hooks":
        return partial(passage.record if lm.processor is None else passage.look, lm)
    return partial(record_by_bridge, lm, open_bridge(lm))


def open_bridge(lm: LanguageModel) -> Any:
    """TransformerLens on the same files, weights as they are.

    Raises:
        UserError: It cannot open the model, or would open another: it reads the files, whose weights are not quantised.
    """
    if lm.kind == "vision":
        raise UserError(
            f"capture.backend is 'bridge', but TransformerLens' bridge reads text and {lm.name!r} reads images. "
            "Use capture.backend=hooks."
        )
    if lm.is_quantized:
        raise UserError(
            f"capture.backend is 'bridge', but TransformerLens opens the whole weights of {lm.name!r}, not the quantised ones. "
            "Use capture.backend=hooks, or set model.quantization=none."
        )
    from transformer_lens.model_bridge import TransformerBridge  # slow to import

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return TransformerBridge.boot_transformers(str(lm.folder), device=str(lm.device), dtype=lm.dtype)
    except Exception as error:  # the bridge raises what its adapters meet
        raise UserError(
            f"TransformerLens cannot open {lm.name!r} ({type(error).__name__}), expected a model that it supports. "
            "Use capture.backend=hooks; checksums alone can be verified for this model."
        ) from error


def record_by_bridge(
    lm: LanguageModel, bridge: Any, points: tuple[HookPoint, ...], input_ids: Tensor, attention_mask: Tensor
) -> dict[HookPoint, Tensor]:
    """The values at hook points, from the bridge's cache.

    Raises:
        UserError: The bridge has no such point, or means another value by its name.
    """
    names = [str(point) for point in points]
    last = max((point.layer for point in points if point.layer is not None), default=0)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, cache = bridge.run_with_cache(
            input_ids.to(lm.device), attention_mask=attention_mask.to(lm.device), names_filter=names,
            stop_at_layer=last + 1,
        )  # fmt: skip
    unknown = [str(point) for point in points if point.kind in UNLIKE.get(lm.kind, ()) or str(point) not in cache]
    if unknown:
        raise UserError(
            f"TransformerLens has no {unknown[0]} for {lm.name!r} that means what it means here, expected another point. "
            "Use capture.backend=hooks, or leave it out of capture.hook_points."
        )
    return {point: cache[str(point)] for point in points}
