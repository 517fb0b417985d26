"""The features a reader can browse, packed small.

1. Per autoencoder: the features that concept recovery chose, then a random sample of the other live ones.
2. Everything with a number for every token goes into one stream of bytes, feature after feature:
   pairs of logits up, of logits down, then the contexts of each kind, each a run of whole numbers in LEB128.
3. Token ids are numbered anew by how often they occur, so that frequent ones take one byte and only the texts in use
   are listed. Activations are thousandths of the feature's largest; silent tokens take no space.

report.js reads the stream; the two change together.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analysis.examples import KINDS, Contexts, FeatureExamples, before
from clinlens.feature_labels import labels_of_run, shown
from clinlens.report.config import ReportConfig
from clinlens.report.gather import RunResult, SAEResult

LEVELS = 1000
"""Steps of a quantised activation: fewer show in the third digit."""
LOGIT_STEPS = 1000
"""Steps per unit of a logit."""


class Context(NamedTuple):
    """One context, ready to be packed."""

    document: int
    peak: int
    """Place of the strongest token among the tokens."""
    is_held_out: bool
    level: int
    """Activation of the strongest token."""
    tokens: list[int]
    """Ids in the tokenizer's vocabulary."""
    levels: list[int]
    """Activation of each token."""


class Logit(NamedTuple):
    """A token that a feature pushes up or down."""

    token: int
    value: float


@dataclass(frozen=True)
class Feature:
    """One listed feature."""

    index: int
    density: float
    max_activation: float
    concepts: list[tuple[str, float]]
    """Concepts it was chosen for, with held-out AUROC."""
    logits: tuple[list[Logit], list[Logit]]
    """Up and down."""
    contexts: dict[str, list[Context]]
    """By kind."""

    def token_ids(self) -> Iterator[int]:
        """Every token it needs a text for."""
        for side in self.logits:
            yield from (logit.token for logit in side)
        for contexts in self.contexts.values():
            for context in contexts:
                yield from context.tokens


def payload(run: RunResult, cfg: ReportConfig) -> dict[str, Any]:
    """The browser's data: texts of the tokens in use, and for every autoencoder its listed features."""
    listed: dict[str, tuple[SAEResult, FeatureExamples, list[Feature]]] = {}
    labels = by_sae(run)
    for sae in run.saes:
        if sae.examples is not None:
            examples, key = FeatureExamples.read(sae.examples), f"{sae.hook_point}/{sae.sae_id}"
            listed[key] = sae, examples, features(sae, examples, cfg, run.seed, sorted(labels.get(key, {})))
    counts = Counter(token for _, _, found in listed.values() for feature in found for token in feature.token_ids())
    tokens = [token for token, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    numbers = {token: number for number, token in enumerate(tokens)}
    return {
        "levels": LEVELS,
        "logit_steps": LOGIT_STEPS,
        "kinds": list(KINDS),
        "vocabulary": [text_of(token, run.vocabulary) for token in tokens],
        "saes": [
            {
                "key": key,
                "label": run.label(sae),
                "hook_point": sae.hook_point,
                "sae_id": sae.sae_id,
                "d_sae": sae.d_sae,
                "threshold": sae.concept_threshold,
                "n_live": len(examples.live),
                "index": [feature.index for feature in found],
                "density": [rounded(feature.density) for feature in found],
                "max_activation": [rounded(feature.max_activation) for feature in found],
                "concepts": [feature.concepts for feature in found],
                **label_column(labels.get(key, {}), found),
                "stream": base64.b64encode(b"".join(packed(feature, numbers) for feature in found)).decode(),
            }
            for key, (sae, examples, found) in listed.items()
        ],
    }


def by_sae(run: RunResult) -> dict[str, dict[int, dict[str, Any]]]:
    """Physicians' labels that may be shown: hook point and SAE → feature → what is shown."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for (hook_point, sae_id, number), label in labels_of_run(run.saes[0].run).items():
        found.setdefault(f"{hook_point}/{sae_id}", {})[number] = shown(label)
    return found


def label_column(labels: dict[int, dict[str, Any]], found: list[Feature]) -> dict[str, Any]:
    """The labels of the listed features, in their order; nothing where none has one, so that the page stays as it was."""
    column = [labels.get(feature.index) for feature in found]
    return {"labels": column} if any(column) else {}


def text_of(token: int, vocabulary: list[str]) -> str:
    """A token's text; its number where the vocabulary does not list it."""
    return vocabulary[token] if 0 <= token < len(vocabulary) else f"⟨{token}⟩"


def rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def features(
    sae: SAEResult, examples: FeatureExamples, cfg: ReportConfig, seed: int, labelled: Sequence[int] = ()
) -> list[Feature]:
    """The listed features of one autoencoder, by index."""
    concepts = concepts_of(sae)
    chosen = choose(concepts, examples.live, cfg.features_per_sae, seed, labelled)
    return [feature(int(index), examples, concepts.get(int(index), []), cfg) for index in chosen]


def concepts_of(sae: SAEResult) -> dict[int, list[tuple[str, float]]]:
    """Concepts by the feature that was chosen for them, best first."""
    found: dict[int, list[tuple[str, float]]] = {}
    for name, concept in sae.found.items():
        found.setdefault(concept["feature"], []).append((name, concept["auroc"]))
    return {index: sorted(pairs, key=lambda pair: (-pair[1], pair[0])) for index, pairs in found.items()}


def choose(
    concepts: dict[int, list[tuple[str, float]]], live: np.ndarray, n: int, seed: int, labelled: Sequence[int] = ()
) -> list[int]:
    """Features with labels, those of concepts, best first, then a random sample of the other live ones; by index."""
    best = sorted(concepts, key=lambda index: (-concepts[index][0][1], index))
    first = list(dict.fromkeys([*labelled, *best]))[:n]
    others = np.setdiff1d(live, first)
    sample = np.random.default_rng(seed).choice(others, min(n - len(first), len(others)), replace=False)
    return sorted([*first, *sample.tolist()])


def feature(index: int, examples: FeatureExamples, concepts: list[tuple[str, float]], cfg: ReportConfig) -> Feature:
    """Gathers what is shown of one feature."""
    largest = max(float(examples.max_activation[index]), 0.0)
    quotas = shares({kind: contexts.activation.shape[1] for kind, contexts in examples.contexts.items()}, cfg)
    return Feature(
        index,
        float(examples.density[index]),
        largest,
        concepts,
        (logits(examples, "top", index), logits(examples, "bottom", index)),
        {kind: contexts_of(examples.contexts[kind], index, quotas[kind], largest, cfg) for kind in KINDS},
    )


def shares(n_found: dict[str, int], cfg: ReportConfig) -> dict[str, int]:
    """Contexts of each kind to show: all, or as many as keep the proportions, at least one."""
    total = sum(n_found.values())
    if total <= cfg.contexts_per_feature:
        return n_found
    return {kind: max(n * cfg.contexts_per_feature // total, 1) for kind, n in n_found.items()}


def logits(examples: FeatureExamples, side: str, index: int) -> list[Logit]:
    """Tokens at one end of the direct effect on the logits; none for encoders."""
    if not examples.logits:
        return []
    ids, values = examples.logits[f"{side}_id"][index], examples.logits[f"{side}_value"][index]
    return [Logit(int(token), float(value)) for token, value in zip(ids, values, strict=True)]


def contexts_of(kind: Contexts, index: int, n: int, largest: float, cfg: ReportConfig) -> list[Context]:
    """A feature's contexts of one kind, evenly thinned to n."""
    there = np.flatnonzero(kind.document[index] >= 0)
    chosen = there if len(there) <= n else there[np.linspace(0, len(there) - 1, n).round().astype(int)]
    return [context(kind, index, int(place), largest, cfg.tokens_per_context) for place in chosen]


def context(kind: Contexts, index: int, place: int, largest: float, n_tokens: int) -> Context:
    """One context, cut to n tokens around the strongest."""
    middle = before(kind.token_id.shape[2])
    start = max(middle - before(n_tokens), 0)
    tokens = kind.token_id[index, place, start : start + n_tokens]
    acts = kind.acts[index, place, start : start + n_tokens].astype(np.float64)
    inside = tokens >= 0
    scale = LEVELS / largest if largest > 0 else 0.0
    levels = (acts[inside] * scale).round().clip(0, LEVELS).astype(int)
    return Context(
        document=int(kind.document[index, place]),
        peak=int(inside[: middle - start].sum()),
        is_held_out=bool(kind.is_held_out[index, place]),
        level=int(min(max(round(float(kind.activation[index, place]) * scale), 0), LEVELS)),
        tokens=tokens[inside].tolist(),
        levels=levels.tolist(),
    )


def packed(feature: Feature, numbers: dict[int, int]) -> bytes:
    """A feature's part of the stream."""
    values: list[int] = []
    for side in feature.logits:
        values.append(len(side))
        for logit in side:
            values += numbers[logit.token], zigzag(round(logit.value * LOGIT_STEPS))
    for kind in KINDS:
        values.append(len(feature.contexts[kind]))
        for context in feature.contexts[kind]:
            values += context.document, context.peak, int(context.is_held_out), context.level, len(context.tokens)
            values += [numbers[token] for token in context.tokens]
            active = [(place, level) for place, level in enumerate(context.levels) if level > 0]
            values.append(len(active))
            values += [number for pair in active for number in pair]
    return leb128(values)


def zigzag(value: int) -> int:
    """A whole number as a natural one: 0, −1, 1, −2 … become 0, 1, 2, 3 …"""
    return 2 * value if value >= 0 else -2 * value - 1


def leb128(values: Iterable[int]) -> bytes:
    """Natural numbers in seven bits per byte, the lowest first; a set high bit means that more follow."""
    found = bytearray()
    for value in values:
        while value > 127:
            found.append(value & 127 | 128)
            value >>= 7  # noqa: PLW2901
        found.append(value)
    return bytes(found)
