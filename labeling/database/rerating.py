"""Asking anew what a changed codebook made stale: the same features and evidence in another round; the old ones stay."""

import json
from collections.abc import Iterator

from sqlalchemy import Connection, select

from labeling.database import rounds
from labeling.database.rounds import PlannedItem, Round, round_of
from labeling.database.schema import evidence_snapshot, feature, gold, item, round_rater
from labeling.database.transaction import Actor
from labeling.evidence import NOTHING_HERE, Snapshot


def rerate(
    conn: Connection, actor: Actor, round_id: str, codebook_version_id: str, *, seed: int | None = None
) -> Round:
    """Opens a round about the stale items of another, for the same raters, under another codebook.

    Known answers go along where they still are answers of the new codebook.

    Args:
        conn: Of `Database.write`.
        actor: The lead.
        round_id: The round whose items became stale.
        codebook_version_id: The new codebook.
        seed: Of the new order; the old round's if none is given.

    Raises:
        UserError: No item of the round is stale, or a known answer is none any more.
    """
    old = round_of(conn, round_id)
    query = select(round_rater.c.user_id).where(round_rater.c.round_id == round_id)
    return rounds.open_round(
        conn, actor, old.project_id, kind=old.kind, title=f"{old.title[:60]}, rated anew", settings=old.settings,
        codebook_version_id=codebook_version_id, items=list(stale_items(conn, round_id)), gate_round_id=old.gate_round_id,
        rater_ids=list(conn.execute(query).scalars()), seed=old.seed if seed is None else seed,
    )  # fmt: skip


def stale_items(conn: Connection, round_id: str) -> Iterator[PlannedItem]:
    """A round's stale items as they were planned."""
    query = (
        select(
            item.c.stratum, item.c.slots, item.c.n_extra, item.c.detail, feature.c.family, evidence_snapshot.c.body,
            gold.c.body.label("gold"), gold.c.source,
        )
        .join(feature, feature.c.id == item.c.feature_id)
        .join(evidence_snapshot, evidence_snapshot.c.sha256 == item.c.snapshot_sha256)
        .outerjoin(gold, gold.c.item_id == item.c.id)
        .where(item.c.round_id == round_id, item.c.state == "stale", item.c.stratum != "retest")
        .where(evidence_snapshot.c.body.not_like(NOTHING_HERE))
        .order_by(item.c.place)
    )  # fmt: skip
    for row in conn.execute(query):
        yield PlannedItem(
            snapshot=Snapshot.from_body(json.loads(row.body)),
            stratum=row.stratum,
            slots=row.slots - row.n_extra,
            family=row.family,
            gold=json.loads(row.gold) if row.gold else None,
            gold_source=row.source or "",
            detail=json.loads(row.detail) if row.stratum == "detection" else None,
        )
