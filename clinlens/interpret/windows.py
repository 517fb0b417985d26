"""Windows drawn at random from held-out documents, and what the features of an autoencoder do in them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from analysis.examples import before
from analysis.interpretation.passages import Passage
from hooks.store import Store
from sae import saelens_format


class Windows(NamedTuple):
    """Windows with all features."""

    token_id: list[np.ndarray]
    """Of each window."""
    patient: list[int]
    fires: np.ndarray
    """[n_windows, d_sae] bool: whether a feature fires anywhere in it."""

    def silent(self, feature: int, words: list[str]) -> list[Passage]:
        """Those in which a feature is silent."""
        return [
            Passage(tuple(words[i] for i in ids), (0.0,) * len(ids), patient)
            for ids, patient, fires in zip(self.token_id, self.patient, self.fires[:, feature], strict=True)
            if not fires
        ]


def drawn(store: Store, folder: Path, patients: np.ndarray, length: int, n: int, seed: int) -> Windows:
    """Draws windows around random tokens, cut at documents' ends as examples are: their shape must not tell them from those.

    Args:
        store: The activations.
        folder: Of the autoencoder; its parent is called as the hook point.
        patients: [n_documents] bundle of each document.
        length: Tokens of a window; fewer where a document is shorter.
        n: How many.
        seed: Of the draw.
    """
    rng = np.random.default_rng((seed, 2))
    sae, point = saelens_format.load(folder), folder.parent.name
    shards = store.shards("held_out")
    places = [
        (number, start, stop)
        for number, shard in enumerate(shards)
        for start, stop in zip(shard.document_bounds[:-1], shard.document_bounds[1:], strict=True)
    ]
    ids, owners, fires = [], [], []
    for number, start, stop in (places[int(i)] for i in np.sort(rng.integers(len(places), size=n))):
        shard = shards[number]
        middle = int(rng.integers(start, stop))
        first, last = max(middle - before(length), start), min(middle - before(length) + length, stop)
        is_word = ~shard.is_special[first:last]
        if not is_word.any():
            continue
        with torch.inference_mode():
            acts = sae.encode(shard.acts(point, first, last)).numpy()[is_word]
        ids.append(np.asarray(shard.index["token_id"][first:last])[is_word])
        owners.append(int(patients[int(shard.index["document"][first])]))
        fires.append((acts > 0).any(axis=0))
    return Windows(ids, owners, np.asarray(fires).reshape(len(fires), sae.d_sae))


def special_tokens(store: Store) -> set[int]:
    """Token ids that stand for no text in these activations."""
    return {
        int(one)
        for shard in store.shards("held_out")
        for one in np.unique(shard.index["token_id"][:][shard.is_special])
    }
