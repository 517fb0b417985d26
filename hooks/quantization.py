"""Weights in 8 or 4 bits, by bitsandbytes, so that a model of several billion parameters fits a small machine.

`int8` is LLM.int8(): columns of activations with a value above 6 are multiplied in 16 bits, the rest in 8. Which
columns those are is decided for a whole batch, so a row depends a little on what is run beside it; a shard, whose
batches are decided by its documents, does not. `int4` is NF4, its products in the model's own number format.

Source: Dettmers et al. 2022, "LLM.int8()"; Dettmers et al. 2023, "QLoRA".
"""

from importlib.util import find_spec
from typing import Any

import torch

from hooks.config import ModelConfig
from sae.errors import UserError

LIBRARIES = ("accelerate", "bitsandbytes")
BLOCK = 64
"""Weights that share a scale in 4 bits."""


def loading_options(cfg: ModelConfig, config: Any, device: str) -> dict[str, Any]:
    """What `from_pretrained` is told so that the weights are quantised on the device they stay on.

    Args:
        cfg: The model's settings.
        config: The model's config of transformers; its number format is the products' where the settings name none.
        device: Where the model runs.

    Returns:
        Nothing for weights that are kept as they are.

    Raises:
        UserError: A library that this needs is not installed, or the weights were saved quantised.
    """
    if cfg.quantization == "none":
        return {}
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise UserError(
            f"model.quantization is {cfg.quantization!r}, but {' and '.join(missing)} is not installed here. "
            "Run `pip install 'clinlens[quantized]'`, or set model.quantization=none."
        )
    if getattr(config, "quantization_config", None) is not None:
        raise UserError(
            f"model.quantization is {cfg.quantization!r}, but the weights of {cfg.name!r} were saved quantised, "
            "expected whole ones. Set model.quantization=none, or name the model they were made from."
        )
    return {"quantization_config": bits(cfg, config), "device_map": {"": device}}


def bits(cfg: ModelConfig, config: Any) -> Any:
    """The settings of bitsandbytes."""
    from transformers import BitsAndBytesConfig

    if cfg.quantization == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    products = config.dtype if cfg.dtype == "auto" else getattr(torch, cfg.dtype)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=products or torch.float32
    )


def refuse_broken_blocks(model: Any, name: str) -> None:
    """Stops where 4-bit weights would be wrong without a word.

    Source: measured with bitsandbytes 0.50 on a CPU; a matrix whose rows are no whole number of blocks comes back off
    by 20 to 40 % instead of 9 %, single rows by far more. Its CUDA kernels are not concerned.

    Raises:
        UserError: A matrix on the CPU has such rows.
    """
    layers = [one for one in model.modules() if type(one).__name__ == "Linear4bit"]
    broken = [one for one in layers if one.in_features % BLOCK]
    if broken and broken[0].weight.device.type == "cpu":
        raise UserError(
            f"The model {name!r} has layers {broken[0].in_features} wide, but 4 bits on a CPU need multiples of {BLOCK}. "
            "Set model.quantization to int8 or none, or run it on a GPU."
        )
