"""Concept traces against planted truth, and against nothing.

    python benchmarks/harness/trace_figures.py [--quick]

*The truth.* The clinic writes notes with the place of every mention. On its mentions, and on passages between them, a stack of six
layers of sparse features is made up: for each of 50 concepts a layer is drawn from which on one feature, of another number at every
layer, fires on nine mentions in ten (and on one other unit in a hundred); before that layer nothing knows the concept. All concepts
are planted in the same stack, so that each is the others' confounder, features of pure noise and features that only some patients
have lie between, and twins share a patient.

- `trace_recovery`: share of the concepts for which the trace names exactly that layer as the first, and at it and at every later
  layer exactly that feature. Both must be right; a chance layer before it counts as a miss.
- `null_false_layer`: share of runs in which some layer is named for labels that mean nothing: dealt to single units, or to whole
  patients; half of the runs on the made-up stack, half on the clinic's own model with freshly trained autoencoders.

`details` adds how often *any* feature of the estimating half exceeds the band (its nominal rate is 5 %), and at which layers of the
clinic's own model its concepts emerge; of those no truth is known, since every layer sees the words.
"""

import json
import sys
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import numpy as np
import torch
from scipy import sparse

from analysis.concept_trace import Emergence, emergence
from analysis.tracing.cohort import Cohort, halved
from analysis.tracing.config import MIN_POSITIVES, TraceConfig
from analysis.tracing.layers import Half
from analysis.tracing.sparse_auroc import ranked
from clinlens.clinic import model_folder
from clinlens.clinic.notes import ClinicConfig, generate
from hooks import passage
from hooks.config import ModelConfig
from hooks.hook_points import parse
from hooks.model import load
from sae.build import build
from sae.config import TopKConfig

N_LAYERS, N_FEATURES = 6, 256
FIRES, FIRES_ELSEWHERE, NOISE = 0.9, 0.01, 0.03
SHARE_OF_PATIENTS, FIRES_IN_THEM = 0.1, 0.3
N_NOTES, N_CONCEPTS, N_NULLS, N_PERMUTATIONS = 700, 50, 200, 200
MODEL_NOTES, SAE_STEPS, SAE_BATCH, SAE_LR = 250, 300, 512, 3e-3
UNIT_SHARE, PATIENT_SHARE = 0.05, 0.2


class Units(NamedTuple):
    """Mentions and passages of the clinic's notes."""

    label: np.ndarray
    """[n_units] names of concepts; empty for passages."""
    patient: np.ndarray
    note: np.ndarray
    place: np.ndarray
    """[n_units, 2] characters."""


class Stack(NamedTuple):
    """Made-up layers with their truth."""

    layers: list[sparse.csr_array]
    first: dict[str, int]
    """Concept → the layer from which on it is planted."""
    features: dict[str, list[int]]
    """Concept → its feature at every layer."""


def units_of(n_notes: int, seed: int) -> Units:
    """As many passages as mentions."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, int, int, int]] = []
    for number, note in enumerate(generate(ClinicConfig(n_notes=n_notes, seed=seed))):
        spans = [span for span in note.spans if span.end <= note.answer[0]]
        rows += [(span.concept, note.group, number, span.start, span.end) for span in spans]
        free = np.ones(note.answer[0], bool)
        for span in spans:
            free[span.start : span.end] = False
        starts = rng.choice(np.flatnonzero(free), len(spans))
        rows += [("", note.group, number, int(start), int(start) + 6) for start in starts]
    label, group, number, start, end = (list(column) for column in zip(*rows, strict=True))
    patient = np.unique(group, return_inverse=True)[1]
    return Units(np.asarray(label), patient, np.asarray(number), np.asarray([start, end]).T)


def stack_of(units: Units, concepts: list[str], seed: int) -> Stack:
    """Noise, features that some patients have, and the planted ones."""
    rng = np.random.default_rng((seed, 1))
    n, n_patients = len(units.label), int(units.patient.max()) + 1
    first = {name: int(rng.integers(N_LAYERS)) for name in concepts}
    numbers = [rng.permutation(N_FEATURES)[: len(concepts)] for _ in range(N_LAYERS)]
    layers = []
    for layer in range(N_LAYERS):
        fires = rng.random((n, N_FEATURES)) < NOISE
        of_patients = rng.random((n_patients, N_FEATURES // 4)) < SHARE_OF_PATIENTS
        fires[:, : N_FEATURES // 4] |= of_patients[units.patient] & (rng.random((n, N_FEATURES // 4)) < FIRES_IN_THEM)
        for place, name in enumerate(concepts):
            if layer >= first[name]:
                chance = np.where(units.label == name, FIRES, FIRES_ELSEWHERE)
                fires[:, numbers[layer][place]] = rng.random(n) < chance
        layers.append(sparse.csr_array(fires * (0.2 + rng.exponential(size=fires.shape))))
    features = {name: [int(layer[place]) for layer in numbers] for place, name in enumerate(concepts)}
    return Stack(layers, first, features)


def halves_of(layers: list[sparse.csr_array], cohort: Cohort) -> list[tuple[Half, Half]]:
    """Every layer in both halves of the patients."""

    def half(layer: sparse.csr_array, rows: np.ndarray) -> Half:
        scores = sparse.csc_array(layer[rows])
        return Half(scores, ranked(scores))

    return [(half(layer, cohort.chooses), half(layer, cohort.is_estimate)) for layer in layers]


def looked_for(layers: list[sparse.csr_array], is_positive: np.ndarray, patient: np.ndarray, seed: int) -> Emergence:
    """Where one concept emerges."""
    cohort = halved(is_positive, patient, seed)
    return emergence(halves_of(layers, cohort), cohort, TraceConfig(n_permutations=N_PERMUTATIONS, seed=seed))


def frequent(units: Units, n: int) -> list[str]:
    """Concepts with mentions enough, in alphabetical order."""
    counts = Counter(units.label[units.label != ""].tolist())
    return sorted(name for name, count in counts.most_common(n) if count >= 4 * MIN_POSITIVES)


def recovery(n_concepts: int) -> dict[str, Any]:
    """What was recovered, and what was missed and why."""
    units = units_of(N_NOTES, 0)
    concepts = frequent(units, n_concepts)
    stack = stack_of(units, concepts, 0)
    missed: dict[str, str] = {}
    for seed, name in enumerate(concepts):
        found = looked_for(stack.layers, units.label == name, units.patient, seed)
        first = stack.first[name]
        if found.first != first:
            missed[name] = f"layer {found.first}, planted from {first} on"
        elif found.features[first:] != stack.features[name][first:]:
            missed[name] = f"features {found.features[first:]}, planted {stack.features[name][first:]}"
    return {"n_concepts": len(concepts), "n_recovered": len(concepts) - len(missed), "missed": missed}


def model_stack(units: Units, n_notes: int) -> tuple[list[sparse.csr_array], np.ndarray]:
    """The clinic's own model at every layer, seen by autoencoders that are trained on the spot; and the units it covers."""
    lm = load(ModelConfig(name="clinic", path=model_folder()))
    points = [parse(f"blocks.{layer}.hook_resid_post") for layer in range(lm.n_layers)]
    covered = units.note < n_notes
    notes = list(generate(ClinicConfig(n_notes=n_notes, seed=0)))
    values: dict[Any, list[torch.Tensor]] = {point: [] for point in points}
    ranges, n_rows = [], 0
    for number, note in enumerate(notes):
        encoded = lm.tokenizer(note.text, return_offsets_mapping=True, return_tensors="pt", add_special_tokens=False)
        offsets = encoded["offset_mapping"][0].numpy()
        found = passage.record(lm, points, encoded["input_ids"], encoded["attention_mask"])
        for point in points:
            values[point].append(found[point][0].float())
        for start, end in units.place[units.note == number]:
            inside = np.flatnonzero((offsets[:, 1] > start) & (offsets[:, 0] < end))
            ranges.append(n_rows + inside)
        n_rows += len(offsets)
    order = np.argsort(np.concatenate([np.flatnonzero(units.note == number) for number in range(n_notes)]))
    layers = [features_of(torch.cat(values[point]), ranges, order, seed) for seed, point in enumerate(points)]
    return layers, covered


def features_of(x: torch.Tensor, ranges: list[np.ndarray], order: np.ndarray, seed: int) -> sparse.csr_array:
    """[n_units, d_sae], the largest activations of a freshly trained TopK autoencoder in each unit."""
    sae = build(TopKConfig(k=16, expansion_factor=2), x.shape[1])
    generator = torch.Generator().manual_seed(seed)
    sae.initialise(x.clone(), generator, 1.0)
    optimiser, dead = torch.optim.Adam(sae.parameters(), lr=SAE_LR), torch.zeros(sae.d_sae, dtype=torch.bool)
    for _ in range(SAE_STEPS):
        batch = x[torch.randint(len(x), (SAE_BATCH,), generator=generator)].clone()
        optimiser.zero_grad()
        sae.losses(batch, dead, 1.0).total.backward()
        optimiser.step()
        sae.constrain()
    with torch.no_grad():
        acts = sae.encode(x.clone()).numpy()
    pooled = np.stack([acts[rows].max(axis=0) if len(rows) else np.zeros(sae.d_sae, np.float32) for rows in ranges])
    return sparse.csr_array(pooled[order].astype(np.float64))


def null_labels(units: Units, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Labels that mean nothing."""
    if kind == "unit":
        return rng.random(len(units.label)) < UNIT_SHARE
    return (rng.random(int(units.patient.max()) + 1) < PATIENT_SHARE)[units.patient]


def nulls(layers: list[sparse.csr_array], units: Units, n_runs: int, seed: int) -> dict[str, Any]:
    """How often some layer is named, and how often some feature of the estimating half exceeds the band."""
    rng = np.random.default_rng((seed, 9))
    false_layers: Counter[str] = Counter()
    n_any = 0
    for run in range(n_runs):
        kind = "unit" if run % 2 == 0 else "patient"
        labels = null_labels(units, kind, rng)
        cohort = halved(labels, units.patient, run)
        halves = halves_of(layers, cohort)
        found = emergence(halves, cohort, TraceConfig(n_permutations=N_PERMUTATIONS, seed=1000 * seed + run))
        false_layers[kind] += found.first is not None
        rows = cohort.is_estimate
        best = max(float(np.nanmax(estimate.ranks.auroc(labels[None, rows]))) for _, estimate in halves)
        n_any += best > found.null
    return {"n_runs": n_runs, "false_layers": dict(false_layers), "any_feature": n_any / n_runs}


def rows_of(units: Units, rows: np.ndarray) -> Units:
    """Some units."""
    patient = np.unique(units.patient[rows], return_inverse=True)[1]
    return Units(units.label[rows], patient, units.note[rows], units.place[rows])


@cache
def details(quick: bool) -> dict[str, Any]:
    """What the figures are made of."""
    clock = time.perf_counter()
    n_nulls = 20 if quick else N_NULLS
    found = recovery(10 if quick else N_CONCEPTS)
    units = units_of(200 if quick else MODEL_NOTES, 0)
    made_up = nulls(stack_of(units, frequent(units, 20), 5).layers, units, n_nulls // 2, 1)
    layers, covered = model_stack(units, 60 if quick else MODEL_NOTES)
    seen = rows_of(units, covered)
    own = nulls(layers, seen, n_nulls // 2, 2)
    return {
        "recovery": found,
        "null_made_up": made_up,
        "null_model": own,
        "model_concepts": model_concepts(layers, seen, 5 if quick else N_CONCEPTS),
        "seconds": round(time.perf_counter() - clock, 1),
    }


def model_concepts(layers: list[sparse.csr_array], units: Units, n: int) -> dict[str, int]:
    """At which layer of the clinic's own model its concepts emerge; no truth is known."""
    places = [
        looked_for(layers, units.label == name, units.patient, seed).first
        for seed, name in enumerate(frequent(units, n))
    ]
    return dict(Counter("none" if place is None else str(place) for place in places))


def figures(quick: bool) -> dict[str, float]:
    """`trace_recovery` and `null_false_layer`."""
    found = details(quick)
    both = [found["null_made_up"], found["null_model"]]
    n_false = sum(sum(one["false_layers"].values()) for one in both)
    return {
        "trace_recovery": found["recovery"]["n_recovered"] / found["recovery"]["n_concepts"],
        "null_false_layer": n_false / sum(one["n_runs"] for one in both),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    is_quick = "--quick" in sys.argv
    print(json.dumps({"figures": figures(is_quick), "peers": details(is_quick)}))
