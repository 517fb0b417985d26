"""Another backward pass: the rules of AttnLRP and GIM, laid over a model while a context is open.

In its implicit form, relevance is embedding × gradient, where the backward pass of four kinds of parts is changed. The
forward pass stays what it is, but for the order in which attention and GPT-2's activation are summed.

| part | rule |
|---|---|
| norm | its statistics are constants: only the linear part is differentiated |
| activation, a classifier's head's too | x · [σ(x)/x], the bracket a constant (AttnLRP) |
| gate | the product of two branches: each gets half |
| attention | its two products give half to either side: queries and keys a quarter, values half |
| softmax | its gradient; GIM takes its Jacobian at a temperature |

Source: Achtibat et al. 2024, "AttnLRP" (arXiv:2402.05602), section 3 and its efficient implicit form; Edin et al. 2025,
"GIM" (arXiv:2505.17630), section 4: there activations keep their gradient.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from analysis.attribution.attention_function import Attention, Seen, attending, scores_of
from analysis.attribution.parts import Calls, Counts, NormShape, parts_of
from analysis.attribution.replaced import forward_replaced, fused_activations
from hooks.model import LanguageModel

NEAR_ZERO = 1e-6


class Rules(NamedTuple):
    """Which rules apply."""

    is_activation_constant: bool = True
    """Whether σ(x)/x is a constant; else activations keep their gradient."""
    temperature: float = 1.0
    """Where the softmax's Jacobian is taken."""


@dataclass
class Ledger:
    """What a backward pass under the rules has to say."""

    counts: Counts
    absorbed: float = 0.0
    """Relevance that the softmaxes kept so far: their gradient does not hand on all of it."""
    watched: list[Seen] | None = None
    """What each attention layer saw of the first row on the way forward, where somebody wants to know."""


@contextmanager
def changed_backward(lm: LanguageModel, rules: Rules, watched: list[Seen] | None = None) -> Iterator[Ledger]:
    """While open, every backward pass follows the rules.

    Args:
        lm: The model.
        rules: The rules.
        watched: Where to note what each attention layer sees of the first row, if anywhere.

    Raises:
        UserError: Not every norm, activation, gate and attention of the model was found.
    """
    parts = parts_of(lm)
    ledger = Ledger(parts.counts, watched=watched)
    with fused_activations(lm), ExitStack() as stack:
        for norm, shape in parts.norms.items():
            stack.enter_context(forward_replaced(norm, FrozenNorm.apply, shape))
        for activation in parts.activations if rules.is_activation_constant else ():
            stack.enter_context(forward_replaced(activation, ConstantRatio.apply, activation))
        for head in parts.heads if rules.is_activation_constant else ():
            stack.enter_context(forward_replaced(head, with_constant_ratios, None))
        for gate in parts.gates:
            stack.callback(gate.register_forward_pre_hook(halve_first).remove)
        stack.enter_context(attending(lm.model, lambda _module, call: ruled_attention(call, rules, ledger)))
        yield ledger


class FrozenNorm(torch.autograd.Function):
    """A norm whose statistics are constants in the backward pass."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, original: Any, shape: NormShape) -> Tensor:  # type: ignore[override]
        y = original(x)
        centred = x.float() - x.float().mean(-1, keepdim=True) if shape.is_centred else x.float()
        linear = centred * shape.gain
        # y − bias = linear / scale, read off by projection, so that no ε need be known
        inverse_scale = (linear * (y.float() - shape.bias)).sum(-1, keepdim=True)
        inverse_scale = inverse_scale / linear.square().sum(-1, keepdim=True).clamp_min(1e-30)
        ctx.save_for_backward(inverse_scale)
        ctx.shape = shape  # type: ignore[attr-defined]
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (inverse_scale,) = ctx.saved_tensors
        found = gradient.float() * ctx.shape.gain * inverse_scale
        if ctx.shape.is_centred:
            found = found - found.mean(-1, keepdim=True)
        return found.to(gradient.dtype), None, None


class ConstantRatio(torch.autograd.Function):
    """An activation as its input times a constant."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, original: Any, _module: nn.Module) -> Tensor:  # type: ignore[override]
        y = original(x)
        slope = original(torch.full((1,), NEAR_ZERO, dtype=x.dtype, device=x.device)) / NEAR_ZERO
        ratio = torch.where(x.abs() < NEAR_ZERO, slope, y / x)
        ctx.save_for_backward(ratio)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return gradient * ctx.saved_tensors[0], None, None


def with_constant_ratios(x: Tensor, original: Any, _about: None) -> Tensor:
    """A head whose activations, called as functions, are their input times a constant."""

    def call(func: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        return ConstantRatio.apply(args[0], lambda one: func(one, *args[1:], **options), None)

    with Calls(call):
        return original(x)


class SoftmaxAt(torch.autograd.Function):
    """A softmax whose Jacobian is taken at a temperature."""

    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor, temperature: float, ledger: Ledger) -> Tensor:  # type: ignore[override]
        weights = scores.softmax(-1, dtype=torch.float32)
        at = weights if temperature == 1 else (scores / temperature).softmax(-1, dtype=torch.float32)
        ctx.save_for_backward(scores, at, *([] if at is weights else [weights]))
        ctx.ledger = ledger  # type: ignore[attr-defined]
        return weights.to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        scores, at, *others = ctx.saved_tensors
        weights = others[0] if others else at
        gradient = gradient.float()
        handed = (gradient * at).sum(-1, keepdim=True)
        found = at * (gradient - handed)
        # half of the relevance comes to the weights, half of what their gradient hands on goes to queries and keys
        arrived = handed.sum() if at is weights else (gradient * weights).sum()
        ctx.ledger.absorbed += 0.5 * float(arrived - torch.dot(found.flatten(), scores.float().flatten()))
        return found.to(scores.dtype), None, None


class Share(torch.autograd.Function):
    """The identity, with a share of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, share: float) -> Tensor:  # type: ignore[override]
        ctx.share = share
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient * ctx.share, None


def halve_first(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A pre-hook that halves the gradient of a module's input."""
    return (Share.apply(args[0], 0.5), *args[1:])  # type: ignore[return-value]


def ruled_attention(call: Attention, rules: Rules, ledger: Ledger) -> tuple[Tensor, Tensor]:
    """Attention with a quarter of the gradient to queries and keys, half to values."""
    query, key, value = (
        Share.apply(one, share) for one, share in zip(call[:3], (0.25, 0.25, 0.5), strict=True)
    )  # fmt: skip
    weights = SoftmaxAt.apply(ruled_scores(call._replace(query=query, key=key)), rules.temperature, ledger)
    if ledger.watched is not None:
        ledger.watched.append(Seen.of(call, weights))  # type: ignore[arg-type]
    return weights @ value, weights  # type: ignore[return-value, operator]


def ruled_scores(call: Attention) -> Tensor:
    """Attention scores; a bound on them is an activation."""
    if call.softcap is None:
        return scores_of(call)
    raw = scores_of(call._replace(softcap=None, mask=None))
    cap = call.softcap
    bounded: Any = ConstantRatio.apply(raw, lambda x: torch.tanh(x / cap) * cap, None)
    return bounded if call.mask is None else bounded + call.mask
