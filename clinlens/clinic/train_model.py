"""Trains the clinic's decoder: tokenizer, model, log and model card in one command.

    python -m clinlens.clinic.train_model [--folder FOLDER] [--n-steps N] …

1. A tokenizer is learned from notes of the training seed.
2. A small decoder of the Llama kind is trained on a stream of fresh notes, most of them in twin pairs: the ordinary
   language-model loss on every token, plus `answer_weight` times the loss on the first token of the diagnosis. That
   one token carries what there is to understand, and it would drown among a hundred others.
3. What it knows is measured on notes of another seed, whose texts are checked to be absent from the training stream.
4. The folder takes its name when it is complete; the model card is written last.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own custom)
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from clinlens.clinic.decoder import Batch, batches, load_decoder, new_decoder
from clinlens.clinic.knowledge import HELD_OUT, measure
from clinlens.clinic.model_card import write_card
from clinlens.clinic.notes import ClinicConfig, Note, generate
from clinlens.clinic.vocabulary import learn_tokenizer

_LOG_EVERY_STEPS = 20
_BATCHES_PER_CHUNK = 24  # notes are sorted by length within a chunk, so that little is padding
_TOKENIZER_NOTES = 4000


class ClinicTrainingConfig(BaseModel):
    """How the decoder is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=1000, ge=0, description="Seed of the notes, the weights and the order of the batches.")
    n_steps: int = Field(default=1500, ge=1, description="Number of optimiser steps.")
    batch_notes: int = Field(default=48, ge=1, description="Notes in one step.")
    twin_fraction: float = Field(
        default=0.6, ge=0, le=1, description="Expected share of notes that stand in a twin pair."
    )
    bias: float = Field(
        default=0.0, ge=0, le=1, description="Strength of the planted bias in the notes, see ClinicConfig."
    )
    vocab_size: int = Field(default=1280, ge=600, description="Tokens in the vocabulary.")
    lr: float = Field(default=4e-3, gt=0, description="Highest learning rate.")
    warmup_steps: int = Field(
        default=40, ge=0, description="Steps over which the learning rate rises; after that it falls as a cosine."
    )
    weight_decay: float = Field(default=0.05, ge=0, description="Decoupled weight decay of the weight matrices.")
    answer_weight: float = Field(
        default=1.0, ge=0, description="Weight of the loss on the diagnosis beside the language-model loss."
    )
    n_threads: int = Field(
        default=1, ge=1, description="CPU threads; with another number the weights differ in the last digits."
    )


class Losses(NamedTuple):
    """What one step minimises, and how often it was right."""

    lm: Tensor
    """Mean cross-entropy over all tokens."""
    answer: Tensor
    """Mean cross-entropy of the first token of the diagnosis."""
    accuracy: float
    """Share of notes whose diagnosis begins with the most likely token."""


def losses(model: LlamaForCausalLM, batch: Batch) -> Losses:
    """Both losses of a batch; padding stands to the right, so causal attention never sees it."""
    logits = model(input_ids=batch.token_ids).logits[:, :-1]
    targets = batch.token_ids[:, 1:]
    is_real = batch.mask[:, 1:]
    rows, before_answer = torch.arange(len(batch.notes)), batch.answer_start - 1
    answers, answer_logits = targets[rows, before_answer], logits[rows, before_answer]
    return Losses(
        lm=F.cross_entropy(logits[is_real], targets[is_real]),
        answer=F.cross_entropy(answer_logits, answers),
        accuracy=(answer_logits.argmax(-1) == answers).float().mean().item(),
    )


def digest(text: str) -> bytes:
    """Eight bytes that stand for a text."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def training_batches(
    cfg: ClinicTrainingConfig, tokenizer: PreTrainedTokenizerFast, seen: set[bytes]
) -> Iterator[Batch]:
    """Endless fresh notes in batches; the digest of every text is added to `seen`."""
    generator = torch.Generator().manual_seed(cfg.seed)
    endless = ClinicConfig(n_notes=sys.maxsize, seed=cfg.seed, twin_fraction=cfg.twin_fraction, bias=cfg.bias)
    stream = generate(endless)
    while True:
        chunk: list[Note] = list(islice(stream, cfg.batch_notes * _BATCHES_PER_CHUNK))
        seen.update(digest(note.text) for note in chunk)
        yield from batches(chunk, tokenizer, cfg.batch_notes, generator)


def _optimisers(model: LlamaForCausalLM, cfg: ClinicTrainingConfig) -> list[torch.optim.Optimizer]:
    """Muon for the weight matrices between the layers, AdamW for embeddings and norms.

    Source: Jordan et al., Muon: an optimizer for hidden layers in neural networks (2024); the learning rate is
    matched to AdamW's.
    """
    named = list(model.named_parameters())
    hidden = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in named if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(hidden, lr=cfg.lr, weight_decay=cfg.weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=cfg.lr, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def learning_rate(step: int, cfg: ClinicTrainingConfig) -> float:
    """Linear warm-up, then a cosine down to 2 % of the highest rate."""
    warm_up = min(1.0, (step + 1) / (cfg.warmup_steps + 1))
    return cfg.lr * warm_up * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / cfg.n_steps)))


def train(
    cfg: ClinicTrainingConfig, tokenizer: PreTrainedTokenizerFast, log_file: Path, seen: set[bytes]
) -> LlamaForCausalLM:
    """Trains the decoder and writes one log line every few steps."""
    torch.manual_seed(cfg.seed)
    model = new_decoder(tokenizer).train()
    optimisers = _optimisers(model, cfg)
    stream = training_batches(cfg, tokenizer, seen)
    recent: list[float] = []
    started = time.perf_counter()
    with log_file.open("w", encoding="utf-8") as log:
        for step in range(cfg.n_steps):
            lr = learning_rate(step, cfg)
            for group in (group for optimiser in optimisers for group in optimiser.param_groups):
                group["lr"] = lr
            result = losses(model, next(stream))
            (result.lm + cfg.answer_weight * result.answer).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad()
            recent.append(result.accuracy)
            if (step + 1) % _LOG_EVERY_STEPS == 0 or step + 1 == cfg.n_steps:
                line = {
                    "step": step + 1,
                    "lm_loss": round(result.lm.item(), 5),
                    "answer_loss": round(result.answer.item(), 5),
                    "answer_accuracy": round(sum(recent) / len(recent), 5),
                    "lr": lr,
                    "elapsed_s": round(time.perf_counter() - started, 1),
                }
                recent.clear()
                print(json.dumps(line), file=log, flush=True)
                print(json.dumps(line), file=sys.stderr, flush=True)
    return model.eval()


def _save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Saves the tokenizer under the class name that every release of transformers knows."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _options(cfg: ClinicTrainingConfig) -> str:
    """The command line that gives this config."""
    changed = {name: value for name, value in cfg if value != ClinicTrainingConfig.model_fields[name].default}
    return "".join(f" --{name.replace('_', '-')} {value}" for name, value in changed.items())


def _save(folder: Path, cfg: ClinicTrainingConfig) -> dict[str, Any]:
    """Trains into a folder, measures what was saved, and returns the figures, which also end the log."""
    folder.mkdir(parents=True)
    tokenizer_notes = generate(ClinicConfig(n_notes=_TOKENIZER_NOTES, seed=cfg.seed, twin_fraction=cfg.twin_fraction))
    tokenizer = learn_tokenizer((note.text for note in tokenizer_notes), cfg.vocab_size)
    _save_tokenizer(tokenizer, folder)
    seen: set[bytes] = set()
    started = time.perf_counter()
    model = train(cfg, tokenizer, folder / "training_log.jsonl", seen)
    duration_s = time.perf_counter() - started
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # written for the owner alone, but the package is for everybody
    held_out = list(generate(HELD_OUT))
    knowledge = measure(*load_decoder(folder), held_out)
    figures = {
        **knowledge.as_json(),
        "config": cfg.model_dump(),
        "held_out": HELD_OUT.model_dump(),
        "n_training_texts": len(seen),
        "n_held_out_texts_in_training": sum(digest(note.text) in seen for note in held_out),
        "n_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "duration_s": round(duration_s),
        "machine": f"{platform.machine()}, {cfg.n_threads} CPU thread(s)",
        "torch": torch.__version__,
        "weights_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
    }
    with (folder / "training_log.jsonl").open("a", encoding="utf-8") as log:
        print(json.dumps({"figures": figures}), file=log)
    return figures


def _replace(folder: Path, fresh: Path) -> None:
    """Gives a complete fresh folder the name of the old one."""
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains and saves the decoder."""
    parser = argparse.ArgumentParser(
        prog="python -m clinlens.clinic.train_model", description="Trains the clinic's decoder."
    )
    parser.add_argument(
        "--folder", type=Path, default=Path(__file__).resolve().parent / "model", help="where the model goes"
    )
    for name, field in ClinicTrainingConfig.model_fields.items():
        help_text = f"{field.description} (default: {field.default})"
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, default=field.default, help=help_text)
    given = vars(parser.parse_args(argv))
    folder: Path = given.pop("folder")
    try:
        cfg = ClinicTrainingConfig(**given)
    except ValidationError as error:
        problem = error.errors()[0]
        print(f"{'.'.join(map(str, problem['loc']))}={problem['input']}: {problem['msg']}.", file=sys.stderr)
        return 2
    if cfg.seed == HELD_OUT.seed:
        print(f"seed={cfg.seed} writes the notes that the model is tested on. Choose another seed.", file=sys.stderr)
        return 2
    if not hasattr(torch.optim, "Muon"):
        print(f"torch {torch.__version__} has no Muon optimiser. Install torch 2.9 or newer to train.", file=sys.stderr)
        return 2
    torch.set_num_threads(cfg.n_threads)
    fresh = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    figures = _save(fresh, cfg)
    write_card(fresh, figures, _options(cfg))
    _replace(folder, fresh)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
