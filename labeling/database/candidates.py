"""The items that a rater may get now, found by indexes: a few of each stratum, however many there are in all.

1. Items are in a random order per round (`place`). A rater begins at a place of their own, which follows from the
   seed, and goes on from where they last were, so that a search need not pass what they have had.
2. Items that are full, quarantined or decided stand in none of the indexes searched.
3. Conflicts of interest are left out in the query itself.
"""

import hashlib
import json
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, exists, func, select, update

from labeling.database import roles
from labeling.database.rounds import Round
from labeling.database.schema import IS_FREE, assignment, feature, item, round_rater, snapshot_document
from labeling.database.transaction import now
from labeling.policy import Candidate

WINDOW = 32
"""Items of a stratum among which the policy chooses."""


class Window(NamedTuple):
    """The candidates of one stratum."""

    candidates: list[Candidate]
    cursor: int
    """Where the next search may begin."""


def candidates_of(conn: Connection, round_: Round, rater_id: str) -> list[Candidate]:
    """Candidates of every stratum, and the rater's cursors brought forward."""
    strata = strata_of(conn, round_.id)
    last_place = conn.execute(select(func.max(item.c.place)).where(item.c.round_id == round_.id)).scalar_one() or 0
    written = conn.execute(
        select(round_rater.c.cursors).where(round_rater.c.round_id == round_.id, round_rater.c.user_id == rater_id)
    ).scalar_one()
    cursors = json.loads(written)
    fit = eligible(conn, round_, rater_id)
    found = [candidate_of(row) for row in conn.execute(due_retests(conn, fit, rater_id))]
    for stratum in strata:
        start = cursors.get(stratum, first_place(round_.seed, rater_id, stratum, last_place))
        window = window_of(conn, fit.where(item.c.stratum == stratum), start)
        cursors[stratum] = window.cursor
        found += window.candidates
        if stratum == "adaptive":
            begun = fit.where(item.c.stratum == stratum, item.c.n_submitted > 0)
            found += window_of(conn, begun, window.cursor).candidates
    if json.dumps(cursors) != written:
        key = (round_rater.c.round_id == round_.id, round_rater.c.user_id == rater_id)
        conn.execute(update(round_rater).where(*key).values(cursors=json.dumps(cursors)))
    return list({candidate.item_id: candidate for candidate in found}.values())


def strata_of(conn: Connection, round_id: str) -> list[str]:
    """The strata of a round's items, by skipping from one to the next in an index."""
    found: list[str] = []
    while True:
        query = select(func.min(item.c.stratum)).where(
            item.c.round_id == round_id, item.c.stratum > (found or [""])[-1]
        )
        stratum = conn.execute(query).scalar_one()
        if stratum is None:
            return [one for one in found if one != "retest"]
        found.append(stratum)


def first_place(seed: int, rater_id: str, stratum: str, last_place: int) -> int:
    """Where a rater begins."""
    digest = hashlib.sha256(f"{seed} {rater_id} {stratum}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (last_place + 1)


def eligible(conn: Connection, round_: Round, rater_id: str) -> Select[Any]:
    """Items with a free slot that this rater has not had in this round and may judge."""
    had = exists().where(
        assignment.c.item_id == item.c.id, assignment.c.rater_id == rater_id, assignment.c.round_id == round_.id
    )
    query = (
        select(
            item.c.id, item.c.stratum, item.c.state, item.c.place, item.c.n_submitted, item.c.slots, item.c.detail,
            item.c.posterior, feature.c.family, item.c.feature_id,
        )
        .join(feature, feature.c.id == item.c.feature_id)
        .where(item.c.round_id == round_.id, IS_FREE, ~had)
    )  # fmt: skip
    by_kind: dict[str, list[str]] = {}
    for rule in roles.coi_rules(conn, round_.project_id, rater_id):
        by_kind.setdefault(rule.kind, []).append(rule.value)
    for kind, column in (("item", item.c.id), ("feature", feature.c.id), ("sae", feature.c.sae_ref_id)):
        if kind in by_kind:
            query = query.where(column.not_in(by_kind[kind]))
    if documents := by_kind.get("document"):
        shows = exists().where(
            snapshot_document.c.snapshot_sha256 == item.c.snapshot_sha256,
            snapshot_document.c.document.in_([int(document) for document in documents]),
        )
        query = query.where(~shows)
    return query


def due_retests(conn: Connection, fit: Select[Any], rater_id: str) -> Select[Any]:
    """The rater's own items whose time has come once more."""
    return fit.where(item.c.only_for == rater_id, item.c.due_at <= now(conn)).order_by(item.c.due_at).limit(WINDOW)


def window_of(conn: Connection, fit: Select[Any], start: int) -> Window:
    """The next items from a place on, round to the beginning where there are too few."""
    query = fit.where(item.c.only_for.is_(None)).order_by(item.c.place)
    rows = list(conn.execute(query.where(item.c.place > start).limit(WINDOW)))
    first = rows[0].place - 1 if rows else 0
    if len(rows) < WINDOW:
        rows += conn.execute(query.where(item.c.place <= start).limit(WINDOW - len(rows)))
    return Window([candidate_of(row) for row in rows], first)


def candidate_of(row: Any) -> Candidate:
    """A row of `eligible`, for the policy."""
    distribution = json.loads(row.detail).get("distribution", {}) if row.stratum != "detection" else {}
    return Candidate(row.id, row.stratum, row.family, row.n_submitted, distribution)


def recent(conn: Connection, round_id: str, rater_id: str, n: int = 20) -> list[tuple[str, str]]:
    """(stratum, family) of a rater's last items in a round, newest first."""
    query = (
        select(item.c.stratum, feature.c.family)
        .select_from(assignment)
        .join(item, item.c.id == assignment.c.item_id)
        .join(feature, feature.c.id == item.c.feature_id)
        .where(assignment.c.rater_id == rater_id, assignment.c.round_id == round_id)
        .order_by(assignment.c.id.desc())
        .limit(n)
    )
    return [(row.stratum, row.family) for row in conn.execute(query)]
