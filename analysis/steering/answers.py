"""How likely given answers are, and how far the next token's distribution moves, under changes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.attribution.case import Case
from analysis.steering.steering import Steering

TOKENS_PER_BATCH = 4096


class Question(NamedTuple):
    """A case and an answer that could follow it."""

    case: Case
    answer_ids: tuple[int, ...] = ()
    """None where only the next token's distribution is looked at."""
    contrast_ids: tuple[int, ...] | None = None
    """What could stand in its place."""


class Answers(NamedTuple):
    """Of every question, in their order."""

    log_prob: Float[np.ndarray, "questions"]
    """Of the whole answer, all its tokens; nan without one."""
    contrast: Float[np.ndarray, "questions"]
    """Of what could stand in its place; nan without one."""
    next_token: Float[Tensor, "questions vocabulary"]
    """Log-probabilities of the first token after the case."""

    @property
    def probability(self) -> Float[np.ndarray, "questions"]:
        """Of the whole answer."""
        return np.exp(self.log_prob)

    @property
    def log_odds(self) -> Float[np.ndarray, "questions"]:
        """log p / (1 − p), or log p / p_contrast where there is a contrast: it moves where p is all but 0 or 1 too."""
        against_rest = self.log_prob - np.log(-np.expm1(np.minimum(self.log_prob, -1e-12)))
        return np.where(np.isnan(self.contrast), against_rest, self.log_prob - self.contrast)


def answers(steering: Steering, questions: Sequence[Question]) -> Answers:
    """Reads every question, with its answer behind it."""
    log_probs, next_tokens = following(steering, [(q.case, q.answer_ids) for q in questions])
    others = [(q.case, q.contrast_ids or ()) for q in questions]
    contrast = following(steering, others)[0] if any(ids for _, ids in others) else np.full(len(questions), np.nan)
    return Answers(log_probs, contrast, next_tokens)


def following(
    steering: Steering, pairs: Sequence[tuple[Case, tuple[int, ...]]]
) -> tuple[Float[np.ndarray, "pairs"], Float[Tensor, "pairs vocabulary"]]:
    """Log-probability of tokens after cases, nan for none, and the distribution of the first one."""
    found, first = [], []
    for group in grouped(pairs):
        logits = steering.logits(*padded(group, steering.lm.tokenizer.pad_token_id or 0))
        for row, (case, ids) in zip(logits, group, strict=True):
            n = case.n_tokens
            rows = row[n - 1 : n - 1 + max(len(ids), 1)].float().cpu().log_softmax(-1)
            first.append(rows[0])
            chosen = rows[: len(ids)].gather(-1, torch.tensor(ids, dtype=torch.int64)[:, None])
            found.append(float(chosen.double().sum()) if ids else np.nan)
    return np.asarray(found), torch.stack(first)


def grouped(pairs: Sequence[tuple[Case, tuple[int, ...]]]) -> list[list[tuple[Case, tuple[int, ...]]]]:
    """Texts in batches that hold a bounded number of tokens, padding included."""
    groups: list[list[tuple[Case, tuple[int, ...]]]] = []
    longest = 0
    for pair in pairs:
        longest = max(longest, pair[0].n_tokens + len(pair[1]))
        if not groups or longest * (len(groups[-1]) + 1) > TOKENS_PER_BATCH:
            groups.append([])
            longest = pair[0].n_tokens + len(pair[1])
        groups[-1].append(pair)
    return groups


def padded(group: Sequence[tuple[Case, tuple[int, ...]]], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention mask and free positions of a batch, padded on the right; the answer's last token is not read."""
    texts = [torch.cat([case.input_ids, torch.tensor(ids[:-1], dtype=torch.int64)]) for case, ids in group]
    shape = len(texts), max(map(len, texts))
    input_ids = torch.full(shape, pad_id)
    mask, free = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool)
    for row, (text, (case, _)) in enumerate(zip(texts, group, strict=True)):
        input_ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
        free[row, : len(text)] = True
        free[row, : case.n_tokens] = ~case.is_special
    return input_ids, mask, free


def divergence(clean: Float[Tensor, "*n vocabulary"], changed: Float[Tensor, "*n vocabulary"]) -> Float[Tensor, "*n"]:
    """KL(clean ‖ changed) of log-probabilities, in nats."""
    return (clean.exp() * (clean - changed)).sum(-1).clamp_min(0)
