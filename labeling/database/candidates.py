"""The items that a rater may get now, found by indexes: a few of each stratum, however many there are in all.

1. Items are in a random order per round (`place`). A rater begins at a place of their own, which follows from the
   seed, and goes on from where they last were, so that a search need not pass what they have had.
2. Items that are full, quarantined or decided stand in none of the indexes searched.
3. Conflicts of interest are left out in the query itself.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Exists, Select, exists, func, select, update

from labeling.database import roles
from labeling.database.rounds import Round
from labeling.database.schema import IS_FREE, assignment, feature, item, round_rater, snapshot_document
from labeling.database.skills import SKILL
from labeling.database.transaction import now
from labeling.eligibility import History, Rater, Served
from labeling.identifiers import canonical, moment
from labeling.pool import Candidate

LEAST_SKILL, MOST_SKILL = 0.51, 0.99
WINDOW = 32
"""Items of a stratum among which the policy chooses."""


FIRST, THEN = ("calibration", "gold", "irr_fixed"), ("adaptive", "single", "detection")
"""Strata in the policy's order; retests come with the first."""


class Window(NamedTuple):
    """The candidates of one stratum."""

    candidates: list[Candidate]
    cursor: int
    """Where the next search may begin."""


def candidates_of(
    conn: Connection, round_: Round, rater_id: str, categories: Sequence[str]
) -> Iterator[list[Candidate]]:
    """Candidates, those that come first in the policy's order first: mostly the others are never looked for.

    The rater's cursors are brought forward.
    """
    shape = shape_of(conn, round_.id)
    written = conn.execute(
        select(round_rater.c.cursors).where(round_rater.c.round_id == round_.id, round_rater.c.user_id == rater_id)
    ).scalar_one()
    cursors = json.loads(written)
    fit = eligible(conn, round_, rater_id)
    retests = [candidate_of(row, categories) for row in conn.execute(due_retests(conn, fit, rater_id))]
    for group in (FIRST, THEN):
        found = retests if group is FIRST else []
        for stratum in (one for one in group if one in shape.strata):
            start = cursors.get(stratum, first_place(round_.seed, rater_id, stratum, shape.last_place))
            window = window_of(conn, fit.where(item.c.stratum == stratum), start, categories)
            cursors[stratum] = window.cursor
            found += window.candidates
            if stratum == "adaptive":
                begun = fit.where(item.c.stratum == stratum, item.c.n_submitted > 0)
                found += window_of(conn, begun, window.cursor, categories).candidates
        if canonical(cursors) != written:
            written = canonical(cursors)
            key = (round_rater.c.round_id == round_.id, round_rater.c.user_id == rater_id)
            conn.execute(update(round_rater).where(*key).values(cursors=written))
        yield list({candidate.item_id: candidate for candidate in found}.values())


class Shape(NamedTuple):
    """What does not change of a round."""

    strata: tuple[str, ...]
    last_place: int


SHAPES: dict[str, Shape] = {}
"""By round id; a round's planned items are those it was opened with."""


def shape_of(conn: Connection, round_id: str) -> Shape:
    """Strata and places of a round's planned items, looked up once."""
    if round_id not in SHAPES:
        query = select(item.c.stratum, func.max(item.c.place)).where(
            item.c.round_id == round_id, item.c.place.is_not(None)
        )
        last = {row[0]: row[1] for row in conn.execute(query.group_by(item.c.stratum))}
        SHAPES[round_id] = Shape(tuple(last), max(last.values(), default=0))
    return SHAPES[round_id]


def first_place(seed: int, rater_id: str, stratum: str, last_place: int) -> int:
    """Where a rater begins."""
    digest = hashlib.sha256(f"{seed} {rater_id} {stratum}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (last_place + 1)


def eligible(conn: Connection, round_: Round, rater_id: str) -> Select[*tuple[Any, ...]]:
    """Items with a free slot that this rater has not had in this round and may judge."""
    had = exists().where(
        assignment.c.item_id == item.c.id, assignment.c.rater_id == rater_id, assignment.c.round_id == round_.id
    )
    query = (
        select(
            item.c.id, item.c.stratum, item.c.state, item.c.place, item.c.n_submitted, item.c.slots, item.c.detail,
            item.c.n_held, feature.c.family,
        )
        .join(feature, feature.c.id == item.c.feature_id)
        .where(item.c.round_id == round_.id, IS_FREE, ~had)
    )  # fmt: skip
    if round_.kind == "detection":
        query = query.where(~has_had(rater_id))
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


def has_had(rater_id: str) -> Exists:
    """Whether a rater has had an item's feature in any round."""
    other = item.alias("other")
    return exists().where(
        other.c.feature_id == item.c.feature_id,
        assignment.c.item_id == other.c.id,
        assignment.c.rater_id == rater_id,
    )


def due_retests(conn: Connection, fit: Select[*tuple[Any, ...]], rater_id: str) -> Select[*tuple[Any, ...]]:
    """The rater's own items whose time has come once more."""
    return fit.where(item.c.only_for == rater_id, item.c.due_at <= now(conn)).order_by(item.c.due_at).limit(WINDOW)


def window_of(conn: Connection, fit: Select[*tuple[Any, ...]], start: int, categories: Sequence[str]) -> Window:
    """The next items from a place on, round to the beginning where there are too few."""
    query = fit.where(item.c.only_for.is_(None)).order_by(item.c.place)
    rows = list(conn.execute(query.where(item.c.place > start).limit(WINDOW)))
    first = rows[0].place - 1 if rows else 0
    if len(rows) < WINDOW:
        rows += conn.execute(query.where(item.c.place <= start).limit(WINDOW - len(rows)))
    return Window([candidate_of(row, categories) for row in rows], first)


def candidate_of(row: Any, categories: Sequence[str]) -> Candidate:
    """A row of `eligible`, for the policy; to it a detection task is one of many that are rated once."""
    known = json.loads(row.detail).get("distribution", {}) if row.n_submitted else {}
    posterior = tuple(known.get(category, 0.0) for category in categories) if known else flat(len(categories))
    return Candidate(
        item_id=row.id,
        stratum="single" if row.stratum == "detection" else row.stratum,
        family=row.family,
        posterior=posterior,
        n_judgements=row.n_submitted,
        n_open=row.n_held - row.n_submitted,
        slots=row.slots,
    )


def flat(n: int) -> tuple[float, ...]:
    """What is known of an item that nobody has judged."""
    return (1 / n,) * n


def history_of(conn: Connection, round_id: str, rater_id: str, gap: int) -> History:
    """What a rater was given in a round: how much, and the last items, newest last."""
    mine = (assignment.c.rater_id == rater_id, assignment.c.round_id == round_id)
    query = (
        select(item.c.id, feature.c.family, item.c.stratum)
        .select_from(assignment)
        .join(item, item.c.id == assignment.c.item_id)
        .join(feature, feature.c.id == item.c.feature_id)
        .where(*mine)
        .order_by(assignment.c.id.desc())
        .limit(max(gap, 1))
    )
    recent = tuple(Served(*row) for row in conn.execute(query))[::-1]
    n_served = conn.execute(select(func.count()).where(*mine)).scalar_one()
    return History(recent=recent, n_served=n_served, today=moment(now(conn)).toordinal())


def rater_of(rater_id: str, n_categories: int, skill: float = SKILL) -> Rater:
    """A rater who is right with some probability and otherwise says anything else; better than a guess in any case."""
    skill = min(max(skill, LEAST_SKILL), MOST_SKILL)
    confusion = np.full((n_categories, n_categories), (1 - skill) / (n_categories - 1))
    np.fill_diagonal(confusion, skill)
    return Rater(rater_id, confusion)
