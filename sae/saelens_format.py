"""Saving and loading autoencoders in SAELens' own format, without importing sae_lens.

A folder holds `cfg.json` and `sae_weights.safetensors`; `sae_lens.SAE.load_from_disk` reads it. ClinLens always
writes the folded form: raw activations in, raw activations out, decoder rows of norm 1.

Source: sae-lens 6.54, `saes/standard_sae.py`, `saes/topk_sae.py`, `saes/jumprelu_sae.py`, `loading/`.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors

from sae import artefact
from sae.base import SAE
from sae.build import build
from sae.config import GatedConfig, JumpReLUConfig, L1Config, SAEConfig, TopKConfig
from sae.errors import UserError
from sae.gated import GatedSAE
from sae.jumprelu import JumpReLUSAE

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
ARCHITECTURE_NAMES = {
    "l1": "standard",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "batchtopk": "jumprelu",  # with the threshold it has learned; so does sae-lens
    "matryoshka": "jumprelu",
}
FORMAT_VERSION = "6.54.12"
"""The sae-lens release whose semantics these files follow; below 6.0 its loader would rewrite the config."""


def save(sae: SAE, cfg: SAEConfig, folder: Path, metadata: dict[str, Any]) -> None:
    """Writes a folded autoencoder; the config last, so that its presence means a complete pair.

    Args:
        sae: An autoencoder after `fold`.
        cfg: The settings it was built from.
        folder: Where to; made if missing.
        metadata: SAELens' free-form record: model_name, hook_name, context_size, prepend_bos, …
    """
    settings: dict[str, Any] = {
        "architecture": ARCHITECTURE_NAMES[cfg.architecture],
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": FORMAT_VERSION, "sae_lens_training_version": None} | metadata,
    }
    if isinstance(cfg, TopKConfig):
        settings |= {"k": cfg.k, "rescale_acts_by_decoder_norm": False}
    weights = {name: tensor.detach().float().contiguous() for name, tensor in sae.state_dict().items()}
    artefact.write_bytes(folder / WEIGHTS_FILE, to_safetensors(weights))
    artefact.write_json(folder / CONFIG_FILE, settings)


def load(folder: Path) -> SAE:
    """Reads an autoencoder that this module or SAELens saved (standard, topk, jumprelu or gated).

    Raises:
        UserError: The folder is no SAE, or one whose settings would give other features here than in SAELens.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no {CONFIG_FILE}, expected a saved SAE. Name a folder below saes/ of a run.")
    settings = artefact.read_json(path)
    refuse_other_semantics(settings, path)
    d_in, d_sae = settings["d_in"], settings["d_sae"]
    sae = build(config_of(settings, path), d_in, d_sae)
    sae.load_state_dict(load_file(folder / WEIGHTS_FILE))
    if isinstance(sae, JumpReLUSAE):
        # sae-lens passes values through a ReLU as well; ours has its thresholds above 0
        sae.threshold.data.clamp_(min=0)
    if not settings.get("apply_b_dec_to_input", True):
        shift_encoder(sae)
    return sae.eval().requires_grad_(False)


@torch.no_grad()
def shift_encoder(sae: SAE) -> None:
    """Lets an encoder that was fed x be fed x − b_dec: x · W_enc + b = (x − b_dec) · W_enc + (b + b_dec · W_enc).

    Features stay what they were but for rounding.
    """
    shift = sae.b_dec @ sae.W_enc
    if isinstance(sae, GatedSAE):
        sae.b_gate.add_(shift)
        sae.b_mag.add_(shift * sae.r_mag.exp())
    else:
        sae.b_enc.add_(shift)


def config_of(settings: dict[str, Any], path: Path) -> SAEConfig:
    """The architecture's config with the settings that matter after training."""
    match settings.get("architecture"):
        case "standard":
            return L1Config()
        case "topk":
            return TopKConfig(k=settings["k"])
        case "jumprelu":
            return JumpReLUConfig()
        case "gated":
            return GatedConfig()
        case other:
            known = ", ".join(sorted(set(ARCHITECTURE_NAMES.values())))
            raise UserError(
                f"{path} says architecture {other!r}, expected one of {known}. Convert it with sae-lens first."
            )


def refuse_other_semantics(settings: dict[str, Any], path: Path) -> None:
    """Says so where a setting means a computation that is not ours, instead of loading it silently wrong."""
    expected = {
        "normalize_activations": "none",
        "reshape_activations": "none",
        "rescale_acts_by_decoder_norm": False,
    }
    for name, wanted in expected.items():
        found = settings.get(name, wanted)
        if found != wanted:
            raise UserError(
                f"{path} says {name}={found!r}, expected {wanted!r}. Fold the SAE with sae-lens "
                "(fold_activation_norm_scaling_factor, fold_W_dec_norm) and save it again."
            )
