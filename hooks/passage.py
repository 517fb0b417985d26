"""Listening to a forward pass, and changing it: plain forward hooks on the model's own modules.

When you want the values at some hook points, `record` them: the pass stops as soon as the last one is there, so no
more of the model runs than they need. When you want to know what the model would say if a value were another,
`edit` it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import einops
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hooks.architecture import place_of
from hooks.hook_points import HookPoint
from hooks.model import LanguageModel

Edit = Callable[[Tensor], Tensor]
"""From the value at a hook point, [batch, position, width], to the one to go on with."""


class _Heard(Exception):  # noqa: N818 - not an error: it ends a pass whose last asked-for value has come
    """All hook points have spoken."""


def record(
    lm: LanguageModel,
    points: Iterable[HookPoint],
    input_ids: Int[Tensor, "batch position"],
    attention_mask: Int[Tensor, "batch position"],
) -> dict[HookPoint, Tensor]:
    """The values at hook points for right-padded inputs.

    Args:
        lm: The model.
        points: Where to listen.
        input_ids: Token ids, on any device.
        attention_mask: 1 for tokens, 0 for padding.

    Returns:
        For each hook point [batch, position, width]; `attn.hook_z` is [batch, position, head, d_head].
    """
    inputs = {"input_ids": input_ids.to(lm.device), "attention_mask": attention_mask.to(lm.device)}
    return heard(lm, points, inputs | no_cache(lm))


def look(
    lm: LanguageModel, points: Iterable[HookPoint], pixel_values: Float[Tensor, "batch channel height width"]
) -> dict[HookPoint, Tensor]:
    """As `record`, for a vision tower: positions are CLS, where the tower has it, and the patches line by line."""
    return heard(lm, points, {"pixel_values": pixel_values.to(lm.device, lm.dtype)})


def heard(lm: LanguageModel, points: Iterable[HookPoint], inputs: dict[str, Any]) -> dict[HookPoint, Tensor]:
    """The values at hook points in one pass, which ends with the last of them."""
    wanted = list(points)
    values: dict[HookPoint, Tensor] = {}

    def listener(point: HookPoint) -> Edit:
        def listen(value: Tensor) -> Tensor:
            values[point] = value.detach()
            if len(values) == len(wanted):
                raise _Heard
            return value

        return listen

    with edited(lm, {point: listener(point) for point in wanted}), torch.inference_mode(), suppress(_Heard):
        lm.base(**inputs)
    return {point: split_heads(values[point], point, lm) for point in wanted}


def no_cache(lm: LanguageModel) -> dict[str, bool]:
    """A single pass needs no key-value cache; encoders have none."""
    return {"use_cache": False} if lm.kind == "decoder" else {}


def split_heads(value: Tensor, point: HookPoint, lm: LanguageModel) -> Tensor:
    """`attn.hook_z` has an axis for the heads in TransformerLens; the module sees them side by side."""
    if point.kind != "attn.hook_z":
        return value
    return einops.rearrange(value, "batch position (head d_head) -> batch position head d_head", head=lm.n_heads)


@torch.inference_mode()
def logits(
    lm: LanguageModel,
    input_ids: Int[Tensor, "batch position"],
    attention_mask: Int[Tensor, "batch position"],
    edits: dict[HookPoint, Edit] | None = None,
) -> Float[Tensor, "batch position vocabulary"]:
    """Next-token logits of a decoder, with the values at some hook points replaced."""
    with edited(lm, edits or {}):
        return lm.model(
            input_ids=input_ids.to(lm.device), attention_mask=attention_mask.to(lm.device), use_cache=False
        ).logits


@contextmanager
def edited(lm: LanguageModel, edits: dict[HookPoint, Edit]) -> Iterator[None]:
    """While open, every pass goes on with what `edits` make of the values at their hook points."""
    handles: list[RemovableHandle] = []
    try:
        for point, edit in edits.items():
            module, side = place_of(point, lm.family, lm.base)
            handles.append(edit_input(module, edit) if side == "input" else edit_output(module, edit))
        yield
    finally:
        for handle in handles:
            handle.remove()


def edit_input(module: nn.Module, edit: Edit) -> RemovableHandle:
    """Changes a module's first argument, given by position or as `hidden_states`."""

    def hook(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (edit(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": edit(kwargs["hidden_states"])}

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def edit_output(module: nn.Module, edit: Edit) -> RemovableHandle:
    """Changes a module's output, or the first of several."""

    def hook(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (edit(output[0]), *output[1:])
        return edit(output)

    return module.register_forward_hook(hook)
