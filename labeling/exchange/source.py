"""A project in a database as a bundle."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, select

from labeling.database.projects import pseudonym
from labeling.database.schema import (
    adjudication,
    assignment,
    audit_event,
    codebook_version,
    evidence_snapshot,
    feature,
    gold,
    institution,
    item,
    judgement,
    project,
    round_,
    sae_ref,
    user,
)
from labeling.evidence import WITHHELD
from labeling.exchange.bundle import Bundle
from labeling.exchange.records import (
    AdjudicationRecord,
    AuditRecord,
    CodebookRecord,
    ItemRecord,
    JudgementRecord,
    ProjectRecord,
    RaterRecord,
    RoundRecord,
    SAERecord,
    SkipRecord,
    SnapshotRecord,
)

FOREIGN = "foreign"
"""Status of an account that came with another institution's export; its login is the pseudonym it came with."""


def name_outside(key: str, user_id: str, login: str, status: str) -> str:
    """What an account is called outside the database; those who came from elsewhere keep the name they came with."""
    return login if status == FOREIGN else pseudonym(key, user_id)


class People(NamedTuple):
    """Everybody's name outside."""

    raters: dict[str, RaterRecord]
    """By id in the database."""

    def name(self, user_id: str | None) -> str | None:
        """The pseudonym of an account."""
        return None if user_id is None else self.raters[user_id].rater


def read_bundle(conn: Connection, project_id: str, *, evidence: bool = False, names: bool = False) -> Bundle:
    """Everything of a project that an export holds, in a fixed order.

    Args:
        conn: A read transaction, so that all is of one moment.
        project_id: The project.
        evidence: Whether to add the snapshots, which hold text of the corpus.
        names: Whether to add raters' names.
    """
    head = conn.execute(select(project).where(project.c.id == project_id)).one()
    people = people_of(conn, head.pseudonym_key, names=names)
    codebooks = tuple(codebook_record(row) for row in rows(conn, of(codebook_version, project_id), "n"))
    saes = {row.id: row for row in rows(conn, of(sae_ref, project_id), "sha256")}
    judgements = tuple(judgement_records(conn, project_id, people))
    skips = tuple(skip_records(conn, project_id, people))
    adjudications = tuple(adjudication_records(conn, project_id, people))
    items = tuple(item_records(conn, project_id, people, evidence=evidence))
    used = {one.rater for part in (judgements, skips, adjudications) for one in part}
    used |= {one.only_for for one in items if one.only_for is not None}
    return Bundle(
        project=ProjectRecord(
            id=head.id,
            name=head.name,
            seed=head.seed,
            corpus_classification=head.corpus_classification,
            data_use_note=head.data_use_note,
        ),
        codebooks=codebooks,
        saes=tuple(SAERecord(sha256=row.sha256, body=json.loads(row.body)) for row in saes.values()),
        raters=tuple(sorted((one for one in people.raters.values() if one.rater in used), key=lambda one: one.rater)),
        rounds=tuple(round_record(row) for row in rows(conn, of(round_, project_id), "n")),
        items=items,
        judgements=judgements,
        skips=skips,
        adjudications=adjudications,
        snapshots=tuple(snapshot_records(conn, project_id)) if evidence else (),
        audit=tuple(audit_records(conn, project_id, people)),
    )


def of(table: Any, project_id: str) -> Select[Any]:
    """A table's rows of a project."""
    return select(table).where(table.c.project_id == project_id)


def rows(conn: Connection, query: Select[Any], *order: str) -> Iterable[Row[Any]]:
    """A query's rows in the order of some of its columns."""
    columns = query.selected_columns
    return conn.execute(query.order_by(*(columns[name] for name in order)))


def people_of(conn: Connection, key: str, *, names: bool) -> People:
    """All accounts by their names outside."""
    query = select(user, institution.c.name.label("place")).join(institution)
    return People(
        {
            row.id: RaterRecord(
                rater=name_outside(key, row.id, row.login, row.status),
                institution=row.place,
                specialty=row.specialty,
                seniority=row.seniority,
                name=row.display_name if names else None,
            )
            for row in conn.execute(query)
        }
    )


def codebook_record(row: Row[Any]) -> CodebookRecord:
    """A version of the codebook."""
    return CodebookRecord(
        id=row.id, n=row.n, sha256=row.sha256, note=row.note, published_at=row.published_at, body=json.loads(row.body)
    )


def round_record(row: Row[Any]) -> RoundRecord:
    """A round."""
    return RoundRecord(
        id=row.id,
        n=row.n,
        kind=row.kind,
        title=row.title,
        codebook=row.codebook_version_id,
        policy=json.loads(row.policy),
        seed=row.seed,
        state=row.state,
        gate=row.gate_round_id,
        created_at=row.created_at,
        closed_at=row.closed_at,
    )


def item_records(conn: Connection, project_id: str, people: People, *, evidence: bool) -> Iterable[ItemRecord]:
    """Items with their feature and, where it is known, their truth; passages of detection tasks go with the evidence."""
    query = (
        select(
            item,
            feature.c.number,
            feature.c.family,
            sae_ref.c.sha256.label("sae_sha256"),
            gold.c.body.label("gold_body"),
            gold.c.source.label("gold_source"),
        )
        .join(round_, round_.c.id == item.c.round_id)
        .join(feature, feature.c.id == item.c.feature_id)
        .join(sae_ref, sae_ref.c.id == feature.c.sae_ref_id)
        .outerjoin(gold, gold.c.item_id == item.c.id)
        .where(round_.c.project_id == project_id)
    )
    for row in rows(conn, query, "id"):
        yield ItemRecord(
            id=row.id,
            round=row.round_id,
            sae_sha256=row.sae_sha256,
            feature=row.number,
            family=row.family,
            snapshot_sha256=row.snapshot_sha256,
            stratum=row.stratum,
            slots=row.slots,
            n_extra=row.n_extra,
            place=row.place,
            state=row.state,
            detail=detail_of(row, evidence=evidence),
            retest_of=row.retest_of,
            only_for=people.name(row.only_for),
            due_at=row.due_at,
            gold=None if row.gold_body is None else json.loads(row.gold_body),
            gold_source=row.gold_source,
        )


def detail_of(row: Row[Any], *, evidence: bool) -> dict[str, Any]:
    """An item's detail; without evidence, or where it could name a patient, passages keep their number and no text."""
    detail = json.loads(row.detail)
    if "contexts" in detail and (not evidence or row.state == "quarantined"):
        detail["contexts"] = [{"tokens": []} for _ in detail["contexts"]]
    return detail


def judgement_records(conn: Connection, project_id: str, people: People) -> Iterable[JudgementRecord]:
    """Judgements with what analysis needs beside them."""
    query = (
        select(
            judgement,
            assignment.c.item_id,
            assignment.c.round_id,
            assignment.c.rater_id,
            assignment.c.slot,
            assignment.c.stratum,
            assignment.c.state.label("assignment_state"),
            item.c.retest_of,
            round_.c.n.label("round_n"),
            round_.c.kind,
            codebook_version.c.n.label("codebook_n"),
            codebook_version.c.sha256.label("codebook_sha256"),
            feature.c.number,
            sae_ref.c.sha256.label("sae_sha256"),
            sae_ref.c.body.label("sae_body"),
        )
        .join(assignment, assignment.c.id == judgement.c.assignment_id)
        .join(item, item.c.id == assignment.c.item_id)
        .join(round_, round_.c.id == assignment.c.round_id)
        .join(codebook_version, codebook_version.c.id == judgement.c.codebook_version_id)
        .join(feature, feature.c.id == item.c.feature_id)
        .join(sae_ref, sae_ref.c.id == feature.c.sae_ref_id)
        .where(round_.c.project_id == project_id)
    )
    return (judgement_record(row, people.raters[row.rater_id]) for row in rows(conn, query, "id"))


def judgement_record(row: Row[Any], rater: RaterRecord) -> JudgementRecord:
    """One judgement."""
    sae = json.loads(row.sae_body)
    return JudgementRecord(
        judgement_id=row.id,
        item_id=row.item_id,
        assignment_id=row.assignment_id,
        round_id=row.round_id,
        round=row.round_n,
        round_kind=row.kind,
        stratum=row.stratum,
        model=sae["model"],
        hook_point=sae["hook_point"],
        sae_id=sae["sae_id"],
        feature=row.number,
        sae_sha256=row.sae_sha256,
        snapshot_sha256=row.snapshot_sha256,
        codebook=row.codebook_n,
        codebook_id=row.codebook_version_id,
        codebook_sha256=row.codebook_sha256,
        rater=rater.rater,
        institution=rater.institution,
        specialty=rater.specialty,
        seniority=rater.seniority,
        slot=row.slot,
        is_surplus=row.assignment_state == "surplus",
        is_withdrawn=row.assignment_state == "skipped",
        is_late=bool(row.is_late),
        retest_of=row.retest_of,
        revision=row.revision,
        has_seen_explanation=bool(row.has_seen_explanation),
        answers=json.loads(row.body),
        answers_sha256=row.body_sha256,
        submitted_at=row.submitted_at,
        active_ms=row.active_ms,
        wall_ms=row.wall_ms,
        client_uuid=row.client_uuid,
    )


def skip_records(conn: Connection, project_id: str, people: People) -> Iterable[SkipRecord]:
    """Assignments that ended without a judgement, with a reason."""
    query = (
        select(assignment)
        .join(round_, round_.c.id == assignment.c.round_id)
        .where(round_.c.project_id == project_id, assignment.c.state == "skipped")
    )
    for row in rows(conn, query, "id"):
        yield SkipRecord(
            assignment_id=row.id,
            item_id=row.item_id,
            rater=people.raters[row.rater_id].rater,
            slot=row.slot,
            stratum=row.stratum,
            reason=row.skip_reason or "",
            created_at=row.created_at,
        )


def adjudication_records(conn: Connection, project_id: str, people: People) -> Iterable[AdjudicationRecord]:
    """Decisions, all revisions."""
    query = (
        select(adjudication)
        .join(item, item.c.id == adjudication.c.item_id)
        .join(round_, round_.c.id == item.c.round_id)
        .where(round_.c.project_id == project_id)
    )
    for row in rows(conn, query, "id"):
        yield AdjudicationRecord(
            id=row.id,
            item_id=row.item_id,
            rater=people.raters[row.adjudicator_id].rater,
            revision=row.revision,
            answers=json.loads(row.decision),
            disposition=row.disposition,
            error_kind=row.error_kind,
            seen=json.loads(row.seen),
            rationale=row.rationale,
            created_at=row.created_at,
            client_uuid=row.client_uuid,
        )


def snapshot_records(conn: Connection, project_id: str) -> Iterable[SnapshotRecord]:
    """Evidence, but for what came here without it and what a rater reported: it could name a patient."""
    quarantined = select(item.c.snapshot_sha256).where(item.c.state == "quarantined")
    query = (
        select(evidence_snapshot, feature.c.number, sae_ref.c.sha256.label("sae_sha256"))
        .join(feature, feature.c.id == evidence_snapshot.c.feature_id)
        .join(sae_ref, sae_ref.c.id == feature.c.sae_ref_id)
        .where(
            sae_ref.c.project_id == project_id,
            evidence_snapshot.c.body != WITHHELD,
            evidence_snapshot.c.sha256.not_in(quarantined),
        )
    )
    for row in rows(conn, query, "sha256"):
        yield SnapshotRecord(
            sha256=row.sha256,
            sae_sha256=row.sae_sha256,
            feature=row.number,
            created_at=row.created_at,
            body=json.loads(row.body),
        )


def audit_records(conn: Connection, project_id: str, people: People) -> Iterable[AuditRecord]:
    """The trail, without details and sessions, which may name people."""
    for row in rows(conn, of(audit_event, project_id), "seq"):
        yield AuditRecord(
            seq=row.seq,
            at=row.at,
            actor=people.name(row.actor_id),
            action=row.action,
            object=row.object,
            before_sha256=row.before_sha256,
            after_sha256=row.after_sha256,
            previous=row.previous,
            hash=row.hash,
        )
