"""Small models that are trained on the spot to know a task: of the Llama kind and of GPT-2's.

The Llama kind has RMSNorm, SwiGLU, rotary positions, and biases in its attention as Qwen2 has.

Only a model that answers rightly on unseen cases has a known reason for its answers, so one that has not learned is refused.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sae import artefact
from sae.config import Settings
from sae.errors import UserError

Kind = Literal["llama", "gpt2"]
SPECIALS = ("<pad>", "<s>", "</s>")
PAD_ID, BOS_ID, EOS_ID = range(3)
N_POSITIONS = 64
MARK = "accuracy.json"
"""Written last: a folder that holds it is complete."""


class SmallModelConfig(Settings, frozen=True):
    """How a small model is made."""

    kind: Kind = Field(default="llama", description="Architecture.")
    seed: int = Field(default=0, ge=0, description="Of weights and lessons.")
    d_model: PositiveInt = Field(default=96, description="Width of the residual stream.")
    n_layers: PositiveInt = Field(default=3, description="Layers.")
    n_steps: PositiveInt = Field(default=2500, description="Training steps, at most; it ends once it knows the task.")
    batch_records: PositiveInt = Field(default=64, description="Texts of a step.")
    lr: PositiveFloat = Field(default=2e-3, description="Learning rate, after a short warm-up.")
    least_accuracy: float = Field(
        default=0.92, ge=0, le=1, description="On unseen texts; below it the model is refused."
    )


def word_ids(words: tuple[str, ...]) -> dict[str, int]:
    """Word → token id, special tokens first."""
    return {word: number for number, word in enumerate((*SPECIALS, *words))}


def tokenizer(words: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """One token per word, `<s>` in front of every text."""
    backend = Tokenizer(models.WordLevel(word_ids(words), unk_token=SPECIALS[PAD_ID]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    backend.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS_ID)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")  # noqa: S106


def new_model(cfg: SmallModelConfig, words: tuple[str, ...]) -> Any:
    """An untrained model of the kind."""
    n_words = len(SPECIALS) + len(words)
    ids: dict[str, Any] = {"bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "pad_token_id": PAD_ID}
    torch.manual_seed(cfg.seed)
    if cfg.kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=n_words, n_embd=cfg.d_model, n_layer=cfg.n_layers, n_head=4, n_positions=N_POSITIONS,
                resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, tie_word_embeddings=False, **ids,
            )
        )  # fmt: skip
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=n_words, hidden_size=cfg.d_model, intermediate_size=256, num_hidden_layers=cfg.n_layers,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=N_POSITIONS,
            attention_bias=True,  # as Qwen2: with rotary positions, what lets a head look at the word before
            tie_word_embeddings=False, **ids,
        )
    )  # fmt: skip


def kept(place: Path, cfg: SmallModelConfig, words: tuple[str, ...], fit: Callable[[Any], float]) -> Path:
    """A folder with a trained model, made unless it is there.

    Args:
        place: The folder.
        cfg: Architecture, seed and training.
        words: Its vocabulary.
        fit: Trains an untrained model; the share of unseen texts that it then answers rightly.

    Raises:
        UserError: It did not learn the task well enough to be a ground truth.
    """
    if (place / MARK).is_file():
        return place
    with torch.random.fork_rng():
        model = new_model(cfg, words)
        found = fit(model)
    if found < cfg.least_accuracy:
        raise UserError(
            f"The {cfg.kind} model of seed {cfg.seed} answers {100 * found:.1f} % of unseen texts rightly, expected "
            f"{100 * cfg.least_accuracy:.0f} %. Raise n_steps, or choose another seed."
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".", suffix=".part") as temporary:
        inner = Path(temporary) / "model"
        model.eval().save_pretrained(inner)
        tokenizer(words).save_pretrained(inner)
        artefact.write_json(inner / MARK, {"accuracy": found, "settings": cfg.model_dump(mode="json")})
        inner.rename(place)
    return place


def optimiser_of(model: Any, cfg: SmallModelConfig) -> tuple[torch.optim.Optimizer, Any]:
    """AdamW with a short warm-up."""
    found = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=0.01, betas=(0.9, 0.98))
    return found, torch.optim.lr_scheduler.LinearLR(found, 1 / WARMUP_STEPS, total_iters=WARMUP_STEPS)


WARMUP_STEPS = 30
