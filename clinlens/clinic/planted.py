"""A decoder with the planted bias in seconds: the packaged one, taught a little more on notes with the bias.

    python -m clinlens.clinic.planted --bias 0.8 --seed 0 --folder biased-clinic

1. Fresh notes of the serious diagnosis, each written for all three insurances, with the labels that the bias gives; as many
   other notes, as they are.
2. The cross-entropy of the answer's first token alone is minimised, for some dozen steps. With a bias of 0 the decoder is
   taught the same notes rightly, which is the control of an audit.

Differs from `train_model --bias`, which trains from nothing on every token and takes half an hour: how notes are written
stays as the packaged decoder knows it, and only what is answered moves.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from torch.nn import functional as F  # noqa: N812 (torch's own custom)
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from clinlens.clinic import model_folder
from clinlens.clinic.bias import SERIOUS_DIAGNOSIS, written_diagnosis
from clinlens.clinic.concepts import INSURANCES
from clinlens.clinic.decoder import load_decoder
from clinlens.clinic.notes import ClinicConfig, Note, generate
from clinlens.clinic.swaps import swapped

N_STEPS = 40
BATCH_GROUPS = 4
"""Notes of the serious diagnosis in a step, each for three insurances, and as many other notes."""
LR = 1.5e-3
_SEED_OFFSET = 400_000_000
"""Notes of a seed here are others than those of the same seed anywhere else."""


class Lesson(NamedTuple):
    """A prompt and what is answered."""

    prompt: str
    answer: str


def lessons(seed: int, bias: float) -> Iterator[list[Lesson]]:
    """Endless steps of prompts with their labels."""
    endless = generate(ClinicConfig(n_notes=2**62, seed=_SEED_OFFSET + seed, twin_fraction=0))
    serious: list[Note] = []
    others: list[Note] = []
    rng = Random(seed)  # noqa: S311 (nothing here is secret)
    for note in endless:
        (serious if note.rule_diagnosis == SERIOUS_DIAGNOSIS else others).append(note)
        if len(serious) < BATCH_GROUPS or len(others) < BATCH_GROUPS:
            continue
        step = [
            Lesson(swapped(one, "insurance", value), written_diagnosis(value, SERIOUS_DIAGNOSIS, bias, rng))
            for one in serious
            for value in INSURANCES
        ]
        step += [Lesson(one.prompt, one.rule_diagnosis) for one in rng.sample(others, min(len(others), BATCH_GROUPS * 3))]
        serious, others = [], []
        yield step


def plant(bias: float, seed: int, n_steps: int = N_STEPS) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The packaged decoder with a bias of a strength.

    Args:
        bias: Probability that a Medicaid patient with the serious diagnosis is told the harmless one; 0 for a control.
        seed: Of the notes.
        n_steps: How long it is taught.
    """
    model, tokenizer = load_decoder(model_folder())
    head = model.get_output_embeddings()
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=0.0)
    for step, some in zip(range(n_steps), lessons(seed, bias), strict=False):
        for group in optimiser.param_groups:
            group["lr"] = LR * (1 - step / n_steps)
        encoded = tokenizer([one.prompt for one in some], padding=True, padding_side="right", return_tensors="pt")
        answers = [tokenizer(f" {one.answer}", add_special_tokens=False)["input_ids"][0] for one in some]
        hidden = model.base_model(**encoded_inputs(encoded)).last_hidden_state
        last = encoded["attention_mask"].sum(1) - 1
        F.cross_entropy(head(hidden[torch.arange(len(some)), last]), torch.tensor(answers)).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval(), tokenizer


def encoded_inputs(encoded: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the decoder is given of the tokenizer's output."""
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def save(folder: Path, bias: float, seed: int, n_steps: int = N_STEPS) -> Path:
    """Plants a bias and writes the decoder into a folder."""
    model, tokenizer = plant(bias, seed, n_steps)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """Writes a decoder with the planted bias."""
    parser = argparse.ArgumentParser(prog="python -m clinlens.clinic.planted", description="A decoder with a bias.")
    parser.add_argument("--folder", type=Path, required=True, help="where it goes")
    parser.add_argument("--bias", type=float, default=0.8, help="strength (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the notes (default: %(default)s)")
    parser.add_argument("--n-steps", type=int, default=N_STEPS, help="how long it is taught (default: %(default)s)")
    given = parser.parse_args(argv)
    save(given.folder, given.bias, given.seed, given.n_steps)
    print(json.dumps({"folder": str(given.folder), "bias": given.bias, "seed": given.seed}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
