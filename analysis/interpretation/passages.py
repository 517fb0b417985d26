"""Contexts of one feature, dealt out: some to explain it from, others, of other patients, to score the explanation on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from analysis.examples import Contexts, FeatureExamples
from analysis.interpretation.config import InterpretConfig

LEAST = 3
"""Contexts of each kind that a score needs."""


class Passage(NamedTuple):
    """Some tokens and what a feature does on them."""

    tokens: tuple[str, ...]
    acts: tuple[float, ...]
    patient: int
    """Number of the bundle of documents that it is from."""

    @property
    def fires(self) -> bool:
        return max(self.acts) > 0


class Evidence(NamedTuple):
    """What is asked about one feature."""

    shown: list[Passage]
    """The explanation is made from these."""
    firing: list[Passage]
    """Held-out: of no patient that stands among those shown, from strong to weak."""
    silent: list[Passage]
    """Held-out, of no patient that stands among those shown."""
    density: float
    """Share of tokens that it fires on."""

    @property
    def is_enough(self) -> bool:
        """Whether it can be explained and scored."""
        return len(self.shown) >= LEAST and len(self.firing) >= LEAST and len(self.silent) >= LEAST


def passages(contexts: Contexts, feature: int, words: Sequence[str], patients: np.ndarray) -> list[Passage]:
    """One feature's contexts of one kind.

    Args:
        contexts: Of all features.
        feature: Which.
        words: Text of every token id; empty for special ones, which are left out.
        patients: [n_documents] bundle of each document.
    """
    found = []
    for place, document in enumerate(contexts.document[feature]):
        pairs = [
            (words[int(i)], float(act))
            for i, act in zip(contexts.token_id[feature, place], contexts.acts[feature, place], strict=True)
            if i >= 0 and words[int(i)]
        ]
        if document >= 0 and pairs:
            tokens, acts = zip(*pairs, strict=True)
            found.append(Passage(tokens, acts, int(patients[document])))
    return found


def evidence(
    examples: FeatureExamples, feature: int, words: Sequence[str], patients: np.ndarray, silent: Sequence[Passage],
    cfg: InterpretConfig,
) -> Evidence:  # fmt: skip
    """Deals a feature's contexts out, by patient.

    Patients in whom it fires are halved at random; one half's contexts explain, the other half's score.

    Args:
        examples: Of one autoencoder.
        feature: Which.
        words: Text of every token id.
        patients: [n_documents] bundle of each document.
        silent: Windows in which the feature is silent.
        cfg: How many of each.
    """
    rng = np.random.default_rng((cfg.seed, feature))
    every = unique(
        [one for kind in ("top", "quantile") for one in passages(examples.contexts[kind], feature, words, patients)]
    )
    every = [one for one in every if one.fires]
    those = rng.permutation(sorted({one.patient for one in every}))
    shown_patients = {int(one) for one in those[: (len(those) + 1) // 2]}
    shown = strongest([one for one in every if one.patient in shown_patients])
    firing = strongest([one for one in every if one.patient not in shown_patients])
    quiet = [one for one in silent if one.patient not in shown_patients and not one.fires]
    picked = [quiet[int(i)] for i in rng.permutation(len(quiet))[: cfg.n_each]]
    return Evidence(
        spread(shown, cfg.n_shown), spread(firing, cfg.n_each), picked, float(examples.density[feature])
    )  # fmt: skip


def unique(some: Sequence[Passage]) -> list[Passage]:
    """Passages without those that were there already."""
    return list({(one.patient, one.tokens): one for one in some}.values())


def strongest(some: Sequence[Passage]) -> list[Passage]:
    """From strong to weak."""
    return sorted(some, key=lambda one: -max(one.acts))


def spread(some: Sequence[Passage], most: int) -> list[Passage]:
    """So many, evenly from the first to the last."""
    n = min(len(some), most)
    return [some[i * len(some) // n] for i in range(n)]
