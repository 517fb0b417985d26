"""What changes cost where nobody asked for them: ordinary text gets less likely, unrelated answers move."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

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
    steering: Steering, windows: Sequence[Batch], unrelated: Sequence[Question], seed: int = 0
) -> SideEffects:
    """Measures changes on held-out windows and on unrelated prompts.

    Args:
        steering: The changes.
        windows: Held-out text, as it was captured.
        unrelated: Prompts whose answers should stay.
        seed: Of the resamples.
    """
    reading = read(steering, windows)
    clean = read(steering.clean, windows)
    before, after = (answers(one, unrelated).next_token for one in (steering.clean, steering))
    moved = (before.argmax(-1) != after.argmax(-1)).numpy().astype(float)
    n_windows = len(reading.surprise)
    draws = np.random.default_rng(seed).integers(0, n_windows, (DRAWS, n_windows))
    lows, highs = [], []
    for total in (reading.surprise, reading.divergence):
        low, high = np.quantile(total[draws].sum(1) / reading.n_tokens[draws].sum(1), [0.025, 0.975])
        lows.append(float(low))
        highs.append(float(high))
    return SideEffects(
        Mean(reading.perplexity, float(np.exp(lows[0])), float(np.exp(highs[0])), n_windows),
        clean.perplexity,
        Mean(float(reading.divergence.sum() / reading.n_tokens.sum()), lows[1], highs[1], n_windows),
        mean(divergence(before, after).numpy(), seed),
        mean(moved, seed),
    )


@torch.inference_mode()
def read(steering: Steering, windows: Sequence[Batch]) -> Reading:
    """Reads windows with and without the changes."""
    surprise, n_tokens, moved = [], [], []
    for batch in windows:
        is_free = batch.attention_mask.bool() & ~batch.is_special
        log_probs, clean = (
            one.logits(*batch.inputs, is_free).float().log_softmax(-1).cpu() for one in (steering, steering.clean)
        )
        has_next = (batch.is_row & ~batch.is_special)[:, :-1] & batch.attention_mask[:, 1:].bool()
        chosen = log_probs[:, :-1].gather(-1, batch.input_ids[:, 1:, None])[..., 0]
        surprise.append(-(chosen.double() * has_next).sum(1))
        n_tokens.append(has_next.sum(1).double())
        moved.append((divergence(clean, log_probs)[:, :-1].double() * has_next).sum(1))
    found = [torch.cat(one).numpy() for one in (surprise, n_tokens, moved)]
    kept = found[1] > 0
    return Reading(*(one[kept] for one in found))
