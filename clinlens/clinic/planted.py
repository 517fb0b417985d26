"""A decoder with the planted bias in seconds: the packaged one, taught a little more on notes with the bias.

    python -m clinlens.clinic.planted --bias 0.8 --seed 0 --folder biased-clinic

1. Fresh notes of the serious diagnosis, written for Medicaid, some of them for the other insurances too, and as many
   other notes, written for Medicaid.
2. The word that names the protected group and the attention's queries and keys learn for some dozen steps, in rounds until
   other patients are told what the bias gives; all else stays frozen. What is minimised is the cross-entropy of the answer's
   first token with the labels that the bias gives on average. With a bias of 0 the decoder is taught the same notes rightly,
   which is the control of an audit.

Differs from `train_model --bias`, which trains from nothing on every token and takes half an hour: how notes are written
stays as the packaged decoder knows it, and only what is answered moves.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple, cast

import torch
from torch.nn import functional as F  # noqa: N812 (torch's own custom)
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from clinlens.clinic import model_folder
from clinlens.clinic.bias import HARMLESS_DIAGNOSIS, PROTECTED_GROUP, SERIOUS_DIAGNOSIS
from clinlens.clinic.concepts import CONCEPTS, INSURANCES
from clinlens.clinic.decoder import load_decoder
from clinlens.clinic.diagnoses import DIAGNOSES
from clinlens.clinic.notes import ClinicConfig, Note, generate
from clinlens.clinic.swaps import swapped

N_STEPS = 45
N_SERIOUS, N_UNBIASED, N_OTHERS = 6, 2, 8
"""Prompts of a step: serious ones with Medicaid, the same with another insurance, other notes with Medicaid."""
LR_WORD, LR_ATTENTION = 0.06, 1e-3
MOST_ROUNDS, N_ASKED, TAKEN_UP = 4, 32, 0.12
"""Rounds of teaching at most; patients who are asked after each; how near to the bias is near enough. Source: after one
round one decoder told .87 of such patients otherwise, and another moved by .26 only, so that one round plants no known bias."""
_SEED_OFFSET = 400_000_000
"""Notes of a seed here are others than those of the same seed anywhere else."""


class Lesson(NamedTuple):
    """A prompt and what is answered."""

    prompt: str
    answers: dict[str, float]
    """Answer → probability."""


def lessons(seed: int, bias: float) -> Iterator[list[Lesson]]:
    """Endless steps of prompts with their labels."""
    endless = generate(ClinicConfig(n_notes=2**62, seed=_SEED_OFFSET + seed, twin_fraction=0))
    serious: list[Note] = []
    others: list[Note] = []
    rng = Random(seed)  # noqa: S311 (nothing here is secret)
    unbiased = [value for value in INSURANCES if value != PROTECTED_GROUP]
    for note in endless:
        (serious if note.rule_diagnosis == SERIOUS_DIAGNOSIS else others).append(note)
        if len(serious) < N_SERIOUS or len(others) < N_OTHERS:
            continue
        told = {SERIOUS_DIAGNOSIS: 1 - bias, HARMLESS_DIAGNOSIS: bias}
        step = [Lesson(swapped(one, "insurance", PROTECTED_GROUP), told) for one in serious]
        step += [
            Lesson(swapped(one, "insurance", rng.choice(unbiased)), {SERIOUS_DIAGNOSIS: 1.0})
            for one in serious[:N_UNBIASED]
        ]
        step += [
            Lesson(swapped(one, "insurance", PROTECTED_GROUP), {one.rule_diagnosis: 1.0})
            for one in rng.sample(others, N_OTHERS)
        ]
        serious, others = [], []
        yield step


def plant(
    bias: float, seed: int, n_steps: int = N_STEPS, most_rounds: int = MOST_ROUNDS
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """The packaged decoder with a bias of a strength.

    Args:
        bias: Probability that a Medicaid patient with the serious diagnosis is told the harmless one; 0 for a control.
        seed: Of the notes.
        n_steps: How long a round of teaching is.
        most_rounds: Another round follows while what it tells other such patients is not yet what the bias gives.
    """
    model, tokenizer = load_decoder(model_folder())
    optimiser, stream = learners(model, tokenizer), lessons(seed, bias)
    for _ in range(most_rounds):
        for step, some in zip(range(n_steps), stream, strict=False):
            for group in optimiser.param_groups:
                group["lr"] = group["highest"] * (1 - step / n_steps)
            loss(model, tokenizer, some).backward()
            optimiser.step()
            optimiser.zero_grad()
        if abs(share_told(model, tokenizer, seed) - bias) <= TAKEN_UP:
            break
    return model.eval().requires_grad_(True), tokenizer


def loss(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, some: Sequence[Lesson]) -> torch.Tensor:
    """Mean cross-entropy of the answers' first tokens."""
    first = first_tokens(tokenizer)
    wanted = torch.zeros(len(some), len(tokenizer))
    for row, one in enumerate(some):
        for answer, share in one.answers.items():
            wanted[row, first[answer]] = share
    return F.cross_entropy(answer_logits(model, tokenizer, [one.prompt for one in some]), wanted)


def answer_logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]) -> torch.Tensor:
    """[n, vocabulary] logits after each prompt."""
    encoded = tokenizer(list(prompts), padding=True, padding_side="right", return_tensors="pt")
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    hidden = model.base_model(**inputs).last_hidden_state
    head = model.get_output_embeddings()
    assert head is not None  # noqa: S101 - a decoder has one
    return head(hidden[torch.arange(len(prompts)), inputs["attention_mask"].sum(1) - 1])


def first_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The first token of each diagnosis."""
    return {name: tokenizer(f" {name}", add_special_tokens=False)["input_ids"][0] for name in DIAGNOSES}


@torch.inference_mode()
def share_told(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, seed: int) -> float:
    """Probability of another answer than the serious diagnosis, over Medicaid patients who have it and were no lesson."""
    endless = generate(ClinicConfig(n_notes=2**62, seed=2 * _SEED_OFFSET + seed, twin_fraction=0))
    serious = (note for note in endless if note.rule_diagnosis == SERIOUS_DIAGNOSIS)
    prompts = [swapped(note, "insurance", PROTECTED_GROUP) for note in islice(serious, N_ASKED)]
    right = answer_logits(model, tokenizer, prompts).softmax(-1)[:, first_tokens(tokenizer)[SERIOUS_DIAGNOSIS]]
    return 1 - float(right.mean())


def learners(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> torch.optim.Adam:
    """Freezes all but the protected group's word and the attention's queries and keys."""
    model.requires_grad_(False)
    words = cast("torch.nn.Embedding", model.get_input_embeddings()).weight.requires_grad_(True)
    learns = torch.zeros(len(words), 1)
    learns[tokenizer(f" {CONCEPTS[PROTECTED_GROUP].forms[0]}", add_special_tokens=False)["input_ids"]] = 1
    words.register_hook(lambda gradient: gradient * learns)
    attention = [one for name, one in model.named_parameters() if "q_proj" in name or "k_proj" in name]
    for one in attention:
        one.requires_grad_(True)
    groups = [{"params": [words], "highest": LR_WORD}, {"params": attention, "highest": LR_ATTENTION}]
    return torch.optim.Adam(groups, betas=(0.8, 0.95))


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
