"""Raters beside themselves, beside what is known to be true, beside their own house and others, and over time."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from labeling.bootstrap import BootstrapConfig
from labeling.codebook import CANNOT_JUDGE, Codebook, Question
from labeling.drift import DriftConfig, alpha_by_period, cusum, ewma, left_out_agreement
from labeling.gold import GoldAccuracy, against_gold, pooled_gold
from labeling.groups import group_agreement
from labeling.identifiers import moment
from labeling.judgement_table import JudgementRow, JudgementTable
from labeling.report.matrix import FieldMatrix, Grid, codes_of, matrix, scale_of
from labeling.retest import Retest, retest

Figures = dict[str, Any]
DAY = timedelta(days=1)
FALL = 0.2
"""Of agreement with others, that a chart should notice. Source: the difference of `DriftConfig`'s defaults."""
GROUPINGS = ("institution", "specialty", "seniority")


def rated_questions(codebook: Codebook) -> list[Question]:
    """Fields whose answers are one category."""
    return [question for question in codebook.questions if question.kind in ("choice", "scale")]


# Twice


def retests(table: JudgementTable, codebook: Codebook, codebook_n: int, cfg: BootstrapConfig) -> list[Figures]:
    """Raters with themselves, on every field with categories: all pooled, and each."""
    rows = table.blind(codebook_n)
    again = [(row.retest_of, row) for row in rows if row.retest_of is not None]
    repeated = {item for item, _ in again}
    first = {(row.item_id, row.rater_id): row for row in rows if row.item_id in repeated}
    pairs = [(first[item, row.rater_id], row) for item, row in again if (item, row.rater_id) in first]
    if not pairs:
        return []
    n_rated = Counter(row.pseudonym for row in rows if row.retest_of is None)
    found = []
    for question in rated_questions(codebook):
        pooled = of_pairs(pairs, question, cfg, sum(n_rated[name] for name in {one.pseudonym for one, _ in pairs}))
        own = {
            name: of_pairs([pair for pair in pairs if pair[0].pseudonym == name], question, cfg, n_rated[name])
            for name in sorted({one.pseudonym for one, _ in pairs})
            if question.key == codebook.primary
        }
        found.append(
            {"key": question.key, "name": question.name, "kind": question.kind, "pooled": pooled, "raters": own}
        )
    return found


def of_pairs(
    pairs: Sequence[tuple[JudgementRow, JudgementRow]], question: Question, cfg: BootstrapConfig, n_rated: int
) -> Figures:
    """Two sittings on one field."""
    first, second = (ranks([pair[place] for pair in pairs], question) for place in (0, 1))
    days = [(moment(b.submitted_at) - moment(a.submitted_at)) / DAY for a, b in pairs]
    items = [before.item_id for before, _ in pairs]
    return retest_record(retest(first, second, scale_of(question), cfg, days, n_rated, items), len(pairs), days)


def retest_record(found: Retest, n: int, days: Sequence[float]) -> Figures:
    """As it stands in the JSON."""
    names = ("percent_agreement", "ac1", "kappa", "ac2", "weighted_kappa")
    figures = {name: one.record() for name in names if (one := getattr(found, name)) is not None}
    return {
        "n_pairs": n,
        "days_min": min(days),
        "days_max": max(days),
        "figures": figures,
        "is_enough": found.is_enough,
        "notes": list(found.notes),
    }


def ranks(rows: Sequence[JudgementRow], question: Question) -> np.ndarray:
    """[n] ranks of the answers to a field; NaN where there is none or the rater could not judge."""
    rank = {code: float(place) for place, code in enumerate(codes_of(question))}
    return np.asarray([rank.get(str(row.answers.get(question.key)), np.nan) for row in rows])


# Beside the truth


def gold(table: JudgementTable, codebook: Codebook, codebook_n: int, cfg: BootstrapConfig) -> list[Figures]:
    """Raters against known answers that they were not told."""
    known = {one.item_id: one.answers for one in table.golds if not one.is_shown}
    rows = [row for row in table.blind(codebook_n) if row.item_id in known and not row.is_surplus]
    found = []
    for question in rated_questions(codebook):
        rank = {code: float(place) for place, code in enumerate(codes_of(question))}
        asked = [row for row in rows if known[row.item_id].get(question.key) in rank]
        if not asked:
            continue
        truth = np.asarray([rank[known[row.item_id][question.key]] for row in asked])
        answers = ranks(asked, question)
        names, items = (np.asarray([getattr(row, name) for row in asked]) for name in ("pseudonym", "item_id"))
        scale = scale_of(question)
        own = {
            name: gold_record(against_gold(answers[names == name], truth[names == name], scale))
            for name in sorted(set(names))
        }
        found.append(
            {
                "key": question.key,
                "name": question.name,
                "n_items": len({row.item_id for row in asked}),
                "n_cannot_judge": sum(row.answers.get(question.key) == CANNOT_JUDGE for row in asked),
                "categories": list(scale.names),
                "pooled": gold_record(pooled_gold(answers, truth, items, scale, cfg, len(own))),
                "raters": own,
            }
        )
    return found


def gold_record(found: GoldAccuracy) -> Figures:
    """As it stands in the JSON."""
    return {
        "accuracy": found.accuracy.record(),
        "classes": [
            {**one._asdict(), "sensitivity": one.sensitivity.record(), "specificity": one.specificity.record()}
            for one in found.classes
            if one.n_gold
        ],
        "confusion": [list(row) for row in found.confusion],
    }


# Houses


def groups(places: Grid, question: Question, cfg: BootstrapConfig) -> list[Figures]:
    """Agreement within and between institutions, specialties and grades, where there are two or more."""
    found = matrix(places, question)
    of_rater = {row.pseudonym: row for row in places.rows}
    done = []
    for grouping in GROUPINGS:
        names = [getattr(of_rater[rater], grouping) or "not stated" for rater in found.raters]
        if len(set(names)) < 2:
            continue
        result = group_agreement(found.ratings, names, scale_of(question), cfg)
        done.append(
            {
                "grouping": grouping,
                "n_raters": {name: names.count(name) for name in sorted(set(names))},
                "groups": {name: one.record() for name, one in sorted(result.groups.items())},
                **{name: getattr(result, name).record() for name in ("overall", "within", "between", "difference")},
            }
        )
    return done


# Over time


def drift(places: Grid, question: Question, cfg: BootstrapConfig) -> Figures:
    """Agreement by week, and charts of each rater's agreement with the others in the order of their judgements."""
    found = matrix(places, question)
    if not found.items:
        return {"weeks": [], "raters": [], "expected": None, "bad": None}
    times, when = submissions(places, found)
    last = when.max(axis=1)
    order = np.argsort(last, kind="stable")
    weeks = {place: week(str(times[place])) for place in np.unique(last)}
    by_week = alpha_by_period(found.ratings[order], [weeks[last[n]] for n in order], scale_of(question), cfg)
    shares = left_out_agreement(found.ratings)
    cfg_of_charts = charts(shares)
    return {
        "weeks": [{"week": one.period, "alpha": one.alpha.record()} for one in by_week],
        "expected": cfg_of_charts.expected,
        "bad": cfg_of_charts.bad,
        "raters": [
            of_rater(rater, shares[:, column], when[:, column], cfg_of_charts)
            for column, rater in enumerate(found.raters)
        ],
    }


def submissions(places: Grid, found: FieldMatrix) -> tuple[np.ndarray, np.ndarray]:
    """When judgements were submitted.

    Args:
        places: The judgements.
        found: A table of them, for its items and raters.

    Returns:
        The times that occur, in order; and [n_items, n_raters] which of them each judgement has, -1 where there is none.
    """
    times, which = places.submitted
    table = np.full((len(places.items), len(places.raters)), -1)
    table[places.item, places.rater] = which
    items, raters = (
        np.searchsorted(np.asarray(names), np.asarray(kept))
        for names, kept in ((places.items, found.items), (places.raters, found.raters))
    )
    return times, table[np.ix_(items, raters)]


def charts(shares: np.ndarray) -> DriftConfig:
    """What charts of agreement with others expect: the panel's own mean; and a fall by .2, which they should notice."""
    known = shares[~np.isnan(shares)]
    expected = float(np.clip(known.mean() if len(known) else 0.85, 0.25, 0.95))
    return DriftConfig(expected=expected, bad=expected - FALL)


def week(timestamp: str) -> str:
    """The ISO week of a time."""
    year, number, _ = moment(timestamp).isocalendar()
    return f"{year}-W{number:02d}"


def of_rater(rater: str, share: np.ndarray, when: np.ndarray, cfg: DriftConfig) -> Figures:
    """Charts of one rater.

    Args:
        rater: Pseudonym.
        share: [n_items] of the others who say the same, items in order; NaN where there is none.
        when: [n_items] place in time of this rater's judgement.
        cfg: What the charts expect.
    """
    known = np.flatnonzero(~np.isnan(share))
    values = share[known[np.argsort(when[known], kind="stable")]]
    slow, sudden = ewma(values, cfg), cusum(values, cfg)
    return {
        "rater": rater,
        "n": len(values),
        "mean": float(values.mean()) if len(values) else None,
        "last_ewma": slow.values[-1] if len(values) else None,
        "n_ewma_alarms": len(slow.alarms),
        "n_cusum_alarms": len(sudden.alarms),
    }
