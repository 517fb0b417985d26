"""What follows from an export's facts: the table that statistics take, and soft labels."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from labeling.codebook import Codebook, Question
from labeling.consensus import ConsensusConfig, consensus
from labeling.exchange.bundle import Bundle
from labeling.exchange.records import ItemRecord, JudgementRecord, SoftLabelRecord
from labeling.judgement_table import Adjudication, FeatureRef, Gold, JudgementRow, JudgementTable, Skip
from labeling.ratings import Ratings
from labeling.report.matrix import grid, matrix
from labeling.soft_labels import soft_labels as consensus_labels

DIGITS = 10
"""Significant digits of derived figures, on which every machine agrees."""


def judgement_table(bundle: Bundle, token_counts: Mapping[str, tuple[int, ...]] | None = None) -> JudgementTable:
    """The bundle's judgements for statistics.

    Args:
        bundle: An export, or what would be one.
        token_counts: Tokens of every context shown, by hash of the evidence; the bundle's own evidence if not given.
    """
    items = {one.id: one for one in bundle.items}
    first = same_codebooks(bundle)
    rows = [row_of(one, items[one.item_id], first[one.codebook]) for one in bundle.judgements]
    rows.sort(key=lambda row: (row.item_id, row.pseudonym, row.revision))
    feedback = {one.id for one in bundle.rounds if one.kind == "calibration"}
    return JudgementTable(
        project=bundle.project.name,
        rows=tuple(rows),
        codebooks={one.n: Codebook.model_validate(one.body) for one in bundle.codebooks},
        adjudications=tuple(latest_decisions(bundle)),
        golds=tuple(
            Gold(one.id, one.gold, is_shown=one.round in feedback) for one in bundle.items if one.gold is not None
        ),
        skips=tuple(Skip(one.item_id, one.rater, one.reason) for one in bundle.skips),
        seed=bundle.project.seed,
        context_tokens=token_counts if token_counts is not None else counts_of(bundle),
        closed_rounds=frozenset(one.n for one in bundle.rounds if one.state == "closed"),
    )


def counts_of(bundle: Bundle) -> dict[str, tuple[int, ...]]:
    """Tokens of the contexts in the bundle's evidence."""
    contexts = {one.sha256: one.body.get("contexts", ()) for one in bundle.snapshots}
    return {name: tuple(len(context["tokens"]) for context in found) for name, found in contexts.items()}


def same_codebooks(bundle: Bundle) -> dict[int, int]:
    """Every version's number → the first number under which the same codebook stands: houses that ask alike are one."""
    first: dict[str, int] = {}
    return {one.n: first.setdefault(one.sha256, one.n) for one in sorted(bundle.codebooks, key=lambda one: one.n)}


def row_of(one: JudgementRecord, item: ItemRecord, codebook_n: int) -> JudgementRow:
    """A judgement as a row."""
    return JudgementRow(
        judgement_id=one.judgement_id,
        item_id=one.item_id,
        feature=FeatureRef(one.hook_point, one.sae_id, one.feature),
        stratum=one.stratum,
        round_n=one.round,
        round_kind=one.round_kind,
        codebook_n=codebook_n,
        rater_id=one.rater,
        pseudonym=one.rater,
        institution=one.institution,
        answers=one.answers,
        submitted_at=one.submitted_at,
        specialty=one.specialty,
        seniority=one.seniority,
        active_ms=one.active_ms,
        wall_ms=one.wall_ms,
        revision=one.revision,
        is_surplus=one.is_surplus,
        is_withdrawn=one.is_withdrawn,
        retest_of=one.retest_of,
        has_seen_explanation=one.has_seen_explanation,
        assignment_id=one.assignment_id,
        slot=one.slot,
        round_id=one.round_id,
        snapshot_sha256=one.snapshot_sha256,
        sae_sha256=one.sae_sha256,
        family=item.family,
        client_uuid=one.client_uuid,
        body_sha256=one.answers_sha256,
    )


def latest_decisions(bundle: Bundle) -> Iterable[Adjudication]:
    """The revision that holds, of every adjudicated item."""
    last = {one.item_id: one for one in sorted(bundle.adjudications, key=lambda one: one.revision)}
    return (Adjudication(one.item_id, one.disposition, one.answers, one.error_kind) for _, one in sorted(last.items()))


def soft_labels(table: JudgementTable) -> tuple[SoftLabelRecord, ...]:
    """Distributions over the answers to every choice and scale, by item, from blind judgements; repeats left out."""
    found: list[SoftLabelRecord] = []
    for n, codebook in sorted(table.codebooks.items()):
        rows = [row for row in table.blind(n) if row.retest_of is None]
        for question in codebook.questions:
            if question.kind in ("choice", "scale"):
                found += of_field(rows, question, n)
    return tuple(sorted(found, key=lambda one: (one.item_id, one.codebook, one.field)))


def of_field(rows: Sequence[JudgementRow], question: Question, codebook_n: int) -> Iterable[SoftLabelRecord]:
    """Soft labels of one field."""
    found = matrix(grid(rows), question)
    if not found.n_ratings:
        return
    is_rated = ~np.isnan(found.ratings)
    item, rater = np.nonzero(is_rated)
    label = found.ratings[item, rater].astype(int)
    codes = [category.code for category in question.categories]
    ratings = Ratings(item, rater, label, len(found.items), len(found.raters), len(codes))
    done = consensus(ratings, ConsensusConfig(), is_ordinal=question.kind == "scale")
    features = {row.item_id: row.feature for row in rows}
    n_abstained = found.is_abstention.sum(axis=1)
    soft = consensus_labels(done, found.items, is_rated.sum(axis=1))
    places = {name: place for place, name in enumerate(found.items)}
    for n, name in enumerate(soft.item_ids):
        chances = soft.posterior[n]
        yield SoftLabelRecord(
            item_id=name,
            hook_point=features[name].hook_point,
            sae_id=features[name].sae_id,
            feature=features[name].number,
            codebook=codebook_n,
            field=question.key,
            n=int(soft.n_raters[n]),
            n_cannot_judge=int(n_abstained[places[name]]),
            distribution=by_code(codes, soft.distribution[n]),
            posterior=by_code(codes, chances),
            entropy=max(rounded(float(soft.entropy[n])), 0.0),
            weight=rounded(float(soft.weight[n])),
            leading=codes[int(chances.argmax())],
        )


def by_code(codes: Sequence[str], shares: np.ndarray) -> dict[str, float]:
    """Shares by category."""
    return {code: rounded(float(share)) for code, share in zip(codes, shares, strict=True)}


def rounded(value: float) -> float:
    """A figure cut to the digits that every machine agrees on."""
    return float(f"{value:.{DIGITS}g}")
