"""The norms, activations, gates and attentions of a model, found by what they do and not by their names.

A norm does not care for the length of its input; an activation works element by element and is not linear; a gate is where
the MLP's last matrix reads a product of two branches. What was found is counted over a short pass: where it does not match
the number of layers, a rule would silently not apply and give wrong numbers that look right, so that is refused.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from analysis.attribution.attention_function import Attention, attending, plain
from analysis.attribution.replaced import forward_replaced
from hooks.model import LanguageModel
from sae.errors import UserError

LONG = 1e3
"""Length of the vectors that a norm is tried on: its ε is nothing beside it."""
N_TRIED = 64
RATIOS = frozenset({torch.tanh, torch.relu, nn.functional.relu, nn.functional.gelu, nn.functional.silu})
"""Activations that keep 0, as functions: x · [σ(x)/x] can be written for them."""
NO_RATIO = frozenset(
    {
        torch.sigmoid, torch.softmax, torch.exp, nn.functional.sigmoid, nn.functional.softmax, nn.functional.softplus,
        nn.functional.layer_norm, nn.functional.rms_norm, nn.functional.normalize, torch.Tensor.sigmoid, torch.Tensor.softmax,
        torch.Tensor.tanh, torch.Tensor.relu, torch.Tensor.exp,
    }
)  # fmt: skip
"""Functions that no rule is written for."""


class Counts(NamedTuple):
    """Parts met in one pass of the model."""

    norms: int
    activations: int
    gates: int
    attentions: int
    head_functions: int = 0
    """Activations that a classifier's head calls as functions, where others have modules."""


@dataclass
class Parts:
    """The parts of a model that rules apply to."""

    norms: dict[nn.Module, "NormShape"] = field(default_factory=dict)
    activations: list[nn.Module] = field(default_factory=list)
    gates: list[nn.Module] = field(default_factory=list)
    """Modules whose input is a product of two branches."""
    heads: list[nn.Module] = field(default_factory=list)
    """A classifier's heads that call activations as functions."""
    counts: Counts = field(default_factory=lambda: Counts(0, 0, 0, 0))


class NormShape(NamedTuple):
    """The linear part of a norm: gain ⊙ (x − mean?) / scale + bias."""

    gain: Tensor
    bias: Tensor
    is_centred: bool


_KNOWN: "WeakKeyDictionary[nn.Module, Parts]" = WeakKeyDictionary()


def parts_of(lm: LanguageModel) -> Parts:
    """The parts of a model, found once.

    Raises:
        UserError: They do not match its layers.
    """
    if lm.model not in _KNOWN:
        parts = found_parts(lm)
        parts.counts = counted(lm, parts)
        refuse_too_few(lm, parts.counts)
        parts.counts = parts.counts._replace(head_functions=found_in_heads(lm, parts))
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
    except Exception:  # whatever it raises for such an input, it is no activation
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
    n_in = width_of(down, "in")
    attention = lm.family.places["attn.hook_z"].path.split(".")[0]
    others = [m for path, m in layer.named_modules() if m is not down and not path.startswith(attention)]
    widths = [width_of(module, "out") for module in others]
    return sum(width for width in widths if width in (n_in, 2 * n_in)) == 2 * n_in


def width_of(module: nn.Module, side: str) -> int:
    """Inputs or outputs of a matrix; 0 if the module is none."""
    if hasattr(module, "in_features"):
        return int(getattr(module, f"{side}_features"))
    if hasattr(module, "nf"):  # GPT-2's matrices lie the other way
        return int(module.weight.shape[0 if side == "in" else 1])  # type: ignore[union-attr, index]
    return 0


def counted(lm: LanguageModel, parts: Parts) -> Counts:
    """How often each kind of part is met in a pass over two tokens."""
    met: dict[str, int] = dict.fromkeys(Counts._fields, 0)

    def note(kind: str) -> Any:
        def hook(*_args: Any) -> None:
            met[kind] += 1

        return hook

    def attend(module: nn.Module, call: Attention) -> tuple[Tensor, Tensor]:
        met["attentions"] += 1
        return plain(module, call)

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


class Calls(TorchFunctionMode):
    """While open, functions that are not linear go through `call` with their name, itself and its arguments."""

    def __init__(self, call: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> None:
        super().__init__()
        self.call = call

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in RATIOS or func in NO_RATIO:
            return self.call(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


def found_in_heads(lm: LanguageModel, parts: Parts) -> int:
    """Notes the heads that call activations as functions, over a short pass of the whole classifier; how many calls.

    Modules in a head are known already, and a head that is one module has no function of its own.

    Raises:
        UserError: A head calls a function that no rule is written for.
    """
    if lm.model is lm.base:
        return 0
    heads = [one for one in lm.model.children() if one is not lm.base and next(one.children(), None) is not None]
    known = [*parts.activations, *parts.norms]
    met: list[Any] = []
    in_known: list[nn.Module] = []

    def note(func: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if not in_known:
            met.append(func)
        return func(*args, **options)

    def within_known(x: Tensor, original: Any, module: nn.Module) -> Tensor:
        in_known.append(module)
        try:
            return original(x)
        finally:
            in_known.pop()

    def within_head(x: Tensor, original: Any, head: nn.Module) -> Tensor:
        before = len(met)
        with Calls(note):
            found = original(x)
        if len(met) > before:
            parts.heads.append(head)
        return found

    with ExitStack() as stack, torch.no_grad():
        for modules, within in ((heads, within_head), (known, within_known)):
            for module in modules:
                stack.enter_context(forward_replaced(module, within, module))
        if heads:
            lm.model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=lm.device))
    if wrong := [one.__name__ for one in met if one in NO_RATIO]:
        raise UserError(
            f"The head of {lm.name!r} calls {wrong[0]}, which no rule is written for, expected modules, or tanh, relu, gelu or "
            "silu. Choose a method that needs no rules: integrated_gradients or occlusion."
        )
    return len(met)


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
