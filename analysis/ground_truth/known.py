"""What a case with a known answer to "which tokens decided?" looks like, whoever wrote it."""

from typing import NamedTuple

import numpy as np

Span = tuple[int, int]
"""First character, and one past the last."""


class KnownCase(NamedTuple):
    """A prompt, what is asked of the model, and the words that decide it by rule."""

    id: str
    """Unique in its suite."""
    prompt: str
    """What the model reads, up to the answer."""
    answer: str
    """Text that follows the prompt, its leading space included where the tokenizer wants one."""
    contrast: str | None
    """What would follow if the evidence said the opposite; none where no single opposite exists."""
    evidence: tuple[Span, ...]
    """Words that decide, the most direct one first."""
    scope: Span
    """The part of the prompt that may hold evidence: the record, without the question after it."""
    neutral: tuple[Span, ...] = ()
    """Words that are neither evidence nor its rivals: what they say matters, though they say nothing themselves."""
    distractor: tuple[Span, ...] = ()
    """Words that look like evidence and are none; DSA holds them against the evidence."""
    twin: str | None = None
    """The prompt with one piece of evidence changed, so that the answer is `contrast`."""
    donors: tuple[str, ...] = ()
    """Prompts of as many tokens that replacements are taken from, token by token; none where the suite has no aligned ones."""


def overlapping(spans: tuple[Span, ...], offsets: np.ndarray) -> np.ndarray:
    """Which tokens touch one of some spans.

    Args:
        spans: Character ranges.
        offsets: [n_tokens, 2], where each token's text begins and ends; an empty range touches nothing.

    Returns:
        [n_tokens] bool.
    """
    start, end = offsets[:, 0], offsets[:, 1]
    found = np.zeros(len(offsets), bool)
    for first, last in spans:
        found |= (start < last) & (end > first) & (end > start)
    return found
