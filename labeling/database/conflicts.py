"""Conflicts of interest: entering and removing what a person of a project shall not judge.

A rule takes effect at once. What the rater has in hand, or lost to the lease's end, is skipped for them with its reason;
what they submitted before stays.
"""

import json

from sqlalchemy import Connection, delete, insert, select, update

from labeling.database import audit, calibration, standing
from labeling.database.bars import COIRule, bars_of, unbarred
from labeling.database.errors import NotFound
from labeling.database.rounds import round_of
from labeling.database.schema import assignment, coi_rule, feature, item, round_, round_rater, sae_ref
from labeling.database.transaction import PROGRAM, Actor, now
from labeling.identifiers import new_id
from sae.errors import UserError

KINDS = ("feature", "document", "sae", "item")
MOST_DIGITS = 9
"""Of a number; PostgreSQL's integers have no more."""


def add_coi_rule(
    conn: Connection, actor: Actor, project_id: str, user_id: str, kind: str, value: str, reason: str = ""
) -> None:
    """Keeps a rater from a feature, a document's evidence, an autoencoder or an item.

    Args:
        conn: Of `Database.write`.
        actor: Who adds it.
        project_id: Where.
        user_id: The rater.
        kind: One of `KINDS`.
        value: A document's row number; a feature's number, or its id; an autoencoder as reports name it, with or without its
            hook point, or its id; an item's id.
        reason: For those who read the rules.

    Raises:
        UserError: There is no such thing, so that the rule would keep the rater from nothing.
    """
    if kind not in KINDS:
        raise UserError(f"A rule of kind {kind!r}, expected {', '.join(KINDS)}. Choose one of them.")
    for one in meant(conn, project_id, kind, value):
        row = {
            "id": new_id(),
            "project_id": project_id,
            "user_id": user_id,
            "kind": kind,
            "value": one,
            "reason": reason,
        }
        conn.execute(insert(coi_rule), {**row, "created_at": now(conn)})
        audit.append(conn, project_id, actor, "coi_rule_added", f"user:{user_id}", after=row, detail={"kind": kind})
    withdraw(conn, project_id, user_id)


IN_HAND = ("open", "expired", "released")


def withdraw(conn: Connection, project_id: str, user_id: str) -> None:
    """Takes from a rater what they have or may take up again, and shall not judge; decides calibrations that end by it."""
    bars = bars_of(conn, project_id, user_id)
    mine = (
        select(assignment.c.id, assignment.c.item_id)
        .join(item, item.c.id == assignment.c.item_id)
        .join(feature, feature.c.id == item.c.feature_id)
        .join(round_, round_.c.id == item.c.round_id)
        .where(assignment.c.rater_id == user_id, round_.c.project_id == project_id, assignment.c.state.in_(IN_HAND))
    )
    allowed = {row.id for row in conn.execute(unbarred(mine, bars), bars)}
    for row in conn.execute(mine).all():
        if row.id in allowed:
            continue
        values = {"state": "skipped", "skip_reason": "conflict_of_interest", "lease_until": None}
        version = assignment.c.version + 1
        conn.execute(update(assignment).where(assignment.c.id == row.id).values(**values, version=version))
        standing.hold(conn, row.item_id)
        detail = {"reason": "conflict_of_interest"}
        audit.append(conn, project_id, PROGRAM, "item_skipped", f"assignment:{row.id}", detail=detail)
    query = (
        select(round_rater.c.round_id)
        .join(round_, round_.c.id == round_rater.c.round_id)
        .where(round_.c.project_id == project_id, round_.c.kind == "calibration", round_rater.c.user_id == user_id)
    )
    for round_id in conn.execute(query).scalars().all():
        calibration.refresh_gate(conn, round_of(conn, round_id), user_id)


def remove_coi_rule(conn: Connection, actor: Actor, project_id: str, rule_id: str) -> None:
    """Takes a rule away that was entered by mistake or is over; the audit keeps what it said.

    Raises:
        NotFound: There is none.
    """
    mine = (coi_rule.c.id == rule_id) & (coi_rule.c.project_id == project_id)
    row = conn.execute(select(*(coi_rule.c[name] for name in COIRule._fields)).where(mine)).mappings().first()
    if row is None:
        raise NotFound("There is no such rule, expected one of this project. Load the page again.")
    conn.execute(delete(coi_rule).where(mine))
    before = {**row, "project_id": project_id}
    audit.append(
        conn,
        project_id,
        actor,
        "coi_rule_removed",
        f"user:{row['user_id']}",
        before=before,
        detail={"kind": row["kind"]},
    )


def meant(conn: Connection, project_id: str, kind: str, value: str) -> list[str]:
    """What a value names, in the form that rules are kept in.

    Raises:
        UserError: Nothing that there is.
    """
    is_number = value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS
    if kind == "document" or (kind == "feature" and is_number):
        if not is_number:
            raise UserError(
                f"The document is {value[:40]!r}, expected its row number in the corpus, as 17. Correct the rule."
            )
        return [str(int(value))]
    found = named(conn, project_id, kind, value)
    if not found:
        known = " or ".join(sae_names(conn, project_id)) if kind == "sae" else ""
        hint = {
            "feature": "its number, or the id of one that a round of this project asks about",
            "sae": f"one whose features a round of this project asks about{': ' + known if known else ''}",
            "item": "the id of one in a round of this project",
        }[kind]
        raise UserError(f"There is no {kind} {value[:40]!r}, expected {hint}. Correct the rule.")
    return found


def named(conn: Connection, project_id: str, kind: str, value: str) -> list[str]:
    """Ids of what a value names."""
    if kind == "sae":
        return [
            sae_id for name, ids in sae_names(conn, project_id).items() for sae_id in ids if value in (name, sae_id)
        ]
    mine = select(feature.c.id).join(sae_ref, sae_ref.c.id == feature.c.sae_ref_id)
    queries = {
        "feature": mine.where(sae_ref.c.project_id == project_id, feature.c.id == value),
        "item": select(item.c.id).join(round_).where(round_.c.project_id == project_id, item.c.id == value),
    }
    return list(conn.execute(queries[kind]).scalars())


def sae_names(conn: Connection, project_id: str) -> dict[str, list[str]]:
    """Names of a project's autoencoders, with and without their hook points, and the ids of those that have them."""
    found: dict[str, list[str]] = {}
    query = select(sae_ref.c.id, sae_ref.c.body).where(sae_ref.c.project_id == project_id).order_by(sae_ref.c.id)
    for row in conn.execute(query):
        body = json.loads(row.body)
        for name in (f"{body['hook_point']}/{body['sae_id']}", body["sae_id"]):
            found.setdefault(name, []).append(row.id)
    return found
