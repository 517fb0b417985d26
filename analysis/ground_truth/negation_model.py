"""Small models that learn to read records with negations, of two kinds: Llama (RMSNorm, SwiGLU, rotary) and GPT-2.

A model that answers rightly on unseen records is one whose evidence is known, so what is saved is refused below an
accuracy. Three things make training short, and change nothing in what decides an answer: every entry of a record is asked
for and answered in one pass; at every entry its value, after any negation, is asked for as well, because a value that is
turned round in 45 % of records teaches looking up hardly at all; embeddings of entries begin as the sum of their test's and
their value's.
"""

import random
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Int
from pydantic import Field, PositiveFloat, PositiveInt
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from analysis.ground_truth.negation import ASK, ENTRIES, WORDS, NegationConfig, Record, draw, test_of
from sae import artefact
from sae.config import Settings
from sae.errors import UserError

Kind = Literal["llama", "gpt2"]
SPECIALS = ("<pad>", "<s>", "</s>")
PAD_ID, BOS_ID, EOS_ID = range(3)
MARK = "accuracy.json"
"""Written last: a folder that holds it is complete."""
WARMUP_STEPS = 30
LEARNED = 0.1
"""Loss of the answers below which it is worth looking at the accuracy."""
ENOUGH = 0.995
"""Accuracy at which training ends."""
EMBEDDING_SCALE, WAVE_SCALE = 1.0, 0.1


class NegationModelConfig(Settings, frozen=True):
    """How a model of the task is trained."""

    kind: Kind = Field(default="llama", description="Architecture.")
    seed: int = Field(default=0, ge=0, description="Of weights and records.")
    d_model: PositiveInt = Field(default=96, description="Width of the residual stream.")
    n_layers: PositiveInt = Field(default=3, description="Layers.")
    n_steps: PositiveInt = Field(default=1500, description="Training steps, at most; it ends once it knows the task.")
    batch_records: PositiveInt = Field(default=64, description="Records of a step.")
    lr: PositiveFloat = Field(default=2e-3, description="Largest learning rate.")
    least_accuracy: float = Field(
        default=0.92, ge=0, le=1, description="On unseen records; below it the model is refused."
    )


class Lessons(NamedTuple):
    """Records with several answered questions."""

    token_ids: Int[Tensor, "batch position"]
    asked_at: Int[Tensor, "n_questions"]
    """Positions whose next token is an answer."""
    entry_at: Int[Tensor, "n_entries"]
    """Positions of the entries."""
    values: Int[Tensor, "batch n_entries"]
    """What each entry says, after any negation."""


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per word, `<s>` in front of every text."""
    words = {word: number for number, word in enumerate((*SPECIALS, *WORDS))}
    backend = Tokenizer(models.WordLevel(words, unk_token=SPECIALS[PAD_ID]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    backend.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS_ID)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")  # noqa: S106


def new_model(cfg: NegationModelConfig) -> Any:
    """An untrained model of the kind."""
    n_words = len(SPECIALS) + len(WORDS)
    ids = {"bos_token_id": BOS_ID, "eos_token_id": EOS_ID, "pad_token_id": PAD_ID}
    torch.manual_seed(cfg.seed)
    if cfg.kind == "gpt2":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=n_words, n_embd=cfg.d_model, n_layer=cfg.n_layers, n_head=4, n_positions=64, resid_pdrop=0.0,
                embd_pdrop=0.0, attn_pdrop=0.0, tie_word_embeddings=False, **ids,
            )
        )  # fmt: skip
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=n_words, hidden_size=cfg.d_model, intermediate_size=256, num_hidden_layers=cfg.n_layers,
            num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=64, tie_word_embeddings=False, **ids,
        )
    )  # fmt: skip


def value_of(record: Record, number: int) -> str:
    """An entry's value, after any negation."""
    return record._replace(asked=number).answer


def answered(record: Record, asked: list[int]) -> list[str]:
    """A record's words with several questions and their answers."""
    found = record.words[: 2 * len(record.entries)]
    for number in asked:
        found += [ASK, test_of(record.entries[number]), value_of(record, number)]
    return found


def lessons(rng: random.Random, n_records: int, n_questions: int, task: NegationConfig) -> Lessons:
    """A batch of records with questions and answers."""
    ids = {word: number + len(SPECIALS) for number, word in enumerate(WORDS)}
    rows, values = [], []
    for _ in range(n_records):
        record, asked = draw(rng, task), rng.sample(range(task.n_entries), n_questions)
        rows.append([BOS_ID, *(ids[word] for word in answered(record, asked))])
        values.append([ids[value_of(record, number)] for number in range(task.n_entries)])
    end = 1 + 2 * task.n_entries
    return Lessons(
        torch.tensor(rows), torch.arange(end + 1, len(rows[0]), 3), torch.arange(2, end, 2), torch.tensor(values)
    )


def loss_of(model: Any, batch: Lessons) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answers, and of the entries' values."""
    logits = model(input_ids=batch.token_ids).logits
    answers = logits[:, batch.asked_at].flatten(0, 1), batch.token_ids[:, batch.asked_at + 1].flatten()
    values = logits[:, batch.entry_at].flatten(0, 1), batch.values.flatten()
    return torch.nn.functional.cross_entropy(*answers), torch.nn.functional.cross_entropy(*values)


@torch.no_grad()
def accuracy(model: Any, seed: int, task: NegationConfig, n_records: int = 1000) -> float:
    """Share of unseen records whose question is answered rightly, over the whole vocabulary."""
    rng = random.Random(f"unseen:{seed}")  # noqa: S311 (nothing here is secret)
    batch = lessons(rng, n_records, 1, task)
    logits = model(input_ids=batch.token_ids[:, :-1]).logits[:, -1]
    return float((logits.argmax(-1) == batch.token_ids[:, -1]).float().mean())


def fit(model: Any, cfg: NegationModelConfig, task: NegationConfig) -> float:
    """Trains until the task is known or the steps are over; the accuracy on unseen records."""
    rng = random.Random(f"lessons:{cfg.seed}")  # noqa: S311 (nothing here is secret)
    optimiser = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=0.01, betas=(0.9, 0.98))
    warmup = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / WARMUP_STEPS, total_iters=WARMUP_STEPS)
    for step in range(cfg.n_steps):
        optimiser.zero_grad()
        answers, values = loss_of(model, lessons(rng, cfg.batch_records, task.n_entries, task))
        (answers + values).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        warmup.step()
        if step % 25 == 24 and answers.item() < LEARNED and accuracy(model, cfg.seed, task) >= ENOUGH:
            break
    return accuracy(model, cfg.seed, task)


@torch.no_grad()
def compose(model: Any) -> None:
    """Lets every entry's embedding begin as the sum of its parts', and GPT-2's positions as waves.

    Source: sinusoidal positions, Vaswani et al. 2017, arXiv:1706.03762.
    """
    embedding = model.get_input_embeddings().weight
    embedding *= EMBEDDING_SCALE
    ids = {word: number + len(SPECIALS) for number, word in enumerate(WORDS)}
    for entry in ENTRIES:
        test, value = entry.split("=")
        embedding[ids[entry]] = embedding[ids[test]] + embedding[ids[value]]
    if isinstance(model, GPT2LMHeadModel):
        n_positions, width = model.transformer.wpe.weight.shape
        angle = torch.arange(n_positions)[:, None] / 100.0 ** (torch.arange(width // 2) / (width // 2))
        model.transformer.wpe.weight.copy_(torch.cat([angle.sin(), angle.cos()], dim=1) * WAVE_SCALE)


def train(folder: Path, cfg: NegationModelConfig | None = None, task: NegationConfig | None = None) -> Path:
    """A folder with a trained model, made unless it is there.

    Args:
        folder: Where models of the task are kept; each has a folder of its own below it, named by its settings.
        cfg: Architecture, seed and training.
        task: The records.

    Raises:
        UserError: It did not learn the task well enough to be a ground truth.
    """
    cfg, task = cfg or NegationModelConfig(), task or NegationConfig()
    settings = artefact.content_hash(cfg.model_dump(mode="json"), task.model_dump(mode="json"))
    place = folder / f"negation-{cfg.kind}-{cfg.seed}-{settings}"
    if (place / MARK).is_file():
        return place
    with torch.random.fork_rng():
        model = new_model(cfg)
        compose(model)
        found = fit(model, cfg, task)
    if found < cfg.least_accuracy:
        raise UserError(
            f"The {cfg.kind} model of seed {cfg.seed} answers {100 * found:.1f} % of unseen records rightly, expected "
            f"{100 * cfg.least_accuracy:.0f} %. Raise n_steps, or choose another seed."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".part") as temporary:
        inner = Path(temporary) / "model"
        model.eval().save_pretrained(inner)
        tokenizer().save_pretrained(inner)
        artefact.write_json(inner / MARK, {"accuracy": found, "settings": cfg.model_dump(mode="json")})
        inner.rename(place)
    return place
