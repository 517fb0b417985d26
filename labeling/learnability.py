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
from typing import NamedTuple

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat

from sae.config import Settings
from sae.errors import UserError

WORD = r"(?u)\b\w+\b"
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
    fold, rng = folds_of(group, cfg), np.random.default_rng(cfg.seed)
    d2 = cross_validated(texts, y, fold, cfg)
    nulls = [cross_validated(texts, rng.permutation(y), fold, cfg) for _ in range(cfg.n_permutations)]
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


def cross_validated(texts: Sequence[str], y: np.ndarray, fold: np.ndarray, cfg: LearnabilityConfig) -> float:
    """D² over all folds together."""
    ours = baseline = 0.0
    for number in range(cfg.n_folds):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not len(outside):
            continue
        classes, counts = np.unique(y[inside], return_counts=True)
        total = counts.sum() + len(classes) + 1  # one more of each, and one for all labels not met
        met = np.minimum(np.searchsorted(classes, y[outside]), len(classes) - 1)
        is_met = classes.take(met) == y[outside]
        guessed = np.where(is_met, (counts.take(met) + 1) / total, 1 / total)
        baseline -= float(np.log(guessed).sum())
        if len(classes) > 1:
            chances = foretold(
                [texts[int(row)] for row in inside], y[inside], [texts[int(row)] for row in outside], cfg
            )
            guessed = np.where(is_met, np.take_along_axis(chances, met[:, None], axis=1)[:, 0], 1 / total)
        ours -= float(np.log(np.maximum(guessed, FLOOR)).sum())
    return float(1 - ours / baseline) if baseline > 0 else 0.0


def foretold(texts: Sequence[str], y: np.ndarray, others: Sequence[str], cfg: LearnabilityConfig) -> np.ndarray:
    """[n_others, n_labels] probability of each label that was met, in ascending order."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # slow to import, and the web server has no need of it
    from sklearn.linear_model import LogisticRegression

    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=WORD)
    model = LogisticRegression(C=cfg.C, max_iter=500).fit(words.fit_transform(texts), y)
    return np.asarray(model.predict_proba(words.transform(others)))
