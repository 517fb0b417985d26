"""The clinic's decoder in use: its shape, notes as padded batches, and what it answers after `Diagnosis:`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from clinlens.clinic.notes import Note
from clinlens.clinic.vocabulary import BOS_ID, EOS, EOS_ID, N_POSITIONS, PAD_ID


class Batch(NamedTuple):
    """Notes of similar length, padded on the right."""

    notes: list[Note]
    """As many as there are rows."""
    token_ids: Tensor
    """`[n_notes, n_tokens]`"""
    mask: Tensor
    """`[n_notes, n_tokens]`, False on padding."""
    answer_start: Tensor
    """`[n_notes]`, position of the first token of the diagnosis."""
    answer_end: Tensor
    """`[n_notes]`, position of the line break after the diagnosis."""


def new_decoder(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained decoder of the Llama kind: 4 layers, d_model 128, tied embeddings, about a million parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=N_POSITIONS,
            tie_word_embeddings=True,
            bos_token_id=BOS_ID,
            eos_token_id=EOS_ID,
            pad_token_id=PAD_ID,
        )
    )


def load_decoder(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Loads a decoder and its tokenizer from a local folder, without a network.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no model folder at {folder}. Give a folder that holds config.json and model.safetensors."
        )
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def batches(
    notes: Sequence[Note],
    tokenizer: PreTrainedTokenizerFast,
    batch_notes: int,
    generator: torch.Generator | None = None,
) -> Iterator[Batch]:
    """Sorts notes by length and pads them in batches; with a generator the batches come in random order."""
    encoded = tokenizer([note.text + EOS for note in notes])
    rows: list[list[int]] = encoded["input_ids"]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # a note and its twin mostly land in one batch
    chunks = [order[i : i + batch_notes] for i in range(0, len(order), batch_notes)]
    turns = torch.randperm(len(chunks), generator=generator).tolist() if generator else range(len(chunks))
    for turn in turns:
        chosen = chunks[turn]
        token_ids = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(rows[i]) for i in chosen], batch_first=True, padding_value=PAD_ID
        )
        yield Batch(
            notes=[notes[i] for i in chosen],
            token_ids=token_ids,
            mask=torch.arange(token_ids.shape[1]) < torch.tensor([[len(rows[i])] for i in chosen]),
            answer_start=torch.tensor([encoded.char_to_token(i, notes[i].answer[0]) for i in chosen]),
            answer_end=torch.tensor([encoded.char_to_token(i, notes[i].answer[1]) for i in chosen]),
        )


@torch.inference_mode()
def greedy_is_right(model: PreTrainedModel, batch: Batch) -> list[bool]:
    """Whether greedy decoding right after `Diagnosis:` writes each note's diagnosis and then the line break.

    One pass over the whole note tells: greedy decoding gives exactly the answer if and only if every token of it is
    the most likely one after the true tokens before it.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise ValueError(f"{type(model).__name__} has no language-model head, so it answers nothing. Give a decoder.")
    last = int(batch.answer_end.max())
    hidden = model.base_model(
        input_ids=batch.token_ids[:, : last + 1], attention_mask=batch.mask[:, : last + 1].long()
    ).last_hidden_state
    n_after_first = batch.answer_end - batch.answer_start
    steps = torch.arange(int(n_after_first.max()) + 1)
    positions = (batch.answer_start[:, None] + steps).clamp(max=last)
    rows = torch.arange(len(batch.notes))[:, None]
    logits = head(hidden[rows, positions - 1])  # logits elsewhere would be thrown away
    is_top = logits.argmax(-1) == batch.token_ids[rows, positions]
    return (is_top | (steps > n_after_first[:, None])).all(-1).tolist()


__all__ = ["Batch", "batches", "greedy_is_right", "load_decoder", "new_decoder"]
