"""A concept from physicians' labels: it is mentioned where the features fire that they named so.

Those features define the concept; they cannot be evidence for it, so that at their own hook point they are left out of the scan.
What their label says of other layers' features is the question.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from clinlens.feature_labels import labels_of_run
from clinlens.labels import DATABASE
from clinlens.trace.concept import Concept, folded, remarked
from hooks.corpus import Document
from hooks.store import Store
from labeling.database.judgements import FeatureKey, FeatureLabel
from sae import saelens_format
from sae.errors import UserError

FIRES_FROM = 0.5
"""Share of a feature's largest activation from which a word counts: weaker ones are rarely what it was named for."""


def from_labels(name: str, run: Path, store: Store, saes: Mapping[str, Path], docs: list[Document]) -> Concept:
    """A concept from the features whose leading label, concept code or words are its name.

    Args:
        name: The concept.
        run: The run folder.
        store: Its activations.
        saes: Hook point → folder of the autoencoder.
        docs: The corpus.

    Raises:
        UserError: The run has no labels, or none of that name.
    """
    labels = {key: label for key, label in labels_of_run(run).items() if key[0] in saes and saes[key[0]].name == key[1]}
    if not labels:
        why = "no closed round" if (run / DATABASE).is_file() else f"no {DATABASE}"
        raise UserError(
            f"{run} has no physicians' labels of these features ({why}), expected some. Have features judged first "
            "(`clinlens serve`), choose another --sae, or define the concept with --words or --spans."
        )
    meant = sorted(key for key, label in labels.items() if folded(name) in names_of(label))
    if not meant:
        known = sorted({one for label in labels.values() for one in names_of(label)})
        raise UserError(
            f"No feature of {len(labels)} labelled ones is called {name!r}, expected one of {', '.join(known[:20])}. "
            "Correct --concept."
        )
    return marked_by(name, meant, store, saes, docs)


def names_of(label: FeatureLabel) -> set[str]:
    """What a feature was called: the leading answer, concept codes, raters' words."""
    given = [label.winner_name, label.winner or "", *label.concepts, *label.words]
    return {folded(one) for one in given if one}


def marked_by(
    name: str, keys: list[FeatureKey], store: Store, saes: Mapping[str, Path], docs: list[Document]
) -> Concept:
    """Marks the words on which any of some features fires."""
    marks: dict[int, list[tuple[int, int]]] = {}
    for point, group in itertools.groupby(keys, key=lambda key: key[0]):
        for document, start, end in firing(store, point, saes[point], [key[2] for key in group]):
            marks.setdefault(document, []).append((start, end))
    marked = [
        remarked(doc, name, [{"start": a, "end": b} for a, b in merged(marks.get(doc.index, []))]) for doc in docs
    ]
    defining = {
        point: frozenset(key[2] for key in group) for point, group in itertools.groupby(keys, key=lambda key: key[0])
    }
    shown = ", ".join(f"{point}/{feature}" for point, _, feature in keys)
    return Concept(name, "labels", f"words on which features that physicians named so fire: {shown}", marked, defining)


def firing(store: Store, point: str, folder: Path, features: list[int]) -> Iterator[tuple[int, int, int]]:
    """Document and characters of the held-out words on which one of the features fires at half its largest value or more."""
    sae = saelens_format.load(folder)
    rows, values = [], []
    for shard in store.shards("held_out"):
        with torch.inference_mode():
            acts = torch.cat(
                [sae.encode(part)[:, features] for part in shard.acts(point, 0, shard.n_tokens).split(4096)]
            ).numpy()
        values.append(np.where(shard.is_special[:, None], 0, acts))
        rows.append(np.stack([shard.index[column] for column in ("document", "char_start", "char_end")], axis=1))
    found = np.concatenate(values)
    fires = ((found > 0) & (found >= FIRES_FROM * found.max(axis=0))).any(axis=1)
    for document, start, end in np.concatenate(rows)[fires]:
        yield int(document), int(start), int(end)


def merged(marks: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Neighbouring words as one passage."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(set(marks)):
        if found and start <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found
