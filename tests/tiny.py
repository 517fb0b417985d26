"""Tiny models with random weights, of every family we know, and a word-level tokenizer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hooks.model_types import ENCODERS, TOWERS

WORDS = (
    "patient has fever and pain no cough given drug today . with without acute chronic history of the a "
    "is was in on chest heart lung old year male female normal high low test shows denies reports mild severe"
).split()
VOCABULARY = ["<unk>", "<s>", "</s>", "<pad>", *WORDS, *map(str, range(60))]
SHAPE: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
}
GROUPED: dict[str, Any] = SHAPE | {"num_key_value_heads": 2}
GEMMA: dict[str, Any] = GROUPED | {"head_dim": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "qwen2": GROUPED,
    "gpt2": {
        "vocab_size": len(VOCABULARY), "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3,
    },
    "gpt_neox": SHAPE,
    "gpt_neox-sequential": SHAPE | {"use_parallel_residual": False},
    "gemma": GEMMA,
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "biogpt": SHAPE,
    "bert": SHAPE,
    "modernbert": SHAPE | {"cls_token_id": 1, "sep_token_id": 2},
}  # fmt: skip

TOWER: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 16,
    "patch_size": 4,
}  # fmt: skip
DINOV2: dict[str, Any] = {key: value for key, value in TOWER.items() if key != "intermediate_size"} | {"mlp_ratio": 2}
WORDS_OF_CLIP: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3,
}  # fmt: skip
TOWER_SETTINGS: dict[str, dict[str, Any]] = {
    "clip": {"vision_config": TOWER, "text_config": WORDS_OF_CLIP},
    "clip_vision_model": TOWER,
    "siglip": {"vision_config": TOWER, "text_config": WORDS_OF_CLIP},
    "siglip_vision_model": TOWER,
    "vit": TOWER,
    "dinov2": DINOV2,
    "dinov2-swiglu": DINOV2 | {"use_swiglu_ffn": True},
}
PROCESSOR: dict[str, Any] = {
    "image_processor_type": "CLIPImageProcessor", "do_convert_rgb": True, "do_resize": True, "do_center_crop": True,
    "do_rescale": True, "do_normalize": True, "size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16},
    "resample": 3, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25],
}  # fmt: skip


def write_tiny_tower(folder: Path, kind: str, **changes: Any) -> Path:
    """Saves a random model that reads images of 4×4 patches, with its image processor; `changes` are of that one."""
    torch.manual_seed(0)
    model_type = kind.split("-", maxsplit=1)[0]
    config = CONFIG_MAPPING[model_type](**TOWER_SETTINGS[kind])
    whole = {"clip": "CLIPModel", "siglip": "SiglipModel"}  # saved with the text tower, as they come
    model = getattr(transformers, whole.get(model_type, TOWERS[model_type]))(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR | changes))
    return folder


def write_images(folder: Path, n: int) -> list[Path]:
    """Saves pictures of noise, the last one equal to the first."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, paths = np.random.default_rng(0), [folder / f"{number:03d}.png" for number in range(n)]
    for number, path in enumerate(paths):
        size = (20, 24, 3) if number % 2 else (16, 16, 3)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
    paths[-1].write_bytes(paths[0].read_bytes())
    return paths


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Words and numbers of the tiny corpus, split at white space."""
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        cls_token="<s>", sep_token="</s>",
    )  # fmt: skip


ROLES = ["<|user|>", "<|assistant|>", "<|end|>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role not in ('user', 'assistant') %}{{ raise_exception('no such role') }}{% endif %}"
    " <|{{ message.role }}|> {{ message.content }} <|end|>{% endfor %}"
)


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """The same with a chat template, whose markers take the places of three numbers."""
    words = {word: number for number, word in enumerate([*VOCABULARY[: -len(ROLES)], *ROLES])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    backend.add_special_tokens(ROLES)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        chat_template=CHAT_TEMPLATE,
    )  # fmt: skip


def tiny_model(kind: str, seed: int = 0, **changes: Any) -> Any:
    """A random model of a kind, with weights large enough that every part matters; `changes` are of its config."""
    torch.manual_seed(seed)
    model_type = kind.split("-", maxsplit=1)[0]
    config = CONFIG_MAPPING[model_type](**SETTINGS[kind] | changes)
    auto = AutoModel if model_type in ENCODERS else AutoModelForCausalLM
    model = auto.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model


def write_tiny_model(folder: Path, kind: str, seed: int = 0, **changes: Any) -> Path:
    """Saves a tiny model with its tokenizer."""
    tiny_model(kind, seed, **changes).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
