"""Which function a model's attention layers call, exchanged while a pass runs and put back after.

Models of transformers 5 look their attention up by name in their config. So nothing of them is edited: another name is
written there, and the old one afterwards.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

OURS = "clinlens"


class Attention(NamedTuple):
    """What one call of an attention layer is made of, one key and value per query head."""

    query: Tensor
    """[batch, head, n, d_head]"""
    key: Tensor
    value: Tensor
    mask: Tensor | None
    """Added to the scores; very negative where nothing is seen."""
    scaling: float
    softcap: float | None
    """Bound of the scores, where a model has one."""


class Seen(NamedTuple):
    """Attention of one layer on one text."""

    weights: Float[Tensor, "head n n"]
    values: Float[Tensor, "head n d_head"]
    """One per query head, shared ones repeated."""

    @classmethod
    def of(cls, call: Attention, weights: Tensor) -> "Seen":
        """What a call saw of its first row."""
        return cls(weights[0].detach(), call.value[0].detach())


Attend = Callable[[nn.Module, Attention], tuple[Tensor, Tensor]]
"""From a call to its values [batch, head, n, d_head] and weights [batch, head, n, n]."""
_ATTEND: ContextVar[Attend] = ContextVar("attend")


def _dispatch(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor]:
    """What attention layers call: it hands on to the function of the pass under way."""
    groups = query.shape[1] // key.shape[1]
    scaling = options.get("scaling")
    call = Attention(
        query, key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1), attention_mask,
        query.shape[-1] ** -0.5 if scaling is None else scaling, options.get("softcap"),
    )  # fmt: skip
    values, weights = _ATTEND.get()(module, call)
    return values.transpose(1, 2).contiguous(), weights


@contextmanager
def attending(model: nn.Module, attend: Attend) -> Iterator[None]:
    """While open, every attention layer of the model calls `attend`."""
    AttentionInterface.register(OURS, _dispatch)
    AttentionMaskInterface.register(OURS, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    token = _ATTEND.set(attend)
    try:
        with implementation(model, OURS):
            yield
    finally:
        _ATTEND.reset(token)


@contextmanager
def implementation(model: nn.Module, name: str) -> Iterator[None]:
    """While open, the model's attention is the named implementation."""
    configs: dict[int, Any] = {id(one.config): one.config for one in model.modules() if hasattr(one, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = name
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]


def scores_of(call: Attention) -> Tensor:
    """Attention scores before the softmax, mask included."""
    scores = call.query @ call.key.transpose(2, 3) * call.scaling
    if call.softcap is not None:
        scores = torch.tanh(scores / call.softcap) * call.softcap
    return scores if call.mask is None else scores + call.mask


def plain(_module: nn.Module, call: Attention) -> tuple[Tensor, Tensor]:
    """Attention as it is, written out so that it can be differentiated twice."""
    weights = scores_of(call).softmax(-1, dtype=torch.float32).to(call.query.dtype)
    return weights @ call.value, weights
