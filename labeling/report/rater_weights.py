"""Raters' weights as the report takes them: consistency from repeated items, learnability from what they wrote.

Learnability is taken from rationale to label alone, since a report knows the judgements and not the evidence; at most
`MOST` judgements of a rater are learned from, drawn with the report's seed, so that a large panel costs seconds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from labeling.codebook import Codebook, Question
from labeling.judgement_table import JudgementRow
from labeling.learnability import Learnability, LearnabilityConfig, learnability
from labeling.ratings import Ratings
from labeling.report.matrix import codes_of
from labeling.weights import RaterWeight, WeightsConfig, weights

MOST = 200
"""Judgements of a rater that are learned from, so that twenty raters of thousands cost seconds and not minutes."""
N_PERMUTATIONS = 3


def rater_weights(
    rows: Sequence[JudgementRow], ratings: Ratings, raters: Sequence[str], codebook: Codebook, seed: int
) -> tuple[tuple[RaterWeight, ...], tuple[Learnability, ...]]:
    """The weight of every rater, and the learnability it holds.

    Args:
        rows: Blind judgements, repeats among them.
        ratings: Those of them that are no repeats.
        raters: Pseudonyms, in the order of `ratings`.
        codebook: Theirs.
        seed: Of folds, permutations and the draw.
    """
    question = codebook.question(codebook.primary)
    place, codes = {name: n for n, name in enumerate(raters)}, frozenset(codes_of(question))
    own: list[list[JudgementRow]] = [[] for _ in raters]
    for row in rows:
        if row.retest_of is None and row.pseudonym in place and str(row.answers.get(question.key)) in codes:
            own[place[row.pseudonym]].append(row)
    written = tuple(from_rationale(mine, codebook, question, seed) for mine in own)
    skills = np.asarray([0.0 if one.skill is None else one.skill for one in written])
    repeats = pairs(rows, question, place)
    return weights(ratings, repeats, skills, WeightsConfig()), written


def from_rationale(rows: Sequence[JudgementRow], codebook: Codebook, question: Question, seed: int) -> Learnability:
    """How well a rater's answers follow from their reasons."""
    key = next((one.key for one in codebook.questions if one.kind == "rationale"), None)
    if key is None:
        return Learnability(None, None, None, "the codebook asks for no rationale")
    if len(rows) > MOST:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), MOST, replace=False))
        rows = [rows[int(n)] for n in chosen]
    rank = {code: n for n, code in enumerate(codes_of(question))}
    texts = [str((row.answers.get(key) or {}).get("text", "")) for row in rows]
    labels = np.asarray([rank[row.answers[question.key]] for row in rows], int)
    families = [row.family or f"{row.feature.hook_point}/{row.feature.sae_id}/{row.feature.number}" for row in rows]
    return learnability(texts, labels, families, LearnabilityConfig(n_permutations=N_PERMUTATIONS, seed=seed))


def pairs(
    rows: Sequence[JudgementRow], question: Question, place: dict[str, int]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """By rater, the answers to items that came twice: at first, and again."""
    rank = {code: n for n, code in enumerate(codes_of(question))}
    again = [(row.retest_of, row) for row in rows if row.retest_of]
    repeated = {item for item, _ in again}
    first = {(row.item_id, row.pseudonym): row for row in rows if row.item_id in repeated}
    found: dict[int, list[tuple[int, int]]] = {}
    for item, row in again:
        before = first.get((item, row.pseudonym))
        if before is None or row.pseudonym not in place:
            continue
        answers = (before.answers.get(question.key), row.answers.get(question.key))
        if answers[0] in rank and answers[1] in rank:
            found.setdefault(place[row.pseudonym], []).append((rank[answers[0]], rank[answers[1]]))
    return {rater: (np.asarray(both)[:, 0], np.asarray(both)[:, 1]) for rater, both in found.items()}


def records(
    found: Sequence[RaterWeight], written: Sequence[Learnability], raters: Sequence[str]
) -> list[dict[str, Any]]:
    """As they stand in the JSON."""
    return [
        {
            "rater": name,
            "weight": one.weight,
            "own": one.own,
            "consistency": one.consistency,
            "consistency_from": one.source,
            "learnability": skill.skill,
            "learnability_reason": skill.reason,
            "n_judgements": one.n_judgements,
        }
        for name, one, skill in zip(raters, found, written, strict=True)
    ]
