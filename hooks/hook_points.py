"""The names of places in a model, in TransformerLens' spelling."""

import difflib
import re
from typing import NamedTuple

from sae.errors import UserError

LAYER_KINDS = (
    "hook_resid_pre",
    "hook_resid_mid",
    "hook_resid_post",
    "hook_attn_out",
    "hook_mlp_out",
    "attn.hook_z",
    "mlp.hook_post",
)
EMBED = "hook_embed"
PATTERN = re.compile(r"blocks\.(?P<layer>\d+|\*)\.(?P<kind>[a-z_.]+)")


class HookPoint(NamedTuple):
    """One place in one layer."""

    layer: int | None
    """Layer number from 0; none for the embedding."""
    kind: str
    """What is read there, e.g. `hook_resid_post`."""

    def __str__(self) -> str:
        return self.kind if self.layer is None else f"blocks.{self.layer}.{self.kind}"


def expand(names: tuple[str, ...], n_layers: int, supported: tuple[str, ...]) -> list[HookPoint]:
    """Turns names with `*` into hook points, in order, each once.

    Args:
        names: As in a config.
        n_layers: Layers of the model.
        supported: Kinds of hook point that the model has.

    Raises:
        UserError: A name is no hook point, the model has no such layer, or no such kind.
    """
    points: dict[HookPoint, None] = {}
    for name in names:
        if name == EMBED:
            points[HookPoint(None, EMBED)] = None
            continue
        match = PATTERN.fullmatch(name)
        if match is None or match["kind"] not in LAYER_KINDS:
            raise UserError(
                f"{name!r} is no hook point, expected a name like {nearest(name)!r}. Correct capture.hook_points."
            )
        if match["kind"] not in supported:
            raise UserError(
                f"This model has no {match['kind']!r} (asked for by {name!r}), expected one of {', '.join(supported)}. "
                "Choose another in capture.hook_points."
            )
        if match["layer"] != "*" and int(match["layer"]) >= n_layers:
            raise UserError(
                f"{name!r} asks for layer {match['layer']}, but the model has layers 0 to {n_layers - 1}. "
                "Choose one of them in capture.hook_points."
            )
        layers = range(n_layers) if match["layer"] == "*" else [int(match["layer"])]
        points.update({HookPoint(layer, match["kind"]): None for layer in layers})
    return list(points)


def parse(name: str) -> HookPoint:
    """The hook point of a full name, without `*`."""
    match = PATTERN.fullmatch(name)
    if match is None:
        return HookPoint(None, name)
    return HookPoint(int(match["layer"]), match["kind"])


def nearest(name: str) -> str:
    """The known spelling closest to a wrong one."""
    known = [EMBED, *(f"blocks.*.{kind}" for kind in LAYER_KINDS)]
    generic = re.sub(r"\.\d+\.", ".*.", name)
    return (difflib.get_close_matches(generic, known, n=1, cutoff=0.4) or ["blocks.*.hook_resid_post"])[0]
