"""Modules that compute otherwise while a context is open."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers.activations import FastGELUActivation, NewGELUActivation

from hooks.model import LanguageModel


@contextmanager
def forward_replaced(module: nn.Module, apply: Any, about: Any) -> Iterator[None]:
    """While open, a module's forward is `apply(input, original forward, about)`; another such context may be open around it."""
    original, is_first = module.forward, "forward" not in vars(module)
    module.forward = lambda x: apply(x, original, about)  # type: ignore[method-assign]
    try:
        yield
    finally:
        if is_first:
            del module.forward  # the class's own shows again
        else:
            module.forward = original  # type: ignore[method-assign]


@contextmanager
def fused_activations(lm: LanguageModel) -> Iterator[None]:
    """While open, GPT-2's activation is one operation: the same to rounding, and it keeps its input alone for the backward pass.

    Written out, as the model has it, it keeps more than all other parts of a layer together.
    """
    with ExitStack() as stack:
        for module in lm.model.modules():
            if isinstance(module, NewGELUActivation | FastGELUActivation):
                stack.enter_context(forward_replaced(module, as_one, None))
        yield


def as_one(x: Tensor, _original: Any, _about: None) -> Tensor:
    """The tanh form of GELU."""
    return gelu(x, approximate="tanh")
