"""What can stand in a token's place: other tokens of its kind, drawn at random, or their mean.

Kinds are what can be told from a token's spelling: a number for a number, a capitalised word for a capitalised word, a
piece inside a word for such a piece. Replacing like with like keeps a text plausible where nothing better is known of it.
"""

from collections import defaultdict
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from hooks.windows import special_ids

MARKS = ("▁", "Ġ", "##", " ")


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

    def __len__(self) -> int:
        return self.n_embeddings

    @cached_property
    def kinds(self) -> dict[str, list[int]]:
        """Kind → token ids."""
        found: dict[str, list[int]] = defaultdict(list)
        for token_id, token in enumerate(self.tokens):
            if token_id not in self.special:
                found[kind_of(token)].append(token_id)
        return dict(found)

    def kind(self, token_id: int) -> list[int]:
        """The tokens of a token's kind; all, where it is special or unknown to the tokenizer."""
        name = kind_of(self.tokens[token_id]) if token_id < len(self.tokens) else ""
        if token_id in self.special or name not in self.kinds:
            return [one for kind in self.kinds.values() for one in kind]
        return self.kinds[name]

    def alike(self, token_id: int) -> list[int]:
        """The other tokens of its kind; of any kind, where it is alone."""
        others = [one for one in self.kind(token_id) if one != token_id]
        return others or [one for kind in self.kinds.values() for one in kind if one != token_id]

    def sample(
        self, ids: Int[Tensor, "n"], positions: tuple[int, ...], n_samples: int, seed: int
    ) -> Int[Tensor, "s p"]:
        """Tokens of the same kinds, each with the same probability."""
        columns = []
        for position in positions:
            rng = np.random.default_rng([seed, position])
            columns.append(rng.choice(self.alike(int(ids[position])), n_samples))
        return torch.from_numpy(np.stack(columns, axis=1).astype(np.int64))


def kind_of(token: str) -> str:
    """What a token's spelling says of it."""
    bare = token
    for mark in MARKS:
        bare = bare.removeprefix(mark)
    begins = "word" if bare != token and not token.startswith("##") else "piece"
    if not bare:
        return "space"
    if bare.isnumeric():
        return f"{begins} number"
    if not any(letter.isalnum() for letter in bare):
        return "punctuation"
    return f"{begins} {'capitalised' if bare[0].isupper() else 'small'}"
