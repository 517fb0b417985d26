"""Tiny models with random weights, of every family we know, and a word-level tokenizer."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from hooks.architecture import ENCODERS

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
