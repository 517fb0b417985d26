"""Converting an SAE from elsewhere between formats: SAELens', sparsify's and Gemma Scope's in, the first two out."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clinlens.export import ORIGIN_FILE, largest_difference
from hooks.hook_points import EMBED, LAYER_KINDS, nearest, parse
from sae import artefact, formats
from sae.base import SAE
from sae.errors import UserError
from sae.formats import Found, WritableFormat
from sae.sparsify_format import has_unit_rows

CHECK_ROWS = 512
NAMES = ("model_name", "hook_name")


def convert(
    source: Path, target: Path, kind: WritableFormat, model: str | None = None, hook_point: str | None = None
) -> dict[str, Any]:
    """Reads an SAE of any known format and writes it in another, with the same features; then reads it back.

    Args:
        source: Folder of one SAE.
        target: Folder to write to.
        kind: The format to write.
        model: What the SAE was trained on, where its files do not say; SAELens' metadata.
        hook_point: Where, likewise, in TransformerLens' spelling.

    Raises:
        UserError: The source is not to be read, the format cannot hold it, or it is read back with other features.
    """
    if hook_point is not None:
        refuse_unknown(hook_point)
    if source.resolve() == target.resolve():
        raise UserError(f"{target} is the folder to read from, expected another to write to. Name one with --to.")
    found = formats.load(source)
    metadata = dict(found.settings.get("metadata") or {}) if found.format == "saelens" else {}
    metadata |= {key: value for key, value in (("model_name", model), ("hook_name", hook_point)) if value is not None}
    for key in ("sae_lens_version", "sae_lens_training_version"):
        metadata.pop(key, None)  # the writer's own
    formats.save(found.sae, found.cfg, target, kind, metadata)
    difference = largest_difference(found.sae, target, kind, plausible_inputs(found.sae))
    artefact.write_json(target / ORIGIN_FILE, origin(found, source, metadata))
    return {
        "to": str(target),
        "from_format": found.format,
        "format": kind,
        "architecture": found.cfg.architecture,
        "d_in": found.sae.d_in,
        "d_sae": found.sae.d_sae,
        "decoder_has_unit_norm": has_unit_rows(found.sae.W_dec),
        "largest_difference": difference,
        "unknown": [name for name in NAMES if not metadata.get(name)],
    }


def refuse_unknown(hook_point: str) -> None:
    """Stops where a name is none of TransformerLens', which later readers look for.

    Raises:
        UserError: It is not.
    """
    is_of_a_layer = "*" not in hook_point and parse(hook_point).kind in LAYER_KINDS
    if not is_of_a_layer and hook_point != EMBED:
        raise UserError(
            f"--hook-point {hook_point} is no hook point, expected one such as blocks.12.hook_resid_post. "
            f"Did you mean {nearest(hook_point)}, with a layer for *?"
        )


def origin(found: Found, source: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    """Where a converted SAE comes from; what its own folder said of that, if anything, stays."""
    path = source / ORIGIN_FILE
    return {
        "converted_from": {
            "format": found.format,
            "folder": source.resolve().name,
            "weights_hash": found.weights_hash,
            "settings": found.settings,
            "origin": artefact.read_json(path) if path.is_file() else None,
        },
        "metadata": metadata,
        "clinlens": version("clinlens"),
    }


def plausible_inputs(sae: SAE) -> Float[Tensor, "rows d_in"]:
    """Inputs to compare on where there are no activations: normal around b_dec, which lies near the mean of real ones."""
    noise = torch.randn(CHECK_ROWS, sae.d_in, generator=torch.Generator().manual_seed(0))
    return sae.b_dec + (1 + sae.b_dec.square().mean().sqrt()) * noise
