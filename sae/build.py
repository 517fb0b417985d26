"""From a config to a sparse autoencoder."""

from typing import assert_never

import torch

from sae.base import SAE
from sae.batchtopk import BatchTopKSAE
from sae.config import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    L1Config,
    MatryoshkaConfig,
    SAEConfig,
    TopKConfig,
)
from sae.gated import GatedSAE
from sae.jumprelu import JumpReLUSAE
from sae.l1 import L1SAE
from sae.matryoshka import MatryoshkaSAE
from sae.topk import TopKSAE


def build(cfg: SAEConfig, d_in: int, d_sae: int | None = None) -> SAE:
    """A new autoencoder with zero weights.

    Args:
        cfg: Its architecture and settings.
        d_in: Width of its input.
        d_sae: Number of features, if other than d_in × expansion_factor (a loaded SAE).

    Raises:
        UserError: k is larger than d_sae.
    """
    width = cfg.d_sae(d_in) if d_sae is None else d_sae
    match cfg:
        case L1Config():
            return L1SAE(cfg, d_in, width)
        case TopKConfig():
            return TopKSAE(cfg, d_in, width)
        case JumpReLUConfig():
            return JumpReLUSAE(cfg, d_in, width)
        case BatchTopKConfig():
            return BatchTopKSAE(cfg, d_in, width)
        case MatryoshkaConfig():
            return MatryoshkaSAE(cfg, d_in, width)
        case GatedConfig():
            return GatedSAE(cfg, d_in, width)
        case _:
            assert_never(cfg)


def refuse_impossible(cfg: SAEConfig, d_in: int) -> None:
    """Stops before any work where a config fits no autoencoder of this width.

    Raises:
        UserError: As `build`.
    """
    with torch.device("meta"):
        build(cfg, d_in)
