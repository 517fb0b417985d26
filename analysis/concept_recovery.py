"""For how many annotated concepts does some feature stand?

1. A unit is a mention: the tokens of an annotated span; a feature's value there is its largest activation.
   Against the mentions of one concept stand the mentions of all others, and passages of the same lengths
   from the text between annotations.
2. The held-out documents are halved (documents of one group stay together). On the first half the feature with the
   best AUROC is chosen for each concept; its AUROC on the second half is the concept's figure. Choosing and
   estimating on the same mentions would flatter: among many features one fits any noise.
3. A concept is recovered where that figure reaches the threshold (0.95).

Beside it stand probes on several features at once (`analysis.probing`).
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.auroc import auroc
from analysis.config import ConceptsConfig
from analysis.probing import dense_probe, sparse_probes
from analysis.units import BACKGROUND, Unit, enough, named
from hooks.corpus import Document, bundles
from hooks.store import Store
from sae import artefact, saelens_format
from training.engine import Done
from training.evaluation import has_settings

FILE = "concepts.json"
VERSION = 2
"""Of the set of figures: a file of an older one is made anew."""
FEATURES_PER_STEP = 512
UNITS_PER_STEP = 512


def find_units(store: Store, docs: list[Document], seed: int) -> list[Unit]:
    """Every mention in the held-out documents, and as many passages between them."""
    rng = np.random.default_rng(seed)
    bundle_of = {doc.index: bundle for doc, bundle in zip(docs, ranked(bundles(docs)), strict=True)}
    found: list[Unit] = []
    for number, shard in enumerate(store.shards("held_out")):
        for start, stop in itertools.pairwise(shard.document_bounds):
            doc = docs[int(shard.index["document"][start])]
            chars = shard.index["char_start"][start:stop], shard.index["char_end"][start:stop]
            mentions = [(rows_of(span, *chars), str(span["label"])) for span in doc.spans]
            mentions = [(rows, label) for rows, label in mentions if rows is not None]
            free = chars[0] >= 0
            for (first, last), _ in mentions:
                free[first:last] = False
            passages = [(rows, BACKGROUND) for rows in background([rows for rows, _ in mentions], free, rng)]
            bundle = bundle_of[doc.index]
            found += [Unit(number, start + a, start + b, label, bundle) for (a, b), label in mentions + passages]
    return found


def ranked(bundle: list[int]) -> list[int]:
    """Bundles numbered from 0 in order, so that their parity halves them evenly."""
    numbers = {first: number for number, first in enumerate(sorted(set(bundle)))}
    return [numbers[first] for first in bundle]


def rows_of(span: dict[str, Any], char_start: np.ndarray, char_end: np.ndarray) -> tuple[int, int] | None:
    """Rows of the tokens that overlap a span; none if no token does."""
    rows = np.flatnonzero((char_end > span["start"]) & (char_start < span["end"]) & (char_start >= 0))
    return (int(rows[0]), int(rows[-1]) + 1) if len(rows) else None


def background(
    mentions: Iterable[tuple[int, int]], free: np.ndarray, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """For each mention a passage of the same length that touches none, where there is one."""
    found = []
    for start, stop in mentions:
        length = stop - start
        open_places = (
            np.flatnonzero(np.convolve(free, np.ones(length), "valid") == length) if length <= len(free) else []
        )
        if len(open_places):
            first = int(rng.choice(open_places))
            found.append((first, first + length))
    return found


@dataclass(frozen=True)
class Recover:
    """Measures concept recovery of all autoencoders at one hook point."""

    run_folder: Path
    hook_point: str
    sae_ids: tuple[str, ...]
    concepts: ConceptsConfig
    units: tuple[Unit, ...]
    seed: int

    @property
    def name(self) -> str:
        return f"concept recovery at {self.hook_point}"

    @property
    def id(self) -> str:
        return f"concepts-{self.hook_point}-{artefact.content_hash(self.sae_ids, self.settings)}"

    @property
    def settings(self) -> dict[str, Any]:
        return self.concepts.model_dump(mode="json") | {
            "version": VERSION,
            "units": artefact.content_hash(self.units),
            "seed": self.seed,
        }

    def path(self, sae_id: str) -> Path:
        return self.run_folder / "saes" / self.hook_point / sae_id / FILE

    def missing(self) -> list[str]:
        """Autoencoders without figures by these settings."""
        return [sae_id for sae_id in self.sae_ids if not has_settings(self.path(sae_id), self.settings)]

    def run(self, done: Done) -> None:
        store = Store.open(self.run_folder / "acts")
        missing = self.missing()
        if not missing:
            return
        whole = dense_probe(self.activations(store), self.units, self.concepts, self.seed)
        for sae_id in missing:
            scores = self.scores(store, sae_id)
            result = {"settings": self.settings} | recovery(scores, self.units, self.concepts)
            result["probing"] = sparse_probes(scores, self.units, self.concepts, self.seed, whole)
            artefact.write_json(self.path(sae_id), result)
            done(1)

    def scores(self, store: Store, sae_id: str) -> np.ndarray:
        """[n_units, d_sae], the largest activation of each feature in each unit."""
        sae = saelens_format.load(self.run_folder / "saes" / self.hook_point / sae_id)
        scores = np.zeros((len(self.units), sae.d_sae), np.float32)
        for places, starts, x, is_word in self.rows(store):
            with torch.inference_mode():
                encoded = (sae.encode(x) * is_word[:, None]).numpy()
            scores[places] = np.maximum.reduceat(encoded, starts, axis=0)
        return scores

    def activations(self, store: Store) -> np.ndarray:
        """[n_units, d_in], the mean activation of the model's own in each unit."""
        means = np.zeros((len(self.units), store.hook_points[self.hook_point]), np.float32)
        for places, starts, x, is_word in self.rows(store):
            weight = is_word.numpy()[:, None].astype(np.float32)
            sums = np.add.reduceat(x.numpy() * weight, starts, axis=0)
            means[places] = sums / np.maximum(np.add.reduceat(weight, starts, axis=0), 1)
        return means

    def rows(self, store: Store) -> Iterator[tuple[list[int], np.ndarray, Tensor, Tensor]]:
        """Some units at a time: their places, where each begins in the rows, the rows, and which of them are words.

        A mention may lie across a window's edge, and so hold special tokens.
        """
        for number, shard in enumerate(store.shards("held_out")):
            acts = shard.acts(self.hook_point, 0, shard.n_tokens)
            is_word = torch.from_numpy(~shard.is_special)
            places = [place for place, unit in enumerate(self.units) if unit.shard == number]
            for some in (places[a : a + UNITS_PER_STEP] for a in range(0, len(places), UNITS_PER_STEP)):
                parts = [torch.arange(self.units[place].start, self.units[place].stop) for place in some]
                starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
                where = torch.cat(parts)
                yield some, starts, acts[where], is_word[where]


def recovery(scores: np.ndarray, units: tuple[Unit, ...], cfg: ConceptsConfig) -> dict[str, Any]:
    """Chooses a feature per concept on one half, and estimates its AUROC on the other.

    Args:
        scores: [n_units, d_sae].
        units: What the rows are.
        cfg: Threshold and smallest number of mentions.
    """
    label = np.asarray([unit.label for unit in units])
    estimate = np.asarray([unit.is_estimate for unit in units])
    names = [name for name in named(units) if enough(label == name, estimate, cfg.min_mentions)]
    left_out = [name for name in named(units) if name not in names]
    is_positive = np.asarray([label == name for name in names]).reshape(len(names), len(units))
    steps = range(0, scores.shape[1], FEATURES_PER_STEP)
    choice = [auroc(scores[~estimate, a : a + FEATURES_PER_STEP], is_positive[:, ~estimate]) for a in steps]
    found: dict[str, Any] = {}
    for row, name in enumerate(names):
        chosen = int(np.argmax(np.concatenate([part[row] for part in choice])))
        figure = auroc(scores[estimate][:, [chosen]], is_positive[row : row + 1, estimate])[0, 0]
        found[name] = {
            "feature": chosen,
            "auroc": round(float(figure), 6),
            "auroc_in_choice": round(max(float(part[row].max()) for part in choice), 6),
            "n_mentions": int((is_positive[row] & estimate).sum()),
        }
    n_recovered = sum(concept["auroc"] >= cfg.auroc for concept in found.values())
    return {"n_concepts": len(names), "n_recovered": n_recovered, "too_few_mentions": left_out, "concepts": found}
