"""What can stand in a token's place: other tokens of its kind, drawn at random, or their mean.

Kinds are what can be told from the text a token stands for: a number for a number, a capitalised word for a capitalised word, a
piece inside a word for such a piece, a line break for a line break. Replacing like with like keeps a text plausible where nothing
better is known of it.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from hooks.windows import special_ids

BYTE = re.compile("<0x([0-9A-F]{2})>")
"""A byte that sentencepiece has no letters for."""
BLANK = ("newline", "space")


class Sampler(Protocol):
    """Draws replacements."""

    def sample(
        self, ids: Int[Tensor, "n"], positions: tuple[int, ...], n_samples: int, seed: int
    ) -> Int[Tensor, "s p"]:
        """Tokens for some positions of a text, `n_samples` times."""
        ...


class Vocabulary:
    """The tokens of a model by their kind: the sampler that is used where none is given.

    Args:
        tokenizer: The model's.
        n_embeddings: Rows of its embedding; tokens beyond are none.
    """

    def __init__(self, tokenizer: Any, n_embeddings: int) -> None:
        self.n_embeddings = n_embeddings
        self.tokens = tokenizer.convert_ids_to_tokens(list(range(min(len(tokenizer), n_embeddings))))
        self.special = set(special_ids(tokenizer).tolist()) | {tokenizer.unk_token_id}
        self.is_byte_level = tokenizer.convert_tokens_to_string(["aĠb"]) == "a b"

    def __len__(self) -> int:
        return self.n_embeddings

    @cached_property
    def kinds(self) -> dict[str, list[int]]:
        """Kind → token ids."""
        found: dict[str, list[int]] = defaultdict(list)
        for token_id in range(len(self.tokens)):
            if name := self.kind_name(token_id):
                found[name].append(token_id)
        return dict(found)

    def kind_name(self, token_id: int) -> str | None:
        """What a token's kind is called; none, where it is special or the tokenizer knows no such token."""
        token = self.tokens[token_id] if token_id < len(self.tokens) else None
        return None if token is None or token_id in self.special else kind_of(spelled(token, self.is_byte_level))

    def kind(self, token_id: int) -> list[int]:
        """The tokens of a token's kind; all, where it is special or unknown to the tokenizer."""
        name = self.kind_name(token_id)
        return self.among(list(self.kinds)) if name is None else self.kinds[name]

    def among(self, names: Sequence[str]) -> list[int]:
        """The tokens of several kinds."""
        return [one for name in names for one in self.kinds.get(name, ())]

    def alike(self, token_id: int) -> list[int]:
        """The other tokens of its kind; where it is alone, other blanks for a blank, else those of any kind."""
        others = [one for one in self.kind(token_id) if one != token_id]
        if not others and self.kind_name(token_id) in BLANK:
            others = [one for one in self.among(BLANK) if one != token_id]
        return others or [one for one in self.among(list(self.kinds)) if one != token_id]

    def sample(
        self, ids: Int[Tensor, "n"], positions: tuple[int, ...], n_samples: int, seed: int
    ) -> Int[Tensor, "s p"]:
        """Tokens of the same kinds, each with the same probability."""
        columns = []
        for position in positions:
            rng = np.random.default_rng([seed, position])
            columns.append(rng.choice(self.alike(int(ids[position])), n_samples))
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.int64))


@cache
def byte_of() -> dict[str, int]:
    """The letter that byte-level vocabularies write for each byte.

    Source: `bytes_to_unicode` of GPT-2: printable bytes are themselves, the others follow from U+0100 on in their order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def spelled(token: str, is_byte_level: bool) -> str:
    """The text that a token of a vocabulary stands for, the space before it included; pieces keep their `##`.

    Added tokens of byte-level vocabularies are written as they are.
    """
    if is_byte_level:
        try:
            return bytes(map(byte_of().__getitem__, token)).decode("utf-8", "replace")
        except KeyError:
            return token
    if found := BYTE.fullmatch(token):
        return bytes([int(found[1], 16)]).decode("utf-8", "replace")
    return token.replace("▁", " ").removesuffix("</w>")


def kind_of(text: str) -> str:
    """What can be told from the text of a token."""
    bare = text.strip()
    if not bare:
        return "newline" if "\n" in text or "\r" in text else "space"
    begins = "word" if text[0].isspace() else "piece"
    bare = bare.removeprefix("##") or bare
    if "\ufffd" in bare:
        return "part of a letter"
    if bare.isnumeric():
        return f"{begins} number"
    if not any(letter.isalnum() for letter in bare):
        return "punctuation"
    return f"{begins} {'capitalised' if bare[0].isupper() else 'small'}"
