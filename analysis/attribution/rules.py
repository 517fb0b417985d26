"""Another backward pass: the rules of AttnLRP and GIM, laid over a model while a context is open.

In its implicit form, relevance is embedding × gradient, where the backward pass of four kinds of parts is changed. The
forward pass stays what it is, bit for bit but for the order in which attention is summed.

| part | rule |
|---|---|
| norm | its statistics are constants: only the linear part is differentiated |
| activation | x · [σ(x)/x], the bracket a constant (AttnLRP) |
| gate | the product of two branches: each gets half |
| attention | each of two products gives half to either side: queries and keys a quarter, values half; the softmax keeps its gradient, GIM takes its Jacobian at a temperature |

Source: Achtibat et al. 2024, "AttnLRP" (arXiv:2402.05602), section 3 and its efficient implicit form; Edin et al. 2025,
"GIM" (arXiv:2505.17630), section 4: there activations keep their gradient.

Parts are found by what they do, not by their names: a norm does not care for the length of its input, an activation works
element by element. What was found is counted over a short pass; where it does not match the number of layers, the method
is refused, for a rule that silently does not apply gives wrong numbers that look right.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from analysis.attribution.attention_function import Attention, attending, scores_of
from hooks.model import LanguageModel
from sae.errors import UserError

LONG = 1e3
"""Length of the vectors that a norm is tried on: its ε is nothing beside it."""
NEAR_ZERO = 1e-6
N_TRIED = 64


class Rules(NamedTuple):
    """Which rules apply."""

    is_activation_constant: bool = True
    """Whether σ(x)/x is a constant; else activations keep their gradient."""
    temperature: float = 1.0
    """Where the softmax's Jacobian is taken."""


class Counts(NamedTuple):
    """Parts met in one pass of the model."""

    norms: int
    activations: int
    gates: int
    attentions: int


@dataclass
class Parts:
    """The parts of a model that rules apply to."""

    norms: dict[nn.Module, "NormShape"] = field(default_factory=dict)
    activations: list[nn.Module] = field(default_factory=list)
    gates: list[nn.Module] = field(default_factory=list)
    """Modules whose input is a product of two branches."""
    counts: Counts = Counts(0, 0, 0, 0)


class NormShape(NamedTuple):
    """The linear part of a norm: gain ⊙ (x − mean?) / scale + bias."""

    gain: Tensor
    bias: Tensor
    is_centred: bool


_KNOWN: "WeakKeyDictionary[nn.Module, Parts]" = WeakKeyDictionary()


@dataclass
class Ledger:
    """What a backward pass under the rules has to say."""

    counts: Counts
    absorbed: float = 0.0
    """Relevance that the softmaxes kept so far: their gradient does not hand on all of it."""


@contextmanager
def changed_backward(lm: LanguageModel, rules: Rules) -> Iterator[Ledger]:
    """While open, every backward pass follows the rules.

    Raises:
        UserError: Not every norm, activation, gate and attention of the model was found.
    """
    parts = parts_of(lm)
    ledger = Ledger(parts.counts)
    with ExitStack() as stack:
        for norm, shape in parts.norms.items():
            stack.enter_context(forward_replaced(norm, FrozenNorm.apply, shape))
        for activation in parts.activations if rules.is_activation_constant else ():
            stack.enter_context(forward_replaced(activation, ConstantRatio.apply, activation))
        for gate in parts.gates:
            stack.callback(gate.register_forward_pre_hook(halve_first).remove)
        stack.enter_context(attending(lm.model, lambda _module, call: ruled_attention(call, rules, ledger)))
        yield ledger


@contextmanager
def forward_replaced(module: nn.Module, apply: Any, about: Any) -> Iterator[None]:
    """While open, a module's forward is `apply(input, original forward, about)`."""
    original = module.forward
    module.forward = lambda x: apply(x, original, about)  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.forward  # the class's own shows again


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
        away = torch.where(x.abs() < NEAR_ZERO, NEAR_ZERO, x)
        ratio = torch.where(x.abs() < NEAR_ZERO, original(away) / away, y / away)
        ctx.save_for_backward(ratio)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return gradient * ctx.saved_tensors[0], None, None


class SoftmaxAt(torch.autograd.Function):
    """A softmax whose Jacobian is taken at a temperature."""

    @staticmethod
    def forward(ctx: FunctionCtx, scores: Tensor, temperature: float, ledger: Ledger) -> Tensor:  # type: ignore[override]
        weights = scores.softmax(-1, dtype=torch.float32)
        at = weights if temperature == 1 else (scores / temperature).softmax(-1, dtype=torch.float32)
        ctx.save_for_backward(scores, weights, at)
        ctx.ledger = ledger  # type: ignore[attr-defined]
        return weights.to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        scores, weights, at = ctx.saved_tensors
        gradient = gradient.float()
        found = at * (gradient - (gradient * at).sum(-1, keepdim=True))
        # half of the relevance comes to the weights, half of what their gradient hands on goes to queries and keys
        ctx.ledger.absorbed += 0.5 * float((gradient * weights).sum() - (found * scores).sum())
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
    return weights @ value, weights  # type: ignore[return-value, operator]


def ruled_scores(call: Attention) -> Tensor:
    """Attention scores; a bound on them is an activation."""
    if call.softcap is None:
        return scores_of(call)
    raw = scores_of(call._replace(softcap=None, mask=None))
    cap = call.softcap
    bounded: Any = ConstantRatio.apply(raw, lambda x: torch.tanh(x / cap) * cap, None)
    return bounded if call.mask is None else bounded + call.mask


def parts_of(lm: LanguageModel) -> Parts:
    """The parts of a model, found once.

    Raises:
        UserError: They do not match its layers.
    """
    if lm.model not in _KNOWN:
        parts = found_parts(lm)
        parts.counts = counted(lm, parts)
        refuse_too_few(lm, parts.counts)
        _KNOWN[lm.model] = parts
    return _KNOWN[lm.model]


def found_parts(lm: LanguageModel) -> Parts:
    """What behaves as a norm, as an activation, as the end of a gated product."""
    parts = Parts()
    for module in lm.model.modules():
        if next(module.children(), None) is not None:
            continue
        shape = norm_shape(module)
        if shape is not None:
            parts.norms[module] = shape
        elif is_activation(module):
            parts.activations.append(module)
    for index in range(lm.n_layers):
        layer = lm.base.get_submodule(f"{lm.family.layers}.{index}")
        down = layer.get_submodule(lm.family.places["mlp.hook_post"].path)
        if is_gated(lm, layer, down):
            parts.gates.append(down)
    return parts


@torch.no_grad()
def norm_shape(module: nn.Module) -> NormShape | None:
    """A norm's linear part; none if the module is no norm.

    A norm has gains, one per entry, and gives the same for an input twice as long.
    """
    gains = [one for one in module.parameters() if one.dim() == 1]
    if not gains or len(gains) != len(list(module.parameters())) or len({len(one) for one in gains}) != 1:
        return None
    x = tried(gains[0])
    try:
        y, longer, shifted, at_zero = (module(one).float() for one in (x, 2 * x, x + LONG, torch.zeros_like(x)))
    except (TypeError, RuntimeError, ValueError):  # it wants other inputs, so it is none
        return None
    if y.shape != x.shape or not close(y, longer) or close(y, x.float()) or close(y, at_zero):
        return None
    is_centred = close(y, shifted)
    x = x.float() - x.float().mean() if is_centred else x.float()
    return NormShape((y - at_zero) * x.square().mean().sqrt() / x, at_zero, is_centred)


def tried(like: Tensor) -> Tensor:
    """A long vector without any entry near zero, the same every time."""
    generator = torch.Generator().manual_seed(0)
    sizes = 0.5 + torch.rand(len(like), generator=generator)
    signs = torch.where(torch.arange(len(like)) % 2 == 0, 1.0, -1.0)
    return (LONG * sizes * signs).to(like)


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two results are the same up to their number format."""
    return bool(torch.allclose(a, b, rtol=2e-2, atol=1e-2 * float(a.abs().max())))


@torch.no_grad()
def is_activation(module: nn.Module) -> bool:
    """Whether a module without weights works element by element, is not linear and keeps 0."""
    if next(module.parameters(), None) is not None or next(module.buffers(), None) is not None:
        return False
    x = torch.linspace(-3, 3, N_TRIED).reshape(1, 1, -1)
    try:
        y, turned, doubled, zero = (module(one) for one in (x, x.flip(-1), 2 * x, torch.zeros_like(x)))
    except Exception:  # noqa: BLE001 - whatever it raises for such an input, it is no activation
        return False
    if not isinstance(y, Tensor) or y.shape != x.shape:
        return False
    is_elementwise = near(y.flip(-1), turned) and near(module(x[..., :1]), y[..., :1])
    return is_elementwise and not near(doubled, 2 * y) and bool((zero == 0).all())


def near(a: Tensor, b: Tensor) -> bool:
    """Whether two small results are the same but for rounding."""
    return bool(torch.allclose(a, b, rtol=1e-4, atol=1e-5))


def is_gated(lm: LanguageModel, layer: nn.Module, down: nn.Module) -> bool:
    """Whether what enters the MLP's last matrix is a product: its inputs are made twice in the layer, outside attention."""
    n_out, n_in = sorted_width(down)
    attention = lm.family.places["attn.hook_z"].path.rpartition(".")[0]
    made = 0
    for path, module in layer.named_modules():
        if module is down or path.startswith(attention) or sorted_width(module) is None:
            continue
        width = sorted_width(module)[0]  # type: ignore[index]
        made += width if width % n_in == 0 and width != n_out or width == n_in else 0
    return made == 2 * n_in


def sorted_width(module: nn.Module) -> Any:
    """Outputs and inputs of a matrix; none if the module is none."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or (weight.dim() != 2 and not hasattr(module, "in_features")):  # noqa: PLR2004
        return None
    if hasattr(module, "in_features"):
        return int(module.out_features), int(module.in_features)  # type: ignore[arg-type]
    return (int(weight.shape[1]), int(weight.shape[0])) if hasattr(module, "nf") else None  # GPT-2's lies the other way


def counted(lm: LanguageModel, parts: Parts) -> Counts:
    """How often each kind of part is met in a pass over two tokens."""
    met: dict[str, int] = dict.fromkeys(Counts._fields, 0)

    def note(kind: str) -> Any:
        def hook(*_args: Any) -> None:
            met[kind] += 1

        return hook

    def attend(_module: nn.Module, call: Attention) -> tuple[Tensor, Tensor]:
        met["attentions"] += 1
        return ruled_attention(call, Rules(), Ledger(parts.counts))

    layers = set(lm.base.get_submodule(lm.family.layers).modules())
    in_layers = [one for one in parts.activations if one in layers]  # not a pooler's
    handles = [
        module.register_forward_pre_hook(note(kind))
        for kind, modules in (("norms", parts.norms), ("activations", in_layers), ("gates", parts.gates))
        for module in modules
    ]
    ids = torch.zeros(1, 2, dtype=torch.long, device=lm.device)
    try:
        with attending(lm.base, attend), torch.no_grad():
            lm.base(input_ids=ids)
    finally:
        for handle in handles:
            handle.remove()
    return Counts(**met)


def refuse_too_few(lm: LanguageModel, counts: Counts) -> None:
    """Stops where a rule would silently not apply.

    Raises:
        UserError: Per layer there must be an attention, an activation and at least a norm, and gates in all layers or none.
    """
    n = lm.n_layers
    is_whole = counts.attentions == n and counts.norms > n and counts.activations == n and counts.gates in (0, n)
    if not is_whole:
        raise UserError(
            f"In {lm.name!r} with {n} layers, {counts.attentions} attentions, {counts.norms} norms, {counts.activations} "
            f"activations and {counts.gates} gates were found, expected each in every layer. Choose a method that needs none of "
            "them: integrated_gradients or occlusion."
        )
