"""Conflicts of interest as conditions on items: what a person of a project shall not judge."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, exists, select

from labeling.database.schema import coi_rule, feature, item, snapshot_document

Query = Select[*tuple[Any, ...]]
Bars = dict[str, list[Any]]
"""What somebody shall not judge, by kind of rule; the values of the parameters that `unbarred` asks for."""


class COIRule(NamedTuple):
    """What a person shall not judge."""

    id: str
    user_id: str
    kind: str
    """One of `labeling.database.conflicts.KINDS`."""
    value: str
    """A document's row number in the corpus; a feature's number, in every autoencoder; else an id."""
    reason: str


RULES = (
    select(*(coi_rule.c[name] for name in COIRule._fields))
    .where(coi_rule.c.project_id == bindparam("project"), coi_rule.c.user_id == bindparam("user"))
    .order_by(coi_rule.c.id)
)


def coi_rules(conn: Connection, project_id: str, user_id: str) -> list[COIRule]:
    """What a person shall not judge."""
    return [COIRule(*row) for row in conn.execute(RULES, {"project": project_id, "user": user_id})]


def bars_of(conn: Connection, project_id: str, user_id: str) -> Bars:
    """The same by kind, as parameters."""
    bars: Bars = {}
    for rule in coi_rules(conn, project_id, user_id):
        is_number = rule.kind == "document" or (rule.kind == "feature" and rule.value.isdigit())
        kind = "feature_number" if is_number and rule.kind == "feature" else rule.kind
        bars.setdefault(kind, []).append(int(rule.value) if is_number else rule.value)
    return bars


def unbarred(query: Query, kinds: Iterable[str]) -> Query:
    """A query of items, joined with their features, without those that rules of some kinds keep from somebody.

    Args:
        query: From `item` and `feature`.
        kinds: Keys of `bars_of`, whose values are the query's parameters.
    """
    kinds = set(kinds)
    columns = {
        "item": item.c.id, "feature": feature.c.id, "feature_number": feature.c.number, "sae": feature.c.sae_ref_id,
    }  # fmt: skip
    for kind, column in columns.items():
        if kind in kinds:
            query = query.where(column.not_in(bindparam(kind, expanding=True)))
    if "document" in kinds:
        shows = exists().where(
            snapshot_document.c.snapshot_sha256 == item.c.snapshot_sha256,
            snapshot_document.c.document.in_(bindparam("document", expanding=True)),
        )
        query = query.where(~shows)
    return query


def is_barred(conn: Connection, project_id: str, user_id: str, item_id: str) -> bool:
    """Whether a person shall not judge an item."""
    bars = bars_of(conn, project_id, user_id)
    query = select(item.c.id).join(feature, feature.c.id == item.c.feature_id).where(item.c.id == item_id)
    return bool(bars) and conn.execute(unbarred(query, bars), bars).first() is None
