"""One's own judgements of a round, and, once it is closed, everybody's beside them: shares of answers, never names.

Shares and not numbers: how many judged an item would tell gold items from others.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from labeling.codebook import Codebook
from labeling.database.rounds import Round
from labeling.database.schema import assignment, item, judgement, judgement_label

COUNTED = ("submitted", "surplus")


@dataclass(frozen=True)
class Given:
    """One judgement of one's own."""

    judgement_id: str
    assignment_id: str
    item_id: str
    answers: dict[str, Any]
    submitted_at: str
    revision: int
    shares: list[tuple[str, float]]
    """Answers to the primary field and their shares, in the codebook's order; none before the round is closed."""


def latest() -> Any:
    """The newest revision of every assignment."""
    newest = func.max(judgement.c.revision).label("revision")
    return select(judgement.c.assignment_id, newest).group_by(judgement.c.assignment_id).subquery()


def given(conn: Connection, round_row: Round, codebook: Codebook, rater_id: str) -> list[Given]:
    """One's own judgements, the newest first."""
    last = latest()
    query = (
        select(
            judgement.c.id.label("judgement_id"),
            assignment.c.id,
            assignment.c.item_id,
            judgement.c.body,
            judgement.c.submitted_at,
            judgement.c.revision,
        )
        .join(judgement, judgement.c.assignment_id == assignment.c.id)
        .join(last, (last.c.assignment_id == judgement.c.assignment_id) & (last.c.revision == judgement.c.revision))
        .join(item, item.c.id == assignment.c.item_id)
        .where(
            assignment.c.round_id == round_row.id,
            assignment.c.rater_id == rater_id,
            assignment.c.state.in_(COUNTED),
            item.c.state != "quarantined",
        )
        .order_by(judgement.c.submitted_at.desc())
    )
    rows = conn.execute(query).all()
    shares = shares_of(conn, round_row, codebook) if round_row.state == "closed" else {}
    return [
        Given(
            row.judgement_id,
            row.id,
            row.item_id,
            json.loads(row.body),
            row.submitted_at,
            row.revision,
            shares.get(row.item_id, []),
        )
        for row in rows
    ]


def shares_of(conn: Connection, round_row: Round, codebook: Codebook) -> dict[str, list[tuple[str, float]]]:
    """Shares of answers to the primary field by item of a round."""
    last = latest()
    query = (
        select(assignment.c.item_id, judgement_label.c.value)
        .join(judgement, judgement.c.assignment_id == assignment.c.id)
        .join(last, (last.c.assignment_id == judgement.c.assignment_id) & (last.c.revision == judgement.c.revision))
        .join(judgement_label, judgement_label.c.judgement_id == judgement.c.id)
        .where(
            assignment.c.round_id == round_row.id,
            assignment.c.state.in_(COUNTED),
            judgement_label.c.key == codebook.primary,
        )
    )
    counts: dict[str, Counter[str]] = {}
    for row in conn.execute(query):
        counts.setdefault(row.item_id, Counter())[row.value] += 1
    codes = {one.code: place for place, one in enumerate(codebook.question(codebook.primary).categories)}
    return {
        item_id: [
            (code, n / found.total()) for code, n in sorted(found.items(), key=lambda pair: codes.get(pair[0], 99))
        ]
        for item_id, found in counts.items()
    }
