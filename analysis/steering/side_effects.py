"""What changes cost where nobody asked for them: ordinary text gets less likely, unrelated answers move."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analysis.faithfulness.intervals import Mean, mean
from analysis.steering.answers import Question, answers, divergence
from analysis.steering.steering import Steering
from hooks.windows import Batch

DRAWS = 2000


class Reading(NamedTuple):
    """How the model read held-out windows, one entry per window."""

    surprise: Float[np.ndarray, "windows"]
    """Sum of −log p of the tokens that came, in nats."""
    n_tokens: Float[np.ndarray, "windows"]
    divergence: Float[np.ndarray, "windows"]
    """Sum over positions of KL(clean ‖ changed)."""

    @property
    def perplexity(self) -> float:
        """exp of the mean surprise of a token."""
        return float(np.exp(self.surprise.sum() / self.n_tokens.sum()))


class SideEffects(NamedTuple):
    """What some changes cost."""

    perplexity: Mean
    """Of held-out text under the changed model, the interval over windows."""
    clean_perplexity: float
    kl_held_out: Mean
    """Per token of held-out text, in nats."""
    kl_unrelated: Mean
    """Of the next token after unrelated prompts, in nats."""
    changed_unrelated: Mean
    """Share of unrelated prompts after which another token is the likeliest."""

    @property
    def ratio(self) -> float:
        """Perplexity against the clean model's."""
        return self.perplexity.value / self.clean_perplexity

    def record(self) -> dict[str, Any]:
        """As JSON."""
        figures = {name: value.record() for name, value in self._asdict().items() if isinstance(value, Mean)}
        return figures | {"clean_perplexity": self.clean_perplexity, "perplexity_ratio": self.ratio}


def side_effects(
    doses: Sequence[Steering], windows: Sequence[Batch], unrelated: Sequence[Question], seed: int = 0
) -> tuple[SideEffects, ...]:
    """Measures changes on held-out windows and on unrelated prompts.

    Args:
        doses: The changes of each strength, of one model; the clean one reads only once for all.
        windows: Held-out text, as it was captured.
        unrelated: Prompts whose answers should stay.
        seed: Of the resamples.
    """
    clean, *readings = read([doses[0].clean, *doses], windows)
    before = answers(doses[0].clean, unrelated).next_token
    return tuple(
        compared(reading, clean, before, answers(steering, unrelated).next_token, seed)
        for reading, steering in zip(readings, doses, strict=True)
    )


def compared(
    reading: Reading, clean: Reading, before: Float[Tensor, "prompts vocabulary"],
    after: Float[Tensor, "prompts vocabulary"], seed: int,
) -> SideEffects:  # fmt: skip
    """The figures of one strength, with intervals over windows and prompts."""
    n_windows = len(reading.surprise)
    draws = np.random.default_rng(seed).integers(0, n_windows, (DRAWS, n_windows))

    def per_token(sums: Float[np.ndarray, "windows"]) -> Mean:
        low, high = np.quantile(sums[draws].sum(1) / reading.n_tokens[draws].sum(1), [0.025, 0.975])
        return Mean(float(sums.sum() / reading.n_tokens.sum()), float(low), float(high), n_windows)

    surprise = per_token(reading.surprise)
    moved = (before.argmax(-1) != after.argmax(-1)).numpy().astype(float)
    return SideEffects(
        Mean(float(np.exp(surprise.value)), float(np.exp(surprise.low)), float(np.exp(surprise.high)), n_windows),
        clean.perplexity,
        per_token(reading.divergence),
        mean(divergence(before, after).numpy(), seed),
        mean(moved, seed),
    )


@torch.inference_mode()
def read(doses: Sequence[Steering], windows: Sequence[Batch]) -> list[Reading]:
    """Reads windows under each of several changes, the first of which the others are compared with."""
    parts: list[list[list[Tensor]]] = [[[], [], []] for _ in doses]
    for batch in windows:
        is_free = batch.attention_mask.bool() & ~batch.is_special
        has_next = (batch.is_row & ~batch.is_special)[:, :-1] & batch.attention_mask[:, 1:].bool()
        first: Tensor | None = None
        for steering, (surprise, n_tokens, moved) in zip(doses, parts, strict=True):
            log_probs = steering.logits(*batch.inputs, is_free)[:, :-1].float().log_softmax(-1).cpu()
            first = log_probs if first is None else first
            chosen = log_probs.gather(-1, batch.input_ids[:, 1:, None])[..., 0]
            surprise.append(-(chosen.double() * has_next).sum(1))
            n_tokens.append(has_next.sum(1).double())
            moved.append((divergence(first, log_probs).double() * has_next).sum(1))
    found = [[torch.cat(one).numpy() for one in columns] for columns in parts]
    kept = found[0][1] > 0
    return [Reading(*(one[kept] for one in columns)) for columns in found]
