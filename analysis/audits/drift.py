"""Have the data changed? Six signs without labels, one test, its false-alarm rate held.

Of each document only what its features do is kept. Reference and new documents are compared in

1. `reconstruction`: the share of variance that the autoencoders leave unexplained, mean over documents, each layer;
2. `firing_rate`: how often each feature fires, as a share of a document's tokens, the largest shift of all;
3. `strength`: how strong each feature is where it is strongest in a document, the largest shift of all: what a document is
   about shows here, though features say it at a token or two;
4. `coactivation`: how often pairs of features fire in the same document, beyond what their own rates give;
5. `dead`: features of the reference that are gone in the new documents;
6. `novel`: features of the new documents that the reference has not.

All documents are pooled and divided anew at random, patients together, and every sign is computed for each division. Each
becomes a p-value among the divisions, the smallest of the six is compared with the smallest of every division, and that is
the one p-value of the audit. Under "nothing has changed" the true division is one like the others, so that it is below alpha
in a share alpha of all audits, whatever the features.

Source: the idea of label-free monitoring, Kiyasseh et al. 2024, Nature Communications 15:1808; min-P, Westfall and Young 1993;
permutation as a two-sample test that is exact, Lehmann and Romano, Testing Statistical Hypotheses, ch. 15.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from analysis.audits.config import DriftConfig
from analysis.audits.features import Pooled
from analysis.audits.permutation import combined, corrected
from hooks.hook_points import HookPoint
from sae.errors import UserError

SIGNS = ("reconstruction", "firing_rate", "strength", "coactivation", "dead", "novel")
N_SHOWN = 12
PERMUTATIONS_AT_ONCE = 64
SHARPNESS = 1e-9


class Shifted(NamedTuple):
    """A feature whose firing changed."""

    hook_point: str
    feature: int
    before: float
    """Share of tokens at which it fires in the reference."""
    after: float
    z: float
    p: float
    """Corrected for all features."""


class Drift(NamedTuple):
    """What was found."""

    p: float
    """Of all signs together."""
    is_alarm: bool
    alpha: float
    signs: dict[str, dict[str, float]]
    """Sign → its statistic, its p-value alone, and the median of its null."""
    fvu: dict[str, dict[str, float]]
    """Hook point → unexplained share of variance before and after."""
    shifted: list[Shifted]
    """Features that shifted beyond chance, strongest first."""
    dead: list[str]
    """HOOK/INDEX of features gone, where they are expected in enough documents."""
    novel: list[str]
    n_reference: int
    n_new: int


class Documents(NamedTuple):
    """All documents, reference first, as the test sees them."""

    points: list[str]
    places: list[tuple[str, int]]
    """Hook point and feature of each column."""
    fvu: np.ndarray
    """[n, n_points] unexplained share of variance."""
    share: np.ndarray
    """[n, n_features] share of tokens at which a feature fires."""
    largest: np.ndarray
    """[n, n_features] a feature's largest activation."""
    fires: np.ndarray
    """[n, n_features] 0 or 1: whether it fires in the document."""
    pairs: np.ndarray
    """[n, n_pairs] whether both fire, less what their rates in all documents give."""


def documents(found: Mapping[HookPoint, Pooled], cfg: DriftConfig) -> Documents:
    """The documents of a pass; features that never fire are left out.

    Args:
        found: Features of all documents, reference and new.
        cfg: How many pairs.
    """
    places, share, largest, fires = [], [], [], []
    for point, pool in found.items():
        live = np.flatnonzero(pool.largest.max(0) > 0)
        places += [(str(point), int(i)) for i in live]
        share.append(pool.share[:, live])
        largest.append(pool.largest[:, live])
        fires.append(pool.fires[:, live])
    both = np.concatenate(fires, 1).astype(np.float32)
    fvu = np.stack([pool.error / np.maximum(pool.variance, SHARPNESS) for pool in found.values()], 1)
    points = [str(point) for point in found]
    return Documents(
        points, places, fvu, np.concatenate(share, 1), np.concatenate(largest, 1), both, pairs_of(both, cfg)
    )


def pairs_of(fires: np.ndarray, cfg: DriftConfig) -> np.ndarray:
    """[n, n_pairs] products of centred firing, of the pairs that could vary most; chosen from all documents together."""
    rate = fires.mean(0)
    common = np.argsort(-rate * (1 - rate), kind="stable")[: int(np.ceil(np.sqrt(2 * cfg.n_pairs))) + 1]
    a, b = np.triu_indices(len(common), 1)
    centred = fires[:, common] - rate[common]
    return centred[:, a[: cfg.n_pairs]] * centred[:, b[: cfg.n_pairs]]


def divisions(patients: Sequence[str], n_reference: int, n: int, seed: int) -> np.ndarray:
    """[1 + n, n_documents] bool: which documents count as new, the true division first.

    Whole patients change sides; their order is drawn at random and taken until the new side has as many documents as it has.

    Args:
        patients: Of all documents, reference first.
        n_reference: How many are the reference.
        n: Divisions to draw.
        seed: Of the draws.

    Raises:
        UserError: A patient has documents on both sides.
    """
    is_new = np.arange(len(patients)) >= n_reference
    code = np.unique(list(patients), return_inverse=True)[1]
    on_both = set(code[is_new].tolist()) & set(code[~is_new].tolist())
    if on_both:
        raise UserError(
            f"{len(on_both)} patients have documents in both the reference and the new data, expected other patients. "
            "Remove them from one side, or correct the group column."
        )
    rng = np.random.default_rng(seed)
    sizes = np.bincount(code)
    side = np.zeros(len(sizes), bool)
    side[code[is_new]] = True
    by_size: dict[int, np.ndarray] = {int(size): np.flatnonzero(sizes == size) for size in np.unique(sizes)}
    found = np.empty((1 + n, len(code)), bool)
    found[0] = is_new
    for i in range(n):
        drawn = np.zeros_like(side)
        for (
            members
        ) in by_size.values():  # patients with as many documents change places, so that the sides stay as large
            drawn[members] = side[rng.permutation(members)]
        found[1 + i] = drawn[code]
    return found


def drift(docs: Documents, patients: Sequence[str], n_reference: int, cfg: DriftConfig) -> Drift:
    """Compares new documents with the reference.

    Args:
        docs: All documents, reference first.
        patients: Whose they are.
        n_reference: How many are the reference.
        cfg: Level and sizes.

    Raises:
        UserError: A side has too few patients, or they share some.
    """
    refuse_few(patients, n_reference, cfg)
    is_new = divisions(patients, n_reference, cfg.n_permutations, cfg.seed)
    fvu_z, share_z = standard_scores(docs.fvu, is_new), standard_scores(docs.share, is_new)
    gone, novel = missing(docs.fires, is_new)
    strength, pairs = (overall(standard_scores(x, is_new)) for x in (docs.largest, docs.pairs))
    parts = np.stack([np.abs(fvu_z).max(1), overall(share_z), strength, pairs, gone, novel], 1)
    p, alone = combined(parts)
    signs = {
        name: {"statistic": float(parts[0, i]), "p": float(alone[i]), "null_median": float(np.median(parts[1:, i]))}
        for i, name in enumerate(SIGNS)
    }
    before, after = docs.share[:n_reference].mean(0), docs.share[n_reference:].mean(0)
    each = corrected(share_z[0], np.abs(share_z[1:]).max(1))
    order = [i for i in np.argsort(-np.abs(share_z[0]), kind="stable") if each[i] <= cfg.alpha]
    shifted = [
        Shifted(
            docs.places[i][0],
            docs.places[i][1],
            float(before[i]),
            float(after[i]),
            float(share_z[0, i]),
            float(each[i]),
        )
        for i in order
    ]
    fvu = {
        point: {"before": float(docs.fvu[:n_reference, i].mean()), "after": float(docs.fvu[n_reference:, i].mean())}
        for i, point in enumerate(docs.points)
    }
    return Drift(
        p, p <= cfg.alpha, cfg.alpha, signs, fvu, shifted, *lost(docs, n_reference, cfg), n_reference,
        len(patients) - n_reference,
    )  # fmt: skip


def standard_scores(x: np.ndarray, is_new: np.ndarray) -> np.ndarray:
    """[n_divisions, n_columns] new mean − reference mean, in standard errors of the pooled documents."""
    x = x - x.mean(0)
    n_new = is_new.sum(1, keepdims=True)
    n_old = is_new.shape[1] - n_new
    spread = np.maximum(x.std(0), SHARPNESS)
    inside = is_new.astype(np.float32) @ (x / spread).astype(np.float32)
    return inside * (1 / n_new + 1 / n_old) / np.sqrt(1 / n_new + 1 / n_old)


def overall(z: np.ndarray) -> np.ndarray:
    """[n_divisions] the largest |z| where one column moved far, and the mean square where many moved a little.

    Both are put on one scale by their ranks among the divisions, and the larger counts.
    """
    largest, mean = np.abs(z).max(1), (z**2).mean(1)
    return np.maximum(ranks(largest), ranks(mean))


def ranks(values: np.ndarray) -> np.ndarray:
    """[n] share of values that each is at least as large as, ties alike."""
    return np.searchsorted(np.sort(values), values, side="right") / len(values)


def missing(fires: np.ndarray, is_new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[n_divisions] each: how surprising the features are that one side has and the other has not, summed.

    A feature in m of n documents is missing on a side of share s by chance with probability about (1 − s)^m; its surprise is
    −m · log(1 − s), so that rare features count little.
    """
    total = fires.sum(0)
    inside = is_new.astype(np.float32) @ fires
    share = is_new.mean(1, keepdims=True)
    gone = ((inside == 0) * total * -np.log1p(-share)).sum(1)
    novel = ((inside == total) * total * -np.log(share)).sum(1)
    return gone, novel


def lost(docs: Documents, n_reference: int, cfg: DriftConfig) -> tuple[list[str], list[str]]:
    """Features that fire in enough documents of one side and in none of the other: dead, and novel."""
    before, after = docs.fires[:n_reference].mean(0), docs.fires[n_reference:].mean(0)
    name = [f"{point}/{feature}" for point, feature in docs.places]
    dead = [name[i] for i in np.flatnonzero((before >= cfg.min_share) & (after == 0))]
    novel = [name[i] for i in np.flatnonzero((after >= cfg.min_share) & (before == 0))]
    return dead, novel


def refuse_few(patients: Sequence[str], n_reference: int, cfg: DriftConfig) -> None:
    """Stops where a side is too small to say anything.

    Raises:
        UserError: It is.
    """
    for name, some in (("reference", patients[:n_reference]), ("new data", patients[n_reference:])):
        n = len(set(some))
        if n < cfg.min_patients:
            raise UserError(
                f"The {name} has {n} patients, expected at least {cfg.min_patients}: with fewer nothing short of a "
                "catastrophe would show. Add documents."
            )
