"""Agreement on every field of the codebook, each by what its answers are; on the fixed stratum alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from labeling.agreement import agreement
from labeling.alpha import alpha
from labeling.bootstrap import BootstrapConfig, estimates
from labeling.codebook import Codebook, Question
from labeling.estimate import Support
from labeling.free_text import same_words
from labeling.gates import codebook_gate
from labeling.icc import icc
from labeling.judgement_table import JudgementTable
from labeling.label_sets import label_sets, set_agreement
from labeling.queue_policy import QueuePolicy
from labeling.report.matrix import Grid, interval_scale_of, matrix, scale_of, with_abstention
from labeling.scale import categories, counts_of
from labeling.spans import span_agreement
from sae.errors import UserError

Figures = dict[str, Any]
GATED = ("choice", "scale", "concepts")
"""Kinds of fields that have an alpha of their own."""


def field(places: Grid, codebook: Codebook, question: Question, table: JudgementTable, cfg: BootstrapConfig) -> Figures:
    """One field.

    Args:
        places: Headline judgements, one per item and rater.
        codebook: Of the judgements.
        question: The field.
        table: Where they come from, for the length of the evidence.
        cfg: Of the intervals.
    """
    head = {
        "key": question.key,
        "name": question.name,
        "kind": question.kind,
        "is_primary": question.key == codebook.primary,
    }
    found: dict[str, Callable[[], Figures]] = {
        "choice": lambda: categorical(places, question, cfg),
        "scale": lambda: categorical(places, question, cfg),
        "concepts": lambda: concepts(places, codebook, question, cfg),
        "text": lambda: texts(places, question, cfg),
        "rationale": lambda: rationale(places, question, table, cfg),
    }
    done = {**head, **or_reason(found[question.kind])}
    if question.kind in ("choice", "scale") and matrix(places, question).is_abstention.any():
        apart = or_reason(lambda: {"cannot_judge": abstention(places, question, cfg)})
        done |= {key: one for key, one in apart.items() if key != "reason"}
    return done | {"gate": gate(done)} if head["is_primary"] and question.kind in GATED else done


def gate(done: Figures) -> Figures:
    """Whether the codebook was understood alike: what the lower bound of the primary field's alpha says to the queue's target."""
    found = done.get("agreement")
    one = found["coefficients"][found["primary"]] if found else {"value": None, "low": None}
    return codebook_gate(one["value"], one["low"], QueuePolicy())._asdict()


def or_reason(compute: Callable[[], Figures]) -> Figures:
    """The figures, or the sentence that says why there are none."""
    try:
        return {**compute(), "reason": ""}
    except UserError as error:
        return {"reason": str(error)}


def categorical(places: Grid, question: Question, cfg: BootstrapConfig) -> Figures:
    """A choice or a scale: every coefficient, "cannot judge" counting as missing."""
    found = matrix(places, question)
    if found.is_abstention.any() and not found.n_ratings:
        raise UserError(
            f"All {int(found.is_abstention.sum())} answers are 'cannot judge', expected some with a category. What was shown does "
            "not suffice for this field, or the field does not fit it: look at both."
        )
    scale = scale_of(question)
    done = agreement(found.ratings, scale, cfg, raters=found.raters).record()
    figures: Figures = {"agreement": done, "category_codes": [category.code for category in question.categories]}
    if question.is_interval and question.kind == "scale":
        figures["interval"] = interval(found.ratings, question, cfg)
    return figures


def interval(ratings: np.ndarray, question: Question, cfg: BootstrapConfig) -> Figures:
    """What a scale of equal steps allows beside: alpha of squared differences, and the intraclass correlations."""
    scale = interval_scale_of(question)
    levels = np.asarray(scale.levels)
    counts = counts_of(ratings, levels)
    pairable = counts[counts.sum(axis=1) >= 2]
    support = Support(len(pairable), ratings.shape[1], int(pairable.sum()))
    found = estimates({"alpha_interval": alpha(counts, levels, "interval")}, support, cfg)
    both = icc(ratings, cfg.confidence)
    return {
        "alpha_interval": found["alpha_interval"].record(),
        "icc_a1": both.one_rater.record(),
        "icc_ak": both.mean_of_raters.record(),
    }


def abstention(places: Grid, question: Question, cfg: BootstrapConfig) -> Figures:
    """`cannot_judge` as an outcome of its own, and as one more category; as missing it is the headline."""
    found = matrix(places, question)
    with_it, scale = with_abstention(found, question)
    judged = np.where(found.is_abstention, 1.0, np.where(np.isnan(found.ratings), np.nan, 0.0))
    outcome = agreement(judged, categories(["judged", "cannot judge"]), cfg, is_brief=True)
    as_category = agreement(with_it.ratings, scale, cfg, is_brief=True)
    n = int((found.is_abstention | ~np.isnan(found.ratings)).sum())
    return {
        "n": int(found.is_abstention.sum()),
        "share": float(found.is_abstention.sum() / n),
        "outcome": brief(outcome.record()),
        "as_category": brief(as_category.record()),
    }


def brief(record: Figures) -> Figures:
    """Coefficients without the tables behind them."""
    return {
        name: record[name]
        for name in ("level", "n_categories", "n_items", "n_raters", "n_ratings", "primary", "coefficients")
    }


def concepts(places: Grid, codebook: Codebook, question: Question, cfg: BootstrapConfig) -> Figures:
    """A set of concepts, exact and at the parents' level; and words of one's own, word for word."""
    vocabulary = codebook.vocabulary
    if vocabulary is None:
        raise UserError("The codebook has no vocabulary, expected one for a field of concepts. Publish it with one.")
    given = places.given(question.key)
    parents = {term.code: term.parent for term in vocabulary.terms if term.parent is not None}
    sets = label_sets(given.table([one["codes"] for one in given.answers]), [term.code for term in vocabulary.terms])
    names = {term.code: term.name for term in vocabulary.terms}
    done = set_agreement(sets, cfg, parents or None).record()
    done["labels"] = [{**one, "name": names[one["label"]]} for one in done["labels"]]
    words = given.table([one.get("words") or None for one in given.answers])
    return {"agreement": done, "same_words": same_words(words, cfg).record(), "has_parents": bool(parents)}


def texts(places: Grid, question: Question, cfg: BootstrapConfig) -> Figures:
    """Words: how often they are the same. No reliability, which free text has none of."""
    given = places.given(question.key, str)
    return {"same_words": same_words(given.table(given.answers), cfg).record()}


def rationale(places: Grid, question: Question, table: JudgementTable, cfg: BootstrapConfig) -> Figures:
    """Cited spans as marks on tokens; how much was written."""
    given = places.given(question.key)
    lengths = sorted(len(one["text"]) for one in given.answers)
    by_item: list[list[int]] = [[] for _ in range(given.shape[0])]
    for place, item in enumerate(given.item.tolist()):
        by_item[item].append(place)
    tokens = [table.context_tokens.get(given.rows[own[0]].snapshot_sha256) for own in by_item]
    marks = [
        marks_of([given.answers[place]["spans"] for place in own], known)
        for own, known in zip(by_item, tokens, strict=True)
        if known is not None
    ]
    done = span_agreement(marks, cfg)
    return {
        "spans": {
            "alpha_tokens": done.alpha_tokens.record(),
            "f1_tokens": done.f1_tokens.record(),
            "n_tokens": done.n_tokens,
            "marked_share": done.marked_share,
            "n_items_without_evidence": len(by_item) - len(marks),
        },
        "n_rationales": len(lengths),
        "median_characters": lengths[len(lengths) // 2] if lengths else None,
    }


def marks_of(cited: Sequence[Sequence[Mapping[str, int]]], lengths: Sequence[int]) -> np.ndarray:
    """[n_raters, n_tokens] 1 for every token that a judgement cites, over all contexts of an item one after the other.

    Args:
        cited: Spans of each rater.
        lengths: Tokens of each context.
    """
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    found = np.zeros((len(cited), starts[-1]))
    for place, spans in enumerate(cited):
        for span in spans:
            context = span["context"]
            if 0 <= context < len(lengths):
                end = min(starts[context] + span["end"], starts[context + 1])
                found[place, starts[context] + span["start"] : end] = 1.0
    return found
