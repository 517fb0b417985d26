"""Reading judgements: the long table that statistics start from, and what each feature was found to mean."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, select

from labeling.database import projects
from labeling.database.schema import (
    adjudication,
    assignment,
    codebook_version,
    consensus,
    evidence_snapshot,
    feature,
    institution,
    item,
    judgement,
    round_,
    sae_ref,
    user,
)

FeatureKey = tuple[str, str, int]
"""(hook_point, sae_id, number)."""


@dataclass(frozen=True)
class JudgementRow:
    """One judgement with all that statistics ask about it."""

    judgement_id: str
    item_id: str
    assignment_id: str
    hook_point: str
    sae_id: str
    number: int
    """The feature's index."""
    family: str
    snapshot_sha256: str
    stratum: str
    """irr_fixed, adaptive, gold, calibration, retest, single, detection, or escalated: added because others disagreed."""
    item_state: str
    round_id: str
    round_n: int
    round_kind: str
    codebook_n: int
    rater_id: str
    pseudonym: str
    institution: str
    specialty: str
    seniority: str
    answers: dict[str, Any]
    rationale: str
    submitted_at: str
    active_ms: int
    wall_ms: int
    is_surplus: bool
    is_late: bool
    is_withdrawn: bool
    """The rater skipped the item afterwards."""
    retest_of: str | None
    """The item that this one repeats."""
    revision: int
    has_seen_explanation: bool


class JudgementTable(NamedTuple):
    """Judgements of a project."""

    rows: list[JudgementRow]
    codebooks: dict[int, projects.CodebookVersion]
    """By number."""


@dataclass(frozen=True)
class FeatureLabel:
    """What raters said of a feature, as a distribution; disagreement stays visible."""

    n_raters: int
    primary: str
    """The field that `distribution` is of."""
    distribution: dict[str, float]
    """Share of raters by category; `cannot_judge` among them."""
    entropy: float
    """Of it, in nats."""
    winner: str | None
    """The decided category, else the likeliest; none where raters are split evenly, or a senior found it ambiguous."""
    winner_name: str
    words: tuple[str, ...]
    """The raters' own words, commonest first."""
    concepts: dict[str, int]
    """Concept codes: how many raters chose each."""
    state: str
    """Of the item that was decided, else the last one judged: open, rated, escalated, consensus, ambiguous, adjudicated …"""
    disposition: str | None
    """Of the latest decision that a senior made on the feature."""
    consensus: dict[str, float] | None
    """The last computed one, where there is."""


def judgement_table(
    conn: Connection, project_id: str, *, rounds: Sequence[str] | None = None, latest_only: bool = True
) -> JudgementTable:
    """The judgements of a project in the order of their making.

    Args:
        conn: Of `Database.read`.
        project_id: Whose.
        rounds: Only of these rounds.
        latest_only: Only everybody's last revision that was made before a machine's explanation was shown, or, if there
            is none, the last.
    """
    query = rows_query().where(round_.c.project_id == project_id).order_by(judgement.c.id)
    if rounds is not None:
        query = query.where(item.c.round_id.in_(list(rounds)))
    key = projects.pseudonym_key(conn, project_id)
    found = list(rows_of(conn, query, key))
    books = {version.n: version for version in projects.codebooks(conn, project_id)}
    return JudgementTable(latest(found) if latest_only else found, books)


def rows_query() -> Select[Any]:
    """Judgements joined with everything around them."""
    return (
        select(
            judgement, item.c.id.label("item_id"), item.c.state.label("item_state"), item.c.retest_of,
            assignment.c.stratum, assignment.c.state.label("assignment_state"), assignment.c.rater_id,
            feature.c.number, feature.c.family, sae_ref.c.body.label("sae"), round_.c.id.label("round_id"),
            round_.c.n.label("round_n"), round_.c.kind, codebook_version.c.n.label("codebook_n"), user.c.specialty,
            user.c.seniority, institution.c.name.label("institution"),
        )
        .join(assignment, assignment.c.id == judgement.c.assignment_id)
        .join(item, item.c.id == assignment.c.item_id)
        .join(round_, round_.c.id == item.c.round_id)
        .join(feature, feature.c.id == item.c.feature_id)
        .join(sae_ref, sae_ref.c.id == feature.c.sae_ref_id)
        .join(codebook_version, codebook_version.c.id == judgement.c.codebook_version_id)
        .join(user, user.c.id == assignment.c.rater_id)
        .join(institution, institution.c.id == user.c.institution_id)
    )  # fmt: skip


def rows_of(conn: Connection, query: Select[Any], key: str) -> Iterator[JudgementRow]:
    """Rows of a query, pseudonyms included."""
    saes: dict[str, dict[str, Any]] = {}
    names: dict[str, str] = {}
    for row in conn.execution_options(yield_per=10_000).execute(query):
        if row.sae not in saes:
            saes[row.sae] = json.loads(row.sae)
        if row.rater_id not in names:
            names[row.rater_id] = projects.pseudonym(key, row.rater_id)
        answers = json.loads(row.body)
        yield JudgementRow(
            judgement_id=row.id, item_id=row.item_id, assignment_id=row.assignment_id,
            hook_point=saes[row.sae]["hook_point"], sae_id=saes[row.sae]["sae_id"], number=row.number, family=row.family,
            snapshot_sha256=row.snapshot_sha256, stratum=row.stratum, item_state=row.item_state, round_id=row.round_id,
            round_n=row.round_n, round_kind=row.kind, codebook_n=row.codebook_n, rater_id=row.rater_id,
            pseudonym=names[row.rater_id], institution=row.institution, specialty=row.specialty, seniority=row.seniority,
            answers=answers, rationale=rationale_of(answers), submitted_at=row.submitted_at, active_ms=row.active_ms,
            wall_ms=row.wall_ms, is_surplus=row.assignment_state == "surplus", is_late=bool(row.is_late),
            is_withdrawn=row.assignment_state == "skipped", retest_of=row.retest_of, revision=row.revision,
            has_seen_explanation=bool(row.has_seen_explanation),
        )  # fmt: skip


def rationale_of(answers: dict[str, Any]) -> str:
    """The words of the first rationale among the answers."""
    return next((one["text"] for one in answers.values() if isinstance(one, dict) and "spans" in one), "")


def latest(rows: Sequence[JudgementRow]) -> list[JudgementRow]:
    """One row per assignment; withdrawn judgements are left out."""
    kept: dict[str, JudgementRow] = {}
    for row in rows:
        before = kept.get(row.assignment_id)
        is_blind_again = before is None or not row.has_seen_explanation or before.has_seen_explanation
        if not row.is_withdrawn and is_blind_again:
            kept[row.assignment_id] = row
    return list(kept.values())


def labels_of_features(conn: Connection, project_id: str) -> dict[FeatureKey, FeatureLabel]:
    """What each feature was found to mean, for the rest of the product.

    Calibration, gold, retest and detection tasks are left out, and so are judgements of raters on another codebook than
    the one that counts most: one that was published here before one that came with an import, a newer before an older.
    A senior's decision holds for the feature, whichever of its items it was made on: the latest one does.
    """
    from labeling.database.labels import label_of

    table = judgement_table(conn, project_id)
    by_feature: dict[FeatureKey, list[JudgementRow]] = {}
    for row in table.rows:
        if row.stratum in ("irr_fixed", "adaptive", "single", "escalated") and row.item_state != "quarantined":
            by_feature.setdefault((row.hook_point, row.sae_id, row.number), []).append(row)
    decisions, computed = decisions_of(conn, project_id), consensus_of(conn, project_id)
    versions = list(table.codebooks.values())
    first = projects.first_numbers(versions)
    ranks = precedence(versions, first, projects.imported_codebooks(conn, project_id))
    found = {}
    for key, rows in by_feature.items():
        counting = max((first[row.codebook_n] for row in rows), key=ranks.__getitem__)
        counted = [row for row in rows if first[row.codebook_n] == counting]
        item_id = counted[-1].item_id
        book = table.codebooks[counting].codebook
        decided = max(
            {row.item_id for row in counted} & set(decisions), key=lambda one: decisions[one].at, default=None
        )
        if decided is None:
            found[key] = label_of(counted, book, None, computed.get(item_id))
            continue
        decision = decisions[decided]
        label = label_of(counted, book, (decision.disposition, decision.answers), computed.get(decided))
        state = next(row.item_state for row in counted if row.item_id == decided)
        found[key] = replace(label, state=state)
    return found


def precedence(
    versions: Sequence[projects.CodebookVersion], first: Mapping[int, int], foreign: frozenset[str]
) -> dict[int, tuple[bool, int]]:
    """How much a codebook counts, by the first number it stands under: whether it is this house's, and how new it is."""
    ranks: dict[int, tuple[bool, int]] = {}
    for version in versions:
        rank = (version.id not in foreign, version.n)
        ranks[first[version.n]] = max(rank, ranks.get(first[version.n], rank))
    return ranks


class LastDecision(NamedTuple):
    """The revision of a senior's decision that holds."""

    disposition: str
    answers: dict[str, Any]
    at: tuple[str, str]
    """When it was made, and its id: in this order, the last one holds."""


def decisions_of(conn: Connection, project_id: str) -> dict[str, LastDecision]:
    """The last decision on each item."""
    query = (
        select(adjudication)
        .join(item, item.c.id == adjudication.c.item_id)
        .join(round_, round_.c.id == item.c.round_id)
        .where(round_.c.project_id == project_id)
        .order_by(adjudication.c.revision)
    )
    return {
        row.item_id: LastDecision(row.disposition, json.loads(row.decision), (row.created_at, row.id))
        for row in conn.execute(query)
    }


def consensus_of(conn: Connection, project_id: str) -> dict[str, dict[str, float]]:
    """The last computed consensus on each item."""
    query = (
        select(consensus.c.item_id, consensus.c.distribution)
        .join(item, item.c.id == consensus.c.item_id)
        .join(round_, round_.c.id == item.c.round_id)
        .where(round_.c.project_id == project_id)
        .order_by(consensus.c.id)
    )
    return {row.item_id: json.loads(row.distribution) for row in conn.execute(query)}


def snapshot_body(conn: Connection, snapshot_sha256: str) -> dict[str, Any]:
    """The evidence of a hash."""
    query = select(evidence_snapshot.c.body).where(evidence_snapshot.c.sha256 == snapshot_sha256)
    return json.loads(conn.execute(query).scalar_one())


def n_judgements(conn: Connection, project_id: str) -> int:
    """Judgements of a project, revisions counted."""
    query = (
        select(func.count())
        .select_from(judgement)
        .join(assignment, assignment.c.id == judgement.c.assignment_id)
        .join(round_, round_.c.id == assignment.c.round_id)
        .where(round_.c.project_id == project_id)
    )
    return conn.execute(query).scalar_one()
