"""From a run's activations to what a trace reads: units, each layer's scores, words, attributes, texts to ablate in."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from analysis.concept_recovery import find_units, ranked
from analysis.tracing.cohort import Cohort
from analysis.tracing.config import TraceConfig
from analysis.tracing.layers import Layer
from analysis.units import BACKGROUND, Unit
from clinlens.trace.concept import Concept
from hooks.corpus import bundles
from hooks.hook_points import parse
from hooks.store import Store
from sae import artefact, saelens_format
from sae.base import SAE
from training.evaluation import norm_limit

ROWS_PER_STEP = 8192


class Seen(NamedTuple):
    """The units of a trace and where they lie."""

    units: list[Unit]
    is_positive: np.ndarray
    """[n_units] bool."""
    document: np.ndarray
    """[n_units], row number in the corpus."""
    patient: np.ndarray
    """[n_units], number of the bundle of documents that stay together."""


def units_of(store: Store, concept: Concept, cfg: TraceConfig) -> Seen:
    """Mentions of the concept, of other things, and passages between them; or whole documents."""
    docs = concept.documents
    units = find_units(store, docs, cfg.seed) if cfg.unit == "mention" else documents_as_units(store, concept)
    shards = store.shards("held_out")
    document = np.asarray([int(shards[unit.shard].index["document"][unit.start]) for unit in units], np.int64)
    patient = np.asarray([unit.bundle for unit in units], np.int64)
    return Seen(units, np.asarray([unit.label == concept.name for unit in units], bool), document, patient)


def documents_as_units(store: Store, concept: Concept) -> list[Unit]:
    """Every held-out document; it has the concept where it mentions it."""
    docs = concept.documents
    bundle_of = dict(zip((doc.index for doc in docs), ranked(bundles(docs)), strict=True))
    found = []
    for number, shard in enumerate(store.shards("held_out")):
        bounds = shard.document_bounds
        for start, stop in itertools.pairwise(bounds):
            doc = docs[int(shard.index["document"][start])]
            label = concept.name if concept.mentions(doc) else BACKGROUND
            found.append(Unit(number, start, stop, label, bundle_of[doc.index]))
    return found


class Part(NamedTuple):
    """Some units' rows."""

    places: list[int]
    """Which units."""
    starts: np.ndarray
    """Where each begins in the rows."""
    x: Tensor
    """[n_rows, d_in]."""
    is_word: Tensor
    """[n_rows] bool: neither special nor of a norm that the autoencoder never saw."""


def parts(store: Store, hook_point: str, units: Sequence[Unit], limit: float | None) -> Iterator[Part]:
    """The rows of all units, some thousand at a time."""
    for number, shard in enumerate(store.shards("held_out")):
        acts = shard.acts(hook_point, 0, shard.n_tokens)
        is_word = torch.from_numpy(~shard.is_special)
        if limit is not None:
            is_word &= acts.norm(dim=1) <= limit
        mine = [place for place, unit in enumerate(units) if unit.shard == number]
        for places in batched(mine, units):
            ranges = [torch.arange(units[place].start, units[place].stop) for place in places]
            starts = np.cumsum([0, *(len(one) for one in ranges[:-1])])
            where = torch.cat(ranges)
            yield Part(places, starts, acts[where], is_word[where])


def batched(places: Sequence[int], units: Sequence[Unit]) -> Iterator[list[int]]:
    """Units in groups of some thousand rows."""
    group: list[int] = []
    n_rows = 0
    for place in places:
        group.append(place)
        n_rows += units[place].stop - units[place].start
        if n_rows >= ROWS_PER_STEP:
            yield group
            group, n_rows = [], 0
    if group:
        yield group


def layer_of(store: Store, folder: Path, seen: Seen, defining: frozenset[int], cfg: TraceConfig) -> Layer:
    """One hook point's layer.

    Args:
        store: The activations.
        folder: The autoencoder's; its parent is called as the hook point.
        seen: The units.
        defining: Features that define the concept.
        cfg: How tokens become a unit.
    """
    hook_point, sae = folder.parent.name, saelens_format.load(folder)
    n, d_in = len(seen.units), store.hook_points[hook_point]
    dense, rows, order = np.zeros((n, d_in), np.float32), [], []
    mean = torch.as_tensor(store.statistics(hook_point, "held_out").mean).float()
    left, spread = np.zeros(2), np.zeros(2)
    for part in parts(store, hook_point, seen.units, norm_limit(folder)):
        with torch.inference_mode():
            acts = sae.encode(part.x) * part.is_word[:, None]
            rows.append(sparse.csr_array(pooled(acts.numpy(), part, cfg)))
            sign = torch.from_numpy(np.repeat(seen.is_positive[part.places], sizes(part))).long()
            add_error(sae, part, acts, mean, sign, left, spread)
        order += part.places
        dense[part.places] = averaged(part.x.numpy(), part)
    stacked = sparse.csr_array(sparse.vstack(rows, format="csr"))[np.argsort(order)]
    error = {name: float(left[i] / max(spread[i], 1e-12)) for i, name in ((1, "positive"), (0, "negative"))}
    number = parse(hook_point).layer
    return Layer(
        hook_point, -1 if number is None else number, sparse.csc_array(stacked), dense, sae.W_dec.detach().numpy(), error,
        folder.name, artefact.file_hash(folder / saelens_format.WEIGHTS_FILE), defining,
    )  # fmt: skip


def sizes(part: Part) -> np.ndarray:
    """Rows of each unit."""
    return np.diff(np.r_[part.starts, len(part.x)])


def pooled(acts: np.ndarray, part: Part, cfg: TraceConfig) -> np.ndarray:
    """[n_units, n_features], the largest or the mean value over a unit's words."""
    if cfg.aggregation == "max":
        return np.maximum.reduceat(acts, part.starts, axis=0)
    return averaged(acts, part)


def averaged(x: np.ndarray, part: Part) -> np.ndarray:
    """[n_units, width], the mean over each unit's words."""
    weight = part.is_word.numpy()[:, None].astype(np.float32)
    return np.add.reduceat(x * weight, part.starts, axis=0) / np.maximum(
        np.add.reduceat(weight, part.starts, axis=0), 1
    )


def add_error(
    sae: SAE, part: Part, acts: Tensor, mean: Tensor, sign: Tensor, left: np.ndarray, spread: np.ndarray
) -> None:
    """Adds what the autoencoder leaves over, and what there is around the mean, of units without and with the concept."""
    kept = part.is_word
    error = (part.x - sae.decode(acts)).square().sum(dim=1).double() * kept
    whole = (part.x - mean).square().sum(dim=1).double() * kept
    for value in (0, 1):
        left[value] += float(error[sign == value].sum())
        spread[value] += float(whole[sign == value].sum())


def tokens_of(store: Store, units: Sequence[Unit]) -> sparse.csc_array:
    """[n_units, n_vocabulary], 1 where a unit has a token; special ones left out."""
    shards = store.shards("held_out")
    pairs = []
    for place, unit in enumerate(units):
        shard = shards[unit.shard]
        ids = shard.index["token_id"][unit.start : unit.stop]
        kept = np.unique(ids[shard.index["is_special"][unit.start : unit.stop] == 0])
        pairs.append(np.stack([np.full(len(kept), place), kept]))
    row, column = np.concatenate(pairs, axis=1)
    shape = len(units), int(column.max(initial=0)) + 1
    return sparse.csc_array((np.ones(len(row)), (row, column)), shape=shape)


def attributes_of(columns: Mapping[str, Sequence[str]], seen: Seen) -> dict[str, np.ndarray]:
    """Each unit's values of attributes that documents have."""
    return {name: np.asarray(values, dtype=str)[seen.document] for name, values in columns.items()}


def chosen_documents(seen: Seen, cohort: Cohort, cfg: TraceConfig) -> list[int]:
    """Documents of the estimating half with the concept, one of each patient, in random order."""
    rows = cohort.is_estimate & cohort.is_positive
    _, first = np.unique(seen.patient[rows], return_index=True)
    documents = seen.document[rows][first]
    return np.random.default_rng((cfg.seed, 7)).permutation(documents).tolist()
