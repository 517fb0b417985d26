"""A text as the model reads it: tokens that know where they stand, and the units that are attributed together."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from hooks.config import CaptureConfig
from hooks.model import LanguageModel
from hooks.windows import frame_of, framed, special_ids
from sae.errors import UserError

UnitKind = Literal["tokens", "words", "sentences", "spans"]
WORD = re.compile(r"\S+")
SENTENCE = re.compile(r"\S(?:.*?(?:[.!?](?=\s)|\n|\Z))", re.DOTALL)


class Unit(NamedTuple):
    """Tokens that are taken away or put back together."""

    label: str
    """What to call it: the word, the sentence's first words, or the finding's name."""
    tokens: tuple[int, ...]
    """Positions among the case's tokens."""


class MarkedSpan(NamedTuple):
    """A passage that somebody marked, such as a clinical finding."""

    start: int
    """First character."""
    end: int
    """One past the last character."""
    label: str


@dataclass(frozen=True)
class Case:
    """One text as one sequence of tokens."""

    text: str
    input_ids: Int[Tensor, "n"]
    offsets: tuple[tuple[int, int], ...]
    """First and end character of each token; −1 for tokens that stand for no text."""
    is_special: Bool[Tensor, "n"]
    """BOS, CLS, SEP and their kin: never attributed unless a setting says so."""
    tokens: tuple[str, ...]
    """What each token says, special tokens by their name."""
    name: str = ""
    """What to call the case."""
    spans: tuple[MarkedSpan, ...] = ()
    """Passages marked in the text."""

    @property
    def n_tokens(self) -> int:
        return len(self.tokens)

    def units(self, kind: UnitKind) -> tuple[Unit, ...]:
        """The tokens in groups; special tokens are in none.

        Raises:
            UserError: Spans are asked for and none is marked.
        """
        if kind == "tokens":
            return tuple(Unit(self.tokens[i], (i,)) for i in range(self.n_tokens) if not self.is_special[i])
        if kind == "spans" and not self.spans:
            raise UserError(
                "Units are 'spans', but the case has no marked span, expected at least one in its `spans`. "
                "Mark some, or choose tokens, words or sentences."
            )
        pieces = self.spans if kind == "spans" else passages(self.text, WORD if kind == "words" else SENTENCE)
        found = [Unit(piece.label, self.tokens_of(piece.start, piece.end)) for piece in pieces]
        return tuple(unit for unit in found if unit.tokens)

    def tokens_of(self, start: int, end: int) -> tuple[int, ...]:
        """Positions of the tokens that stand for any character from `start` to `end`."""
        return tuple(
            i for i, (a, b) in enumerate(self.offsets) if not self.is_special[i] and a < end and b > start and a < b
        )

    def extended(self, token_ids: Sequence[int], texts: Sequence[str]) -> "Case":
        """The case with an answer's tokens behind it, to be attributed like the others."""
        ids = torch.cat([self.input_ids, torch.tensor(token_ids, dtype=self.input_ids.dtype)])
        flags = torch.cat([self.is_special, torch.zeros(len(token_ids), dtype=torch.bool)])
        offsets = self.offsets + ((-1, -1),) * len(token_ids)
        return replace(self, input_ids=ids, is_special=flags, offsets=offsets, tokens=(*self.tokens, *texts))


def passages(text: str, pattern: re.Pattern[str]) -> tuple[MarkedSpan, ...]:
    """Where a pattern occurs, each named by its own words."""
    return tuple(MarkedSpan(m.start(), m.end(), m.group().strip()[:60]) for m in pattern.finditer(text))


def read(
    text: str, lm: LanguageModel, *, name: str = "", spans: Sequence[MarkedSpan] = (), prepend_bos: bool = True,
    may_be_long: bool = False,
) -> Case:  # fmt: skip
    """The case of a text, with BOS, or CLS and SEP, around it where the model has them.

    Raises:
        UserError: The text has no token, or more than the model can read; the model reads images.
    """
    if lm.kind == "vision":
        raise UserError(f"The model {lm.name!r} reads images, expected one that reads text. Choose another model.")
    longest = lm.max_context_tokens
    frame = frame_of(lm, CaptureConfig(prepend_bos=prepend_bos))._replace(context_tokens=2**31 - 1)
    encoded = lm.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    if not encoded["input_ids"] or not text.strip():
        raise UserError("The text has no word, expected some. Give a text that is not empty.")
    rows = framed(0, encoded, frame, special_ids(lm.tokenizer))
    n_tokens = len(rows.token_id)
    if n_tokens > longest and not may_be_long:
        raise UserError(
            f"The text has {n_tokens} tokens, but the model {lm.name!r} reads at most {longest}. "
            "Shorten it, or attribute it in windows (--window)."
        )
    offsets = tuple(zip(rows.char_start.tolist(), rows.char_end.tolist(), strict=True))
    ids = torch.from_numpy(np.asarray(rows.token_id, np.int64))
    tokens = tuple(text[a:b] if a >= 0 else shown(lm.tokenizer, int(i)) for i, (a, b) in zip(ids, offsets, strict=True))
    return Case(text, ids, offsets, torch.from_numpy(rows.is_special), tokens, name, tuple(spans))


def shown(tokenizer: Any, token_id: int) -> str:
    """A token as people read it; the vocabulary's own spelling where it decodes to nothing."""
    return tokenizer.decode([token_id]) or str(tokenizer.convert_ids_to_tokens(token_id))
