"""What a decoder answers: the probability of each of a list of answers right after a prompt.

1. Each answer stands for its first token after the prompt, and probabilities are shared out among the answers alone.
2. Answers that begin with the same token share its probability by what the model says of their next tokens, which are
   read with the first before them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hooks import passage
from hooks.hook_points import HookPoint
from hooks.model import LanguageModel
from sae.errors import UserError

BATCH_TOKENS = 4096
_READ: ContextVar[Callable[[int], None]] = ContextVar("read", default=lambda _n: None)


@contextmanager
def counting(read: Callable[[int], None]) -> Iterator[None]:
    """While open, told how many texts each batch had that the model has read."""
    token = _READ.set(read)
    try:
        yield
    finally:
        _READ.reset(token)


class Prompts(NamedTuple):
    """Texts of like length as the model reads them, padded on the right."""

    rows: list[int]
    """Which texts."""
    input_ids: Tensor
    """[batch, position]."""
    attention_mask: Tensor
    """[batch, position]."""
    last: Tensor
    """[batch] position of the last token."""


def answer_probabilities(
    lm: LanguageModel, prompts: Sequence[str], answers: Sequence[str],
    edits: Mapping[HookPoint, passage.Edit] | None = None,
) -> np.ndarray:  # fmt: skip
    """[n_prompts, n_answers] probabilities of the answers, which sum to 1 for each prompt.

    Args:
        lm: A decoder.
        prompts: Each ends where the answer begins.
        answers: What could stand there; a space is put before each.
        edits: What happens at hook points on the way.

    Raises:
        UserError: The model is no decoder, or two answers read alike.
    """
    if lm.kind != "decoder":
        raise UserError(
            f"The model {lm.name!r} is of kind {lm.kind}, expected a decoder, which answers. Choose another."
        )
    ids = [answer_ids(lm, answer) for answer in answers]
    if len({tuple(one) for one in ids}) < len(ids):
        raise UserError("Two answers have the same tokens, expected different ones. Remove one of them.")
    encoded = [prompt_ids(lm, prompt) for prompt in prompts]
    log_probs = next_token(lm, encoded, [one[0] for one in ids], edits)
    shared = [i for i, one in enumerate(ids) if sum(other[0] == one[0] for other in ids) > 1]
    for i in shared:  # the chain rule, over the rest of the answer
        for step in range(1, len(ids[i])):
            longer = [row + ids[i][:step] for row in encoded]
            log_probs[:, i] += next_token(lm, longer, [ids[i][step]], edits)[:, 0]
    log_probs -= log_probs.max(axis=1, keepdims=True)
    found = np.exp(log_probs)
    return found / found.sum(axis=1, keepdims=True)


def next_token(
    lm: LanguageModel, encoded: Sequence[list[int]], wanted: Sequence[int],
    edits: Mapping[HookPoint, passage.Edit] | None = None,
) -> np.ndarray:  # fmt: skip
    """[n, n_wanted] log-probabilities of tokens after each text."""
    found = np.empty((len(encoded), len(wanted)))
    head = lm.model.get_output_embeddings()  # type: ignore[operator]
    with passage.edited(lm, dict(edits or {})), torch.inference_mode():
        for batch in padded(encoded, lm):
            hidden = lm.base(
                input_ids=batch.input_ids.to(lm.device),
                attention_mask=batch.attention_mask.to(lm.device),
                use_cache=False,
            ).last_hidden_state
            last = hidden[torch.arange(len(batch.rows)), batch.last.to(lm.device)]
            logits = capped(head(last).float(), lm)
            found[batch.rows] = logits.log_softmax(-1)[:, list(wanted)].cpu().numpy()
    return found


def capped(logits: Tensor, lm: LanguageModel) -> Tensor:
    """Logits as the model gives them. Source: Gemma 2's soft cap, cap · tanh(logits / cap)."""
    cap = getattr(lm.config, "final_logit_softcapping", None)
    return logits if not cap else cap * torch.tanh(logits / cap)


def padded(encoded: Sequence[Sequence[int]], lm: LanguageModel) -> Iterator[Prompts]:
    """Texts sorted by length, in batches."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * len(encoded[order[stop]]) <= BATCH_TOKENS:
            stop += 1
        rows = order[start:stop]
        width = len(encoded[rows[-1]])
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            ids[i, : len(encoded[row])] = torch.tensor(encoded[row])
            mask[i, : len(encoded[row])] = 1
        yield Prompts(rows, ids, mask, mask.sum(1) - 1)
        _READ.get()(len(rows))
        start = stop


def prompt_ids(lm: LanguageModel, prompt: str, most: int | None = None) -> list[int]:
    """A prompt's tokens, BOS before them where the model has one, cut after the first `most` if that is given.

    Raises:
        UserError: It is empty, or longer than the model reads.
    """
    ids: list[int] = lm.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
    bos = lm.tokenizer.bos_token_id
    found = ids if bos is None or ids[:1] == [bos] else [bos, *ids]
    found = found[:most]
    if not ids or len(found) > lm.max_context_tokens:
        raise UserError(
            f"A prompt has {len(found)} tokens, expected between 1 and {lm.max_context_tokens}, which {lm.name!r} reads. "
            "Shorten or remove it."
        )
    return found


def answer_ids(lm: LanguageModel, answer: str) -> list[int]:
    """An answer's tokens, with the space before it.

    Raises:
        UserError: It has none.
    """
    ids: list[int] = lm.tokenizer(f" {answer.strip()}", add_special_tokens=False)["input_ids"]
    if not ids:
        raise UserError("An answer has no token, expected words. Remove it.")
    return ids
