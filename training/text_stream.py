"""Windows of training documents in random order, to run the model on; the n-th batch can be had without the ones before."""

from collections.abc import Iterator
from itertools import count, islice

import numpy as np

from hooks.config import CaptureConfig
from hooks.model import LanguageModel
from hooks.store import Store
from hooks.windows import Batch, batches, documents_of, frame_of


class TextStream:
    """The training split over and over, shards and batches in an order of each round's own.

    Args:
        store: Where the documents' tokens lie.
        lm: The model that reads them.
        batch_tokens: Most tokens of a batch, padding included.
        seed: Of the order.
    """

    def __init__(self, store: Store, lm: LanguageModel, batch_tokens: int, seed: int) -> None:
        self.store, self.batch_tokens, self.seed = store, batch_tokens, seed
        self.frame = frame_of(lm, CaptureConfig(**store.origin["capture"]))
        self.pad_id = lm.tokenizer.pad_token_id or 0

    def batches(self, first: int = 0) -> Iterator[Batch]:
        """Batches from a number on, without end."""
        return islice((batch for number in count() for batch in self.round(number)), first, None)

    def round(self, number: int) -> Iterator[Batch]:
        """Every document once; batches of nothing but special tokens are left out."""
        rng = np.random.default_rng((self.seed, number))
        shards = list(self.store.shards("train"))
        for index in rng.permutation(len(shards)):
            documents = documents_of(shards[index])
            mixed = [documents[i] for i in rng.permutation(len(documents))]
            found = list(batches(mixed, self.frame, self.batch_tokens, self.pad_id))
            for place in rng.permutation(len(found)):
                if bool((found[place].is_row & ~found[place].is_special).any()):
                    yield found[place]
