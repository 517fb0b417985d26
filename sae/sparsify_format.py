"""Reading and writing autoencoders in sparsify's format, without importing sparsify.

A folder holds `cfg.json` and `sae.safetensors`; `sparsify.SparseCoder.load_from_disk` reads it. Its encoder is a
`torch.nn.Linear`, so `encoder.weight` is the transpose of our W_enc; `W_dec` lies as ours does.

sparsify takes b_dec from the input of an autoencoder and passes the pre-activations through a ReLU before it keeps the
k largest; we do both in the other order, with the same features. Its decoder rows need no norm of 1
(`normalize_decoder: false`). They are left as they are: dividing by their norms would change which k are largest.

Source: eai-sparsify 1.3.3, `sparse_coder.py`, `fused_encoder.py`, `config.py`.
"""

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor

from sae import artefact
from sae.base import SAE
from sae.config import TopKConfig
from sae.errors import UserError
from sae.tensors import refuse_wrong_shapes, weights_in
from sae.topk import TopKSAE

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae.safetensors"
UNIT_NORM_TOLERANCE = 1e-3
"""How far a decoder row's norm may be from 1 for `normalize_decoder`; float32 rounding leaves 1e-7."""
DIFFERENT_COMPUTATIONS: dict[str, str] = {
    "transcode": "a transcoder, which writes another module's output than it reads",
    "skip_connection": "a linear path around the features, which no architecture here has",
    "signed": "features of either sign, chosen by size",
}
"""Switches that mean another computation than an autoencoder's; `signed` stood in releases before 1.0."""


def load(folder: Path) -> TopKSAE:
    """Reads an autoencoder that sparsify or this module saved.

    Raises:
        UserError: It is no TopK autoencoder, or its weights are not those of its config.
    """
    path = folder / CONFIG_FILE
    settings = artefact.read_json(path)
    refuse_other_computations(settings, path)
    weights = weights_in(folder / WEIGHTS_FILE)
    d_in = settings["d_in"]
    d_sae = settings.get("num_latents") or d_in * settings["expansion_factor"]
    shapes = {"encoder.weight": (d_sae, d_in), "encoder.bias": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    refuse_wrong_shapes(weights, shapes, folder / WEIGHTS_FILE)
    sae = TopKSAE(config_of(settings, d_in, d_sae), d_in, d_sae)
    sae.load_state_dict(
        {
            "W_enc": weights["encoder.weight"].T,
            "b_enc": weights["encoder.bias"],
            "W_dec": weights["W_dec"],
            "b_dec": weights["b_dec"],
        }
    )
    sae.eval().requires_grad_(False)
    return sae


def config_of(settings: dict[str, Any], d_in: int, d_sae: int) -> TopKConfig:
    """Our settings that matter after training."""
    return TopKConfig(k=settings["k"], expansion_factor=max(1, math.ceil(d_sae / d_in)))


def refuse_other_computations(settings: dict[str, Any], path: Path) -> None:
    """Says so where a setting means a computation that is not ours, instead of loading it silently wrong.

    Raises:
        UserError: A setting is missing, or means something else than TopK.
    """
    missing = [name for name in ("d_in", "k") if name not in settings]
    if not settings.get("num_latents") and "expansion_factor" not in settings:
        missing.append("num_latents")
    if missing:
        raise UserError(
            f"{path} has no {missing[0]!r}, expected the settings of sparsify's SparseCoder. "
            "Name the folder of one of its hook points."
        )
    for name in ("d_in", "k", "num_latents", "expansion_factor"):
        value = settings.get(name)
        if value is not None and (type(value) is not int or value < (0 if name == "num_latents" else 1)):
            raise UserError(f"{path} says {name}={value!r}, expected a whole number of at least 1. Fetch it again.")
    activation = settings.get("activation", "topk")
    if activation != "topk":
        raise UserError(
            f"{path} says activation={activation!r}, expected 'topk', the only one of sparsify's that exists here. "
            "Name a TopK SAE."
        )
    for name, meaning in DIFFERENT_COMPUTATIONS.items():
        if settings.get(name):
            raise UserError(
                f"{path} says {name}={settings[name]!r} ({meaning}), expected an autoencoder. Name one without it."
            )


def save(sae: SAE, folder: Path) -> None:
    """Writes an autoencoder as sparsify does; the config last, so that its presence means a complete pair.

    Raises:
        UserError: It is no TopK autoencoder.
    """
    if not isinstance(sae, TopKSAE):
        raise UserError(
            f"{folder} was to hold a {type(sae).__name__.removesuffix('SAE')} SAE in sparsify's format, expected a TopK "
            "SAE, the only one that sparsify reads. Choose --format saelens, or TopK SAEs only."
        )
    weights: dict[str, Tensor] = {
        "encoder.weight": sae.W_enc.T,
        "encoder.bias": sae.b_enc,
        "W_dec": sae.W_dec,
        "b_dec": sae.b_dec,
    }
    settings = {
        "activation": "topk",
        "expansion_factor": max(1, sae.d_sae // sae.d_in),
        "normalize_decoder": has_unit_rows(sae.W_dec),
        "num_latents": sae.d_sae,
        "k": sae.cfg.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": sae.d_in,
    }
    data = to_safetensors({name: tensor.detach().float().contiguous() for name, tensor in weights.items()})
    artefact.write_bytes(folder / WEIGHTS_FILE, data)
    artefact.write_json(folder / CONFIG_FILE, settings)


def has_unit_rows(W_dec: Tensor) -> bool:
    """Whether every decoder row has norm 1."""
    return bool(torch.all((W_dec.detach().norm(dim=1) - 1).abs() <= UNIT_NORM_TOLERANCE))
