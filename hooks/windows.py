"""From documents to what the model reads: windows of tokens that know where in which document they stand."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from hooks.config import CaptureConfig, CorpusConfig
from hooks.corpus import Document
from hooks.model import LanguageModel
from sae.errors import UserError


class Tokens(NamedTuple):
    """The rows of one document: all its windows, one after another."""

    document: int
    """Row number of the document in the corpus."""
    token_id: np.ndarray
    """[n] int32."""
    char_start: np.ndarray
    """[n] int32; where the token's text begins in the document, −1 for special tokens."""
    char_end: np.ndarray
    """[n] int32; where it ends."""
    is_special: np.ndarray
    """[n] bool; BOS, CLS, SEP and their kin."""


class Batch(NamedTuple):
    """Windows of like length, padded on the right."""

    input_ids: Int[Tensor, "batch position"]
    attention_mask: Int[Tensor, "batch position"]
    rows: list[slice]
    """For each window, its rows among the rows of the documents it was cut from."""


def tokenise(docs: list[Document], lm: LanguageModel, corpus: CorpusConfig, capture: CaptureConfig) -> list[Tokens]:
    """The tokens of every document that is long enough, cut into windows of at most `context_tokens`.

    Raises:
        UserError: The context is longer than the model's; documents are too short and not to be skipped.
    """
    if capture.context_tokens > lm.max_context_tokens:
        raise UserError(
            f"context_tokens={capture.context_tokens}, but the model {lm.name!r} reads at most {lm.max_context_tokens}. "
            "Lower capture.context_tokens."
        )
    prefix, suffix = special_frame(lm, capture)
    found, short = [], []
    for doc in docs:
        encoded = lm.tokenizer(doc.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        if len(encoded["input_ids"]) < corpus.min_tokens:
            short.append(doc.index)
            continue
        found.append(framed(doc.index, encoded, prefix, suffix, capture.context_tokens))
    if short and corpus.short_documents == "error":
        raise UserError(
            f"{len(short)} of {len(docs)} documents have fewer than {corpus.min_tokens} tokens (the first is row {short[0]}), "
            "expected text in each. Remove them, or set corpus.short_documents=skip."
        )
    if not found:
        raise UserError(
            f"All {len(docs)} documents have fewer than {corpus.min_tokens} tokens, expected text. Check corpus.text_column."
        )
    return found


def special_frame(lm: LanguageModel, capture: CaptureConfig) -> tuple[list[int], list[int]]:
    """Special tokens that stand before and after each window: CLS and SEP for encoders, BOS for decoders."""
    tokenizer = lm.tokenizer
    if lm.kind == "encoder":
        return first_known(tokenizer.cls_token_id, tokenizer.bos_token_id), first_known(
            tokenizer.sep_token_id, tokenizer.eos_token_id
        )
    has_bos = capture.prepend_bos and tokenizer.bos_token_id is not None
    return (first_known(tokenizer.bos_token_id) if has_bos else []), []


def first_known(*token_ids: int | None) -> list[int]:
    """The first token id that the tokenizer has; empty if none."""
    return [token_id for token_id in token_ids if token_id is not None][:1]


def framed(document: int, encoded: Any, prefix: list[int], suffix: list[int], context_tokens: int) -> Tokens:
    """Cuts a document's tokens into windows and puts the special tokens around each."""
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    room = context_tokens - len(prefix) - len(suffix)
    token_id: list[int] = []
    spans: list[tuple[int, int]] = []
    special: list[bool] = []
    for start in range(0, len(ids), room):
        piece = ids[start : start + room]
        token_id += [*prefix, *piece, *suffix]
        spans += [(-1, -1)] * len(prefix) + list(offsets[start : start + room]) + [(-1, -1)] * len(suffix)
        special += [True] * len(prefix) + [False] * len(piece) + [True] * len(suffix)
    chars = np.asarray(spans, dtype=np.int32).reshape(-1, 2)
    return Tokens(document, np.asarray(token_id, np.int32), chars[:, 0], chars[:, 1], np.asarray(special))


def windows(tokens: list[Tokens], context_tokens: int) -> list[tuple[np.ndarray, slice]]:
    """Every window's token ids with its rows, counted over all the documents given."""
    found, row = [], 0
    for doc in tokens:
        for start in range(0, len(doc.token_id), context_tokens):
            ids = doc.token_id[start : start + context_tokens]
            found.append((ids, slice(row + start, row + start + len(ids))))
        row += len(doc.token_id)
    return found


def batches(tokens: list[Tokens], context_tokens: int, batch_tokens: int, pad_id: int) -> Iterator[Batch]:
    """Windows sorted by length, in batches of at most `batch_tokens` tokens with padding.

    Source of the sorting: measured on clinical notes, 38 % of the tokens of a batch are text in order of arrival,
    over 90 % in order of length.
    """
    group: list[tuple[np.ndarray, slice]] = []
    for piece in sorted(windows(tokens, context_tokens), key=lambda piece: len(piece[0])):
        if group and (len(group) + 1) * len(piece[0]) > batch_tokens:
            yield padded(group, pad_id)
            group = []
        group.append(piece)
    if group:
        yield padded(group, pad_id)


def padded(group: list[tuple[np.ndarray, slice]], pad_id: int) -> Batch:
    """One batch, padding on the right: then positions count from each window's first token."""
    longest = max(len(ids) for ids, _ in group)
    input_ids = torch.full((len(group), longest), pad_id, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    for index, (ids, _) in enumerate(group):
        input_ids[index, : len(ids)] = torch.from_numpy(ids)
        attention_mask[index, : len(ids)] = 1
    return Batch(input_ids, attention_mask, [rows for _, rows in group])
