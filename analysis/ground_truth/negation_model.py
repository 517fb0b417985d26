"""Small models that learn to read records with negations.

Four things make training short, and change nothing in what decides an answer: every entry of a record is asked for and
answered in one pass; looking up is learned before negation, which comes in slowly; the first layer is asked for every entry's
value, after any negation, because a value that is turned round in 45 % of records teaches looking up hardly at all; embeddings
of entries begin as the sum of their test's and their value's.
"""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import GPT2LMHeadModel

from analysis.ground_truth.negation import ASK, ENTRIES, WORDS, NegationConfig, Record, draw, test_of
from analysis.ground_truth.small_model import BOS_ID, SmallModelConfig, kept, optimiser_of, word_ids
from sae import artefact

SMOOTHING = 0.05
"""Source: measured; without it log-odds reach 20, and replacing a word that decides nothing moves them by 15."""
LEARNED = 0.5
"""Loss of the answers, smoothing included, below which negations begin, and it is worth looking at the accuracy."""
RAMP_STEPS = 100
"""Over which negations become as frequent as in the task. Source: measured; all at once, looking up is unlearned."""
ENOUGH = 0.98
"""Accuracy at which training ends."""
WAVE_SCALE = 0.1
BIAS_SCALE = 0.5
"""Of the attention's biases at the start, in the Llama kind. Source: docs/log.md; without biases it stays at 64 to 75 %."""


class Lessons(NamedTuple):
    """Records with several answered questions."""

    token_ids: Int[Tensor, "batch position"]
    asked_at: Int[Tensor, "n_questions"]
    """Positions whose next token is an answer."""
    entry_at: Int[Tensor, "n_entries"]
    """Positions of the entries."""
    values: Int[Tensor, "batch n_entries"]
    """What each entry says, after any negation."""


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
    ids = word_ids(WORDS)
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
    """Cross-entropy of the answers, and of the entries' values as the first layer leaves them.

    There, because later layers can look up only what is known before them. Answers are smoothed: a model that may be as sure
    as it likes is so to very different degrees, and its log-odds then hang on words that decide nothing.
    """
    found = model.base_model(input_ids=batch.token_ids, output_hidden_states=True)
    head, norm = model.get_output_embeddings(), final_norm(model)
    answers = head(found.last_hidden_state[:, batch.asked_at]).flatten(0, 1)
    values = head(norm(found.hidden_states[1][:, batch.entry_at])).flatten(0, 1)
    wanted = batch.token_ids[:, batch.asked_at + 1].flatten()
    return cross_entropy(answers, wanted, label_smoothing=SMOOTHING), cross_entropy(values, batch.values.flatten())


def final_norm(model: Any) -> torch.nn.Module:
    """The norm before the head."""
    return model.transformer.ln_f if isinstance(model, GPT2LMHeadModel) else model.model.norm


@torch.no_grad()
def accuracy(model: Any, seed: int, task: NegationConfig, n_records: int = 1000) -> float:
    """Share of unseen records whose question is answered rightly, over the whole vocabulary."""
    rng = random.Random(f"unseen:{seed}")  # noqa: S311 (nothing here is secret)
    batch = lessons(rng, n_records, 1, task)
    logits = model(input_ids=batch.token_ids[:, :-1]).logits[:, -1]
    return float((logits.argmax(-1) == batch.token_ids[:, -1]).float().mean())


def fit(model: Any, cfg: SmallModelConfig, task: NegationConfig, done: Callable[[int], None]) -> float:
    """Trains until the task is known or the steps are over, telling of each; the accuracy on unseen records."""
    rng = random.Random(f"lessons:{cfg.seed}")  # noqa: S311 (nothing here is secret)
    optimiser, warmup = optimiser_of(model, cfg)
    known_since: int | None = None
    for step in range(cfg.n_steps):
        ramp = 0.0 if known_since is None else min(1.0, (step - known_since) / RAMP_STEPS)
        at_hand = task.model_copy(update={"negated_share": ramp * task.negated_share})
        optimiser.zero_grad()
        answers, values = loss_of(model, lessons(rng, cfg.batch_records, task.n_entries, at_hand))
        (answers + values).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        warmup.step()
        done(1)
        if answers.item() < LEARNED and known_since is None:
            known_since = step
        if step % 25 == 24 and answers.item() < LEARNED and accuracy(model, cfg.seed, task) >= ENOUGH:
            break
    return accuracy(model, cfg.seed, task)


@torch.no_grad()
def compose(model: Any) -> None:
    """Lets every entry's embedding begin as the sum of its parts', and positions as what heads can tell apart.

    GPT-2's begin as waves; where they are rotations, the attention's biases begin at random, so that there are heads for this
    distance and that.

    Source: sinusoidal positions, Vaswani et al. 2017, arXiv:1706.03762.
    """
    embedding = model.get_input_embeddings().weight
    ids = word_ids(WORDS)
    for entry in ENTRIES:
        test, value = entry.split("=")
        embedding[ids[entry]] = embedding[ids[test]] + embedding[ids[value]]
    if isinstance(model, GPT2LMHeadModel):
        n_positions, width = model.transformer.wpe.weight.shape
        angle = torch.arange(n_positions)[:, None] / 100.0 ** (torch.arange(width // 2) / (width // 2))
        model.transformer.wpe.weight.copy_(torch.cat([angle.sin(), angle.cos()], dim=1) * WAVE_SCALE)
        return
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.normal_(0, BIAS_SCALE)


def silent(_n_steps: int) -> AbstractContextManager[Callable[[int], None]]:
    """Tells nobody."""
    return nullcontext(lambda _n: None)


def train(
    folder: Path,
    cfg: SmallModelConfig | None = None,
    task: NegationConfig | None = None,
    progress: Callable[[int], AbstractContextManager[Callable[[int], None]]] = silent,
) -> Path:
    """A folder with a trained model, made unless it is there.

    Args:
        folder: Where models of the task are kept; each has a folder of its own below it, named by its settings.
        cfg: Architecture, seed and training.
        task: The records.
        progress: Asked for something to tell of steps, so many at most, where it is made.

    Raises:
        UserError: It did not learn the task well enough to be a ground truth.
    """
    cfg, task = cfg or SmallModelConfig(), task or NegationConfig()
    settings = artefact.content_hash(cfg.model_dump(mode="json"), task.model_dump(mode="json", exclude={"n_donors"}))

    def fitted(model: Any) -> float:
        compose(model)
        with progress(cfg.n_steps) as done:
            return fit(model, cfg, task, done)

    return kept(folder / f"negation-{cfg.kind}-{cfg.seed}-{settings}", cfg, WORDS, fitted)
