"""Can a rater's labels be learned? Skill of a plain text classifier over guessing, less what permuted labels reach.

1. TF-IDF of words and pairs of words, then a logistic regression: no network, nothing to download.
2. Cross-validation by *family*: near-duplicate features (one family) are never on both sides, or duplicates would leak.
3. Skill is D² = 1 − log-loss ÷ log-loss of the training folds' shares of labels. A rater who answers at random, or always
   the same, has none.
4. The same with the labels permuted, several times; its mean is taken off. Never below 0.

Done once from the evidence (does the rater follow what is shown?) and once from the rater's rationale (do the reasons
lead to the label?); `learnability` is the mean of those that could be measured.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import log_softmax, softmax

from sae.config import Settings
from sae.errors import UserError

WORD = r"(?u)\b\w+\b"
MAX_STEPS = 500
TOLERANCE = 1e-4
"""Largest gradient that counts as none."""
BARRED = -1e9
"""Added under the softmax to what cannot be."""
FLOOR = 1e-6
"""Probabilities are kept so far from 0 under a logarithm."""


class LearnabilityConfig(Settings, frozen=True):
    """How learnability is measured."""

    n_folds: int = Field(default=5, ge=2, description="Folds of families.")
    n_permutations: NonNegativeInt = Field(
        default=10, description="Permutations of the labels that show what chance reaches."
    )
    min_judgements: int = Field(default=20, ge=4, description="Judgements below which nothing is said of a rater.")
    C: PositiveFloat = Field(default=10.0, description="Inverse strength of the penalty on the classifier's weights.")
    seed: NonNegativeInt = Field(default=0, description="Of folds and permutations.")


class Learnability(NamedTuple):
    """Skill of a classifier that learned a rater's labels."""

    skill: float | None
    """D² less the null's mean, at least 0; none where it cannot be measured."""
    d2: float | None
    """Explained share of the log-loss, cross-validated."""
    null: float | None
    """Mean D² of permuted labels."""
    reason: str
    """Why there is no figure, else empty."""


def learnability(
    texts: Sequence[str], labels: np.ndarray, families: Sequence[object], cfg: LearnabilityConfig
) -> Learnability:
    """How well a rater's labels follow from texts.

    Args:
        texts: Evidence shown, or rationale written, of each judgement.
        labels: [n] ranks of the answers.
        families: Of the features judged; one family never stands on both sides of a fold.
        cfg: The settings.

    Raises:
        UserError: Columns that differ in length.
    """
    if not len(texts) == len(labels) == len(families):
        raise UserError(
            f"There are {len(texts)} texts, {len(labels)} labels and {len(families)} families, expected the same number. "
            "Pass one of each per judgement."
        )
    y, group = np.asarray(labels), np.unique([str(one) for one in families], return_inverse=True)[1]
    reason = why_not(texts, y, group, cfg)
    if reason:
        return Learnability(None, None, None, reason)
    folds, rng = splits(texts, folds_of(group, cfg), cfg), np.random.default_rng(cfg.seed)
    ranks = np.unique(y, return_inverse=True)[1]
    d2, *nulls = cross_validated(
        folds, np.stack([ranks, *(rng.permutation(ranks) for _ in range(cfg.n_permutations))]), cfg
    )
    null = float(np.mean(nulls)) if nulls else 0.0
    return Learnability(max(d2 - max(null, 0.0), 0.0), d2, null, "")


def combined(parts: Sequence[Learnability]) -> float:
    """Mean skill over what could be measured, 0 where nothing could."""
    skills = [one.skill for one in parts if one.skill is not None]
    return float(np.mean(skills)) if skills else 0.0


def why_not(texts: Sequence[str], y: np.ndarray, group: np.ndarray, cfg: LearnabilityConfig) -> str:
    """Why nothing can be said, or an empty text."""
    if len(y) < cfg.min_judgements:
        return f"{len(y)} judgements, {cfg.min_judgements} are needed"
    if len(np.unique(y)) < 2:
        return "one label alone"
    if group.max() + 1 < cfg.n_folds:
        return f"{group.max() + 1} families, {cfg.n_folds} are needed"
    if not any(any(letter.isalnum() for letter in text) for text in texts):
        return "no words"
    return ""


def folds_of(group: np.ndarray, cfg: LearnabilityConfig) -> np.ndarray:
    """[n] fold of each judgement: families shuffled, then dealt out."""
    order = np.random.default_rng(cfg.seed).permutation(group.max() + 1)
    return (order % cfg.n_folds)[group]


class Split(NamedTuple):
    """One fold left out, with the texts as numbers: the same for every permutation of the labels."""

    inside: np.ndarray
    """Rows that are learned from."""
    outside: np.ndarray
    """Rows that are foretold."""
    learned: np.ndarray
    """[n_inside, rank] TF-IDF, whose vocabulary and frequencies are those of these rows alone, turned by `turned`."""
    foretold: np.ndarray
    """[n_outside, rank]."""


def splits(texts: Sequence[str], fold: np.ndarray, cfg: LearnabilityConfig) -> list[Split]:
    """The folds that have rows; words are counted once."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer  # slow to import; no need on the web

    counts: Any = CountVectorizer(ngram_range=(1, 2), token_pattern=WORD).fit_transform(texts)
    found = []
    for number in range(cfg.n_folds):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not len(outside):
            continue
        is_met = np.flatnonzero(counts[inside].getnnz(axis=0))
        tfidf: Any = TfidfTransformer(sublinear_tf=True)
        learned = tfidf.fit_transform(counts[inside][:, is_met])
        found.append(Split(inside, outside, *turned(learned, tfidf.transform(counts[outside][:, is_met]))))
    return found


def turned(learned: csr_array, foretold: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the basis that the learned ones span: with fewer rows than words, a fifth of the numbers.

    A squared penalty does not see the turn, since the best weights lie in that span: the foretelling is the same.
    """
    values, vectors = np.linalg.eigh((learned @ learned.T).toarray())
    kept = values > 1e-10 * values[-1]
    root, vectors = np.sqrt(values[kept]), vectors[:, kept]
    return vectors * root, (foretold @ learned.T).toarray() @ vectors / root


def cross_validated(folds: Sequence[Split], labels: np.ndarray, cfg: LearnabilityConfig) -> list[float]:
    """D² over all folds together, of each row of labels [n_sets, n]: the rater's own, and permuted ones."""
    ours, baseline = np.zeros(len(labels)), np.zeros(len(labels))
    for one in folds:
        all_chances = foretold(one, labels, cfg)
        for place, (y, chances) in enumerate(zip(labels, all_chances, strict=True)):
            counts = np.bincount(y[one.inside], minlength=chances.shape[1])
            n_met = np.count_nonzero(counts)
            total = counts.sum() + n_met + 1  # one more of each, and one for all labels not met
            outside = y[one.outside]
            guessed = np.where(counts[outside] > 0, (counts[outside] + 1) / total, 1 / total)
            baseline[place] -= np.log(guessed).sum()
            if n_met > 1:
                hits = chances[np.arange(len(outside)), outside]
                guessed = np.where(counts[outside] > 0, hits, 1 / total)
            ours[place] -= np.log(np.maximum(guessed, FLOOR)).sum()
    some = np.where(baseline > 0, baseline, 1)
    return [float(one) for one in np.where(baseline > 0, 1 - ours / some, 0.0)]


def foretold(one: Split, labels: np.ndarray, cfg: LearnabilityConfig) -> np.ndarray:
    """[n_sets, n_outside, n_labels] probabilities by logistic regressions, one for each row of labels [n_sets, n].

    They share their inputs, so that all are fitted at once: the sum of their losses is smallest where each one is. A label
    that a fold has not met is barred there.
    """
    x, n_sets, n_labels = one.learned, len(labels), int(labels.max()) + 1
    targets = np.eye(n_labels)[labels[:, one.inside].T]
    barred = np.where(targets.any(axis=0), 0.0, BARRED)

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        both = flat.reshape(-1, n_sets * n_labels)
        chances = log_softmax((x @ both[1:] + both[0]).reshape(targets.shape) + barred, axis=2)
        error = (np.exp(chances) - targets).reshape(len(x), -1)
        loss = -(targets * chances).sum() + (both[1:] ** 2).sum() / (2 * cfg.C)
        gradient = np.concatenate([error.sum(axis=0)[None], x.T @ error + both[1:] / cfg.C])
        return float(loss) / len(x), gradient.ravel() / len(x)

    start = np.zeros((x.shape[1] + 1) * n_sets * n_labels)
    options = {"maxiter": MAX_STEPS, "gtol": TOLERANCE, "ftol": 1e-12}
    best = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x
    both = best.reshape(-1, n_sets * n_labels)
    logits = (one.foretold @ both[1:] + both[0]).reshape(-1, n_sets, n_labels) + barred
    return softmax(logits, axis=2).transpose(1, 0, 2)
