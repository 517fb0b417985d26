"""Deletion curves: what becomes of the answer when tokens go, the most important first or the least important first.

    MoRF(k)  p with the k most relevant tokens replaced          LeRF(k)  p with the k least relevant tokens replaced

| figure | definition | good |
|---|---|---|
| comprehensiveness | mean over k of p(text) − MoRF(k), k = 1, 5, 10, 20, 50 % | large |
| sufficiency | mean over k of p(text) − LeRF(n − k): only the top k stay | small |
| deletion area | area under MoRF | small |
| insertion area | area under p as tokens come back, the most relevant first | large |
| ABPC | area between: LeRF's − MoRF's | large; 0 for a random order |

p is the probability σ(F) of the target's log-odds or of the target against the contrast. A token that goes is *resampled*: it
becomes another token that could stand there, drawn several times, because a text with holes is one that the model was never
trained on. Ties count: where scores are equal, the order is drawn.

Source: DeYoung et al. 2020, "ERASER" (arXiv:1911.03429) for the first two and their fractions; Petsiuk et al. 2018, "RISE"
(arXiv:1806.07421) for the areas; Achtibat et al. 2024 (arXiv:2402.05602) for ABPC.
# Differs from ERASER: because deleting out of the middle of a text also changes what is left (positions, grammar).
"""

from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float, Int

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5)
"""Source: ERASER."""
GRID = (0.0, 0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0)
"""Where the areas are sampled."""


class Probability(Protocol):
    """The answer's probability when some tokens are replaced."""

    def __call__(self, gone: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows"]:
        """One value for each row of `gone` [rows, n] bool; a mean over draws."""
        ...


class Curves(NamedTuple):
    """Two orders, the same numbers of tokens."""

    n_gone: Int[np.ndarray, "points"]
    morf: Float[np.ndarray, "points"]
    lerf: Float[np.ndarray, "points"]


class Deletion(NamedTuple):
    """The figures of one case."""

    comprehensiveness: float
    sufficiency: float
    deletion_area: float
    insertion_area: float
    abpc: float


def order(scores: Float[np.ndarray, "n"], free: np.ndarray, rng: np.random.Generator) -> Int[np.ndarray, "free"]:
    """The free tokens, the most relevant first; ties in drawn order."""
    places = rng.permutation(np.flatnonzero(free))
    return places[np.argsort(-scores[places], kind="stable")]


def numbers(n: int) -> Int[np.ndarray, "points"]:
    """Numbers of tokens that go: those of the areas and those of both AOPCs."""
    few = [max(1, round(share * n)) for share in FRACTIONS]
    some = [round(share * n) for share in GRID]
    return np.unique([*some, *few, *(n - k for k in few)])


def curves(ranked: Int[np.ndarray, "n"], n_tokens: int, probability: Probability) -> Curves:
    """Both curves of one order, in one go."""
    ks = numbers(len(ranked))
    gone = np.zeros((2 * len(ks), n_tokens), bool)
    for row, k in enumerate(ks):
        gone[row, ranked[:k]] = True
        gone[len(ks) + row, ranked[len(ranked) - k :]] = True
    found = probability(gone)
    return Curves(ks, found[: len(ks)], found[len(ks) :])


def figures(found: Curves) -> Deletion:
    """The figures of two curves, whose first point is the whole text."""
    n = int(found.n_gone[-1])
    share = found.n_gone / n
    whole = found.morf[0]
    few = [max(1, round(one * n)) for one in FRACTIONS]
    at = {int(k): row for row, k in enumerate(found.n_gone)}
    comprehensiveness = np.mean([whole - found.morf[at[k]] for k in few])
    sufficiency = np.mean([whole - found.lerf[at[n - k]] for k in few])
    deletion, insertion = float(np.trapezoid(found.morf, share)), float(np.trapezoid(found.lerf, share))
    return Deletion(float(comprehensiveness), float(sufficiency), deletion, insertion, insertion - deletion)
