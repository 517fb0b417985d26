"""The items that a rater may get now, found by indexes: a few of each stratum, however many there are in all.

1. Items are in a random order per round (`place`). A rater begins at a place of their own, which follows from the
   seed, and goes on from where they last were, so that a search need not pass what they have had.
2. Items that are full, quarantined or decided stand in none of the indexes searched.
3. Conflicts of interest are left out in the query itself.
4. Queries are built once for each kind of search: building one takes longer than its answer.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Exists, bindparam, exists, func, literal_column, select, update

from labeling.database.bars import RULES, Query, bars_of, unbarred
from labeling.database.prepared import Prepared
from labeling.database.rounds import Round
from labeling.database.schema import IS_FREE, assignment, feature, item, round_rater
from labeling.database.skills import SKILL
from labeling.database.transaction import now
from labeling.eligibility import History, Rater, Served
from labeling.identifiers import canonical, moment
from labeling.pool import Candidate

LEAST_SKILL, MOST_SKILL = 0.51, 0.99
WINDOW = 32
"""Items of a stratum among which the policy chooses."""
PATIENCE = 64
"""Items given to a rater while the first one of their window is passed over, after which the first half of it is left for
later: each search passes everything given since."""


FIRST, THEN = ("calibration", "gold", "irr_fixed"), ("adaptive", "single", "detection")
"""Strata in the policy's order; retests come with the first."""


class Window(NamedTuple):
    """The candidates of one stratum."""

    candidates: list[Candidate]
    first: int
    """Where the next search may begin, so that it finds all of them."""
    middle: int
    """So that it finds half of them."""


class Search(NamedTuple):
    """Queries for a rater's items; which ones depends on what the rater shall not judge."""

    retests: Prepared
    """Their own items whose time has come once more."""
    onward: Prepared
    """The next items of a stratum after a place."""
    again: Prepared
    """Those from the beginning up to it."""
    onward_begun: Prepared
    """Likewise, those alone that have a judgement."""
    again_begun: Prepared


class Seat(NamedTuple):
    """A rater's place in a round."""

    rater_id: str
    gate: str
    written: str
    """Where their searches were, as it is stored."""
    gate_before: str | None
    """How they stand in the calibration round that has to be passed first."""
    has_bars: bool
    """There are things that they shall not judge."""


def candidates_of(
    conn: Connection, round_: Round, seat: Seat, categories: Sequence[str], cursors: dict[str, int]
) -> Iterator[list[Candidate]]:
    """Candidates, those that come first in the policy's order first: mostly the others are never looked for.

    Args:
        conn: Of `Database.write`.
        round_: Where they rate.
        seat: Whose.
        categories: Of the primary field.
        cursors: The rater's, which are brought forward.
    """
    shape, rater_id = shape_of(conn, round_.id), seat.rater_id
    bars = bars_of(conn, round_.project_id, rater_id) if seat.has_bars else {}
    search = search_for(frozenset(bars), is_detection=round_.kind == "detection")
    asked = {"round": round_.id, "rater": rater_id, "now": now(conn), **bars}
    known = Posteriors(categories)
    retests = [candidate_of(row, known) for row in search.retests.rows(conn, asked)]
    for group in (FIRST, THEN):
        found = retests if group is FIRST else []
        for stratum in (one for one in group if one in shape.strata):
            start = cursors.get(stratum, first_place(round_.seed, rater_id, stratum, shape.last_place))
            here = {**asked, "stratum": stratum}
            window = window_of(conn, search.onward, search.again, {**here, "start": start}, known)
            move(cursors, stratum, window)
            found += window.candidates
            if stratum == "adaptive":
                begun = {**here, "start": window.first}
                found += window_of(conn, search.onward_begun, search.again_begun, begun, known).candidates
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
        here = item.c.round_id == round_id
        last_place = conn.execute(select(func.max(item.c.place)).where(here)).scalar_one()
        first = {one: select(item.c.id).where(here, item.c.stratum == one).limit(1) for one in (*FIRST, *THEN)}
        strata = tuple(one for one, query in first.items() if conn.execute(query).first() is not None)
        SHAPES[round_id] = Shape(strata, last_place or 0)
    return SHAPES[round_id]


def first_place(seed: int, rater_id: str, stratum: str, last_place: int) -> int:
    """Where a rater begins."""
    digest = hashlib.sha256(f"{seed} {rater_id} {stratum}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (last_place + 1)


@cache
def search_for(kinds: frozenset[str], *, is_detection: bool) -> Search:
    """The queries of a rater who has rules of some kinds."""
    fit = eligible(kinds, is_detection=is_detection)
    due = fit.where(item.c.only_for == bindparam("rater"), item.c.due_at <= bindparam("now")).order_by(item.c.due_at)
    planned = fit.where(item.c.only_for.is_(None), item.c.stratum == bindparam("stratum")).order_by(item.c.place)
    onward, again = planned.where(item.c.place > bindparam("start")), planned.where(item.c.place <= bindparam("start"))
    is_begun = item.c.n_submitted > literal_column("0")  # written out, as `IS_FREE` is
    every = (due, onward, again, onward.where(is_begun), again.where(is_begun))
    most = literal_column(str(WINDOW))  # written out: without it PostgreSQL plans for a tenth of the table
    return Search(*(Prepared(query.limit(most)) for query in every))


def eligible(kinds: frozenset[str], *, is_detection: bool) -> Query:
    """Items with a free slot that a rater has not had in a round and may judge."""
    had = exists().where(
        assignment.c.item_id == item.c.id,
        assignment.c.rater_id == bindparam("rater"),
        assignment.c.round_id == bindparam("round"),
    )
    query = (
        select(
            item.c.id, item.c.stratum, feature.c.family, item.c.n_submitted, item.c.n_held, item.c.slots, item.c.detail,
            item.c.place,
        )
        .join(feature, feature.c.id == item.c.feature_id)
        .where(item.c.round_id == bindparam("round"), IS_FREE, ~had)
    )  # fmt: skip
    if is_detection:
        query = query.where(~has_had())
    return unbarred(query, kinds)


def has_had() -> Exists:
    """Whether a rater has had an item's feature in any round."""
    other = item.alias("other")
    return exists().where(
        other.c.feature_id == item.c.feature_id,
        assignment.c.item_id == other.c.id,
        assignment.c.rater_id == bindparam("rater"),
    )


def window_of(
    conn: Connection, onward: Prepared, again: Prepared, asked: dict[str, Any], known: "Posteriors"
) -> Window:
    """The next items from a place on, round to the beginning where there are too few."""
    rows = onward.rows(conn, asked)
    first, middle = (rows[0].place - 1, rows[len(rows) // 2].place - 1) if rows else (0, 0)
    if len(rows) < WINDOW:
        rows += again.rows(conn, asked)[: WINDOW - len(rows)]
    return Window([candidate_of(row, known) for row in rows], first, middle)


def move(cursors: dict[str, int], stratum: str, window: Window) -> None:
    """Brings a cursor forward, past items that were passed over for long: the search comes round to them again."""
    n_served, since = cursors.get("n_served", 0), f"{stratum} since"
    if window.first != cursors.get(stratum):
        cursors |= {stratum: window.first, since: n_served}
    elif n_served - cursors.get(since, 0) >= PATIENCE:
        cursors |= {stratum: window.middle, since: n_served}


class Posteriors:
    """What is known of items before a rater answers."""

    def __init__(self, categories: Sequence[str]) -> None:
        self.categories = categories
        self.flat = (1 / len(categories),) * len(categories)
        """Of an item that nobody has judged."""

    def of(self, detail: str, n_submitted: int) -> tuple[float, ...]:
        """By category, as an item's last judgement left it."""
        known = json.loads(detail).get("distribution") if n_submitted else None
        return tuple(known.get(category, 0.0) for category in self.categories) if known else self.flat


def candidate_of(row: Any, known: Posteriors) -> Candidate:
    """A row of `eligible`, for the policy; to it a detection task is one of many that are rated once."""
    item_id, stratum, family, n_submitted, n_held, slots, detail, _ = row
    return Candidate(
        item_id=item_id,
        stratum="single" if stratum == "detection" else stratum,
        family=family,
        posterior=known.of(detail, n_submitted),
        n_judgements=n_submitted,
        n_open=n_held - n_submitted,
        slots=slots,
    )


BEFORE = round_rater.alias("before")
SEAT = Prepared(
    select(round_rater.c.gate, round_rater.c.cursors, BEFORE.c.gate, RULES.exists())
    .outerjoin(BEFORE, (BEFORE.c.round_id == bindparam("gate_round")) & (BEFORE.c.user_id == round_rater.c.user_id))
    .where(round_rater.c.round_id == bindparam("round"), round_rater.c.user_id == bindparam("rater"))
)
MINE = (assignment.c.rater_id == bindparam("rater"), assignment.c.round_id == bindparam("round"))
"""A rater's assignments in a round."""
RECENT = Prepared(
    select(item.c.id, feature.c.family, item.c.stratum)
    .select_from(assignment)
    .join(item, item.c.id == assignment.c.item_id)
    .join(feature, feature.c.id == item.c.feature_id)
    .where(*MINE)
    .order_by(assignment.c.id.desc())
    .limit(bindparam("most"))
)
N_SERVED = Prepared(select(func.count()).where(*MINE))
KEEP = Prepared(
    update(round_rater).where(round_rater.c.round_id == bindparam("round"), round_rater.c.user_id == bindparam("rater"))
)


def seat_of(conn: Connection, round_: Round, rater_id: str) -> Seat | None:
    """A rater's place in a round, if they have one."""
    asked = {"round": round_.id, "rater": rater_id, "gate_round": round_.gate_round_id}
    asked |= {"project": round_.project_id, "user": rater_id}
    row = SEAT.first(conn, asked)
    return None if row is None else Seat(rater_id, *row)


def keep(conn: Connection, round_id: str, seat: Seat, cursors: dict[str, int]) -> None:
    """Writes down where a rater's searches are now."""
    written = canonical(cursors)
    if written != seat.written:
        KEEP.run(conn, {"round": round_id, "rater": seat.rater_id, "cursors": written})


def history_of(conn: Connection, round_: Round, seat: Seat, cursors: dict[str, int]) -> History:
    """What a rater was given in a round: how much, and the last items, newest last.

    How much is counted only where it was never written down.
    """
    mine = {"round": round_.id, "rater": seat.rater_id}
    n_served = cursors["n_served"] if "n_served" in cursors else N_SERVED.first(conn, mine)[0]
    rows = RECENT.rows(conn, {**mine, "most": max(round_.settings.queue.family_gap, 1)})
    recent = tuple(Served(*row) for row in rows)[::-1]
    return History(recent=recent, n_served=n_served, today=moment(now(conn)).toordinal())


def rater_of(rater_id: str, n_categories: int, skill: float = SKILL) -> Rater:
    """A rater who is right with some probability and otherwise says anything else; better than a guess in any case."""
    skill = min(max(skill, LEAST_SKILL), MOST_SKILL)
    confusion = np.full((n_categories, n_categories), (1 - skill) / (n_categories - 1))
    np.fill_diagonal(confusion, skill)
    return Rater(rater_id, confusion)
