"""Reading autoencoders in Gemma Scope's format: `params.npz` with W_enc, W_dec, b_enc, b_dec and threshold.

    theirs  f(x) = JumpReLU_θ(x · W_enc + b_enc)
    ours    f(x) = JumpReLU_θ((x − b_dec) · W_enc + b_enc′),    b_enc′ = b_enc + b_dec · W_enc

1. Theirs takes no b_dec from the input. The shift goes into b_enc, in float64, so that the pre-activations differ by the
   rounding of one float32 sum and nothing else.
2. Theirs is `(pre > threshold) · ReLU(pre)`. A threshold below 0 therefore acts as 0, and is read as 0.
3. Decoder rows keep their norms and features their values: a JumpReLU needs no unit rows, and figures published for
   these features (densities, steering strengths) stay true.

The file does not say what was read. Two kinds of Gemma Scope's files with the same tensors are refused by the folder's
name, which is all that tells them: transcoders, and SAEs of the embedding, which want the embedding scaled by 1 / √d_in.

Source: Lieberum et al. 2024, "Gemma Scope" (arXiv:2408.05147), and its tutorial's `JumpReLUSAE`; the exceptions from
sae-lens 6.54, `loading/pretrained_sae_loaders.py`.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae.config import JumpReLUConfig
from sae.errors import UserError
from sae.jumprelu import JumpReLUSAE
from sae.tensors import refuse_wrong_shapes

WEIGHTS_FILE = "params.npz"
FEATURES_AT_ONCE = 4096
OTHER_KINDS = ("transcoder", "embedding")
"""Words in the folders of Gemma Scope's files that hold the same tensors and mean another computation."""


def load(folder: Path) -> JumpReLUSAE:
    """Reads an autoencoder of Gemma Scope, with its features' values unchanged.

    Raises:
        UserError: The file is damaged, holds other tensors, or means another computation.
    """
    path = folder / WEIGHTS_FILE
    refuse_other_kinds(path)
    weights = tensors(path)
    refuse_rescaling(weights, path)
    d_in, d_sae = shape_of(weights, path)
    shapes = {
        "W_enc": (d_in, d_sae),
        "b_enc": (d_sae,),
        "W_dec": (d_sae, d_in),
        "b_dec": (d_in,),
        "threshold": (d_sae,),
    }
    refuse_wrong_shapes(weights, shapes, path)
    b_enc = weights["b_enc"].double() + shift(weights["b_dec"], weights["W_enc"])
    sae = JumpReLUSAE(JumpReLUConfig(), d_in, d_sae)
    sae.load_state_dict(weights | {"b_enc": b_enc.float(), "threshold": weights["threshold"].clamp_min(0)})
    sae.eval().requires_grad_(False)
    return sae


def shift(b_dec: Float[Tensor, "d_in"], W_enc: Float[Tensor, "d_in d_sae"]) -> Float[Tensor, "d_sae"]:
    """b_dec · W_enc in float64, some features at a time: the widest of these SAEs have a million."""
    return torch.cat([b_dec.double() @ part.double() for part in W_enc.split(FEATURES_AT_ONCE, dim=1)])


def tensors(path: Path) -> dict[str, Tensor]:
    """The arrays of a file, as float32; nothing in it is executed."""
    if not zipfile.is_zipfile(path):  # NumPy would try it as a bare array
        raise UserError(f"{path} is no plain archive of arrays, expected Gemma Scope's. Fetch it again.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(np.asarray(arrays[name], dtype=np.float32)) for name in arrays.files}
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path} is no plain archive of arrays, expected Gemma Scope's. Fetch it again.") from error


def shape_of(weights: dict[str, Tensor], path: Path) -> tuple[int, int]:
    """Width of the input and number of features."""
    W_enc = weights.get("W_enc")
    if W_enc is None or W_enc.dim() != 2:
        raise UserError(
            f"{path} holds {', '.join(sorted(weights))}, expected a matrix W_enc among them. Name an SAE of Gemma Scope."
        )
    return W_enc.shape[0], W_enc.shape[1]


def refuse_other_kinds(path: Path) -> None:
    """Says so where the folder's name tells of another computation."""
    names = str(path.resolve().parent)
    for word in OTHER_KINDS:
        if word in names:
            raise UserError(
                f"{path} lies in a folder named after {word}s, expected an autoencoder of residual stream, MLP or "
                "attention output, since the file itself does not tell them apart. Name another, or rename the folder."
            )


def refuse_rescaling(weights: dict[str, Tensor], path: Path) -> None:
    """Takes away a factor of 1 for every feature, and refuses any other.

    Source: sae-lens 6.54, `gemma_2_sae_huggingface_loader`.
    """
    factor = weights.pop("scaling_factor", None)
    if factor is not None and not bool((factor == 1).all()):
        raise UserError(
            f"{path} has a scaling_factor other than 1, expected none. Read it with sae-lens and fold the factor into W_dec."
        )
