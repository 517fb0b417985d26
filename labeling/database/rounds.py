"""Rounds: which features are put before which raters, under which codebook, by which rules.

An item's slots say how many raters may have it. `irr_fixed` items, calibration and gold have theirs from the beginning;
an adaptive item begins with the fewest and gets more while its raters disagree (`labeling.database.standing`).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from random import Random
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, func, insert, literal, select, update

from labeling.answers import validate_answers
from labeling.database import audit, projects, roles
from labeling.database.errors import NotAllowed, NotFound
from labeling.database.prepared import Prepared
from labeling.database.schema import (
    assignment,
    audit_event,
    evidence_snapshot,
    feature,
    gold,
    item,
    judgement,
    round_,
    round_rater,
    sae_ref,
    snapshot_document,
)
from labeling.database.transaction import Actor, now
from labeling.evidence import NOTHING_HERE, SAERef, Snapshot
from labeling.identifiers import canonical, new_id, sha256
from labeling.round_settings import RoundSettings
from sae.errors import UserError

CHUNK = 1000
KINDS = ("calibration", "main", "blind_extra", "detection")
STRATA = ("calibration", "gold", "irr_fixed", "adaptive", "single", "detection")
"""Those that a lead plans; `retest` and `escalated` come about."""


@dataclass(frozen=True)
class PlannedItem:
    """A feature that a round will ask about."""

    snapshot: Snapshot
    """What is shown."""
    stratum: str
    """One of `STRATA`."""
    slots: int
    """How many raters; of an adaptive item, how many at first."""
    family: str = ""
    """Near-duplicates share one."""
    gold: dict[str, Any] | None = None
    """The right answers, of a gold or calibration item that has some."""
    gold_source: str = ""
    """Who says so."""
    detail: dict[str, Any] | None = None
    """Of a detection task: its label and contexts."""


class Round(NamedTuple):
    """A round, as it stands."""

    id: str
    project_id: str
    n: int
    kind: str
    title: str
    codebook_version_id: str
    settings: RoundSettings
    seed: int
    state: str
    gate_round_id: str | None
    created_at: str
    closed_at: str | None


class Gate(NamedTuple):
    """How a rater stands in a round."""

    user_id: str
    gate: str
    """none, pending, passed or repeat."""
    detail: dict[str, Any]
    """Of a calibration: gold items answered, right ones, the lower bound."""
    n_submitted: int
    n_skipped: int


class Overview(NamedTuple):
    """How far a round is."""

    round: Round
    n_items: int
    items: dict[str, dict[str, int]]
    """Stratum → state → number."""
    n_judged: int
    """Slots with a judgement, of the same items as below; gold and retests are not counted here."""
    n_slots: int
    """Slots there are, of items that are not quarantined or stale."""
    n_stale: int
    n_quarantined: int
    n_due: int
    """Items that wait for a senior."""
    raters: list[Gate]


def refuse_contradictions(settings: RoundSettings) -> None:
    """Stops settings that no item can settle by; a round that was opened with some goes on as it is.

    Raises:
        UserError: An item would be escalated before it may be settled.
    """
    policy = settings.queue
    if policy.min_judgements > policy.max_judgements:
        raise UserError(
            f"queue.min_judgements is {policy.min_judgements}, expected at most queue.max_judgements, which is "
            f"{policy.max_judgements}. Change one of the two."
        )


def open_round(  # noqa: PLR0913 - a round has these properties
    conn: Connection,
    actor: Actor,
    project_id: str,
    *,
    kind: str,
    title: str,
    codebook_version_id: str,
    items: Iterable[PlannedItem],
    rater_ids: Sequence[str],
    settings: RoundSettings | None = None,
    seed: int = 0,
    gate_round_id: str | None = None,
) -> Round:
    """Opens a round: from now on its raters are given items.

    Args:
        conn: Of `Database.write`.
        actor: The lead.
        project_id: Whose round.
        kind: calibration, main, blind_extra or detection.
        title: What people call it.
        codebook_version_id: What is asked.
        items: What about; they are put into a random order.
        rater_ids: Who may rate.
        settings: How it is run.
        seed: Of the order and of all the queue's draws.
        gate_round_id: The calibration round that a rater must have passed before.

    Raises:
        UserError: Kind, settings, stratum, slots or gold are wrong, or there are no items or raters.
    """
    roles.require(conn, actor, project_id, "lead")
    settings = settings or RoundSettings()
    refuse_contradictions(settings)
    version = projects.codebook_of(conn, codebook_version_id)
    if kind not in KINDS or not rater_ids:
        raise UserError(
            f"A round of kind {kind!r} with {len(rater_ids)} raters, expected one of {', '.join(KINDS)} and at least one rater. "
            "Correct it."
        )
    last = conn.execute(select(func.max(round_.c.n)).where(round_.c.project_id == project_id)).scalar_one()
    row = {
        "id": new_id(),
        "project_id": project_id,
        "n": (last or 0) + 1,
        "kind": kind,
        "title": title,
        "codebook_version_id": codebook_version_id,
        "policy": canonical(settings.model_dump(mode="json")),
        "seed": seed,
        "state": "open",
        "gate_round_id": gate_round_id,
        "created_at": now(conn),
    }
    conn.execute(insert(round_), row)
    gate = "pending" if kind == "calibration" else "none"
    raters = sorted(set(rater_ids))
    conn.execute(insert(round_rater), [{"round_id": row["id"], "user_id": user_id, "gate": gate} for user_id in raters])
    planned = add_items(conn, actor, project_id, row["id"], items, version.codebook, seed)
    if planned.n_items == 0:
        raise UserError("The round has no items, expected at least one feature. Choose some.")
    detail = {**planned._asdict(), "raters": raters, "kind": kind, "seed": seed}
    audit.append(conn, project_id, actor, "round_opened", f"round:{row['id']}", after=row, detail=detail)
    return round_of(conn, row["id"])


class Planned(NamedTuple):
    """What was put into a round."""

    n_items: int
    items_sha256: str
    """Over id, snapshot, stratum and slots of every item in their order."""


def add_items(
    conn: Connection,
    actor: Actor,
    project_id: str,
    round_id: str,
    items: Iterable[PlannedItem],
    codebook: Any,
    seed: int,
) -> Planned:
    """Writes items, their evidence and their gold, a thousand at a time."""
    n_items, saes = 0, {}
    rows: list[dict[str, Any]] = []
    for chunk in chunks(items):
        features = features_of(conn, project_id, chunk, saes)
        for plan, feature_id in zip(chunk, features, strict=True):
            refuse_plan(plan)
            rows.append(item_row(plan, round_id, feature_id))
            if plan.gold is not None:
                answers = plan.gold if plan.stratum == "detection" else validate_gold(codebook, plan)
                rows[-1]["gold"] = {"item_id": rows[-1]["id"], "body": canonical(answers), "source": plan.gold_source}
        n_items += len(chunk)
    golds = []
    for row, place in zip(rows, places_of(n_items, seed), strict=True):
        row["place"] = place
        golds.append(row.pop("gold", None))
    for start in range(0, n_items, CHUNK):
        conn.execute(insert(item), rows[start : start + CHUNK])
    for known in golds:
        if known is not None:
            audit.record(conn, gold, known, project_id, actor, "gold_added")
    hashed = ([row[name] for name in ("id", "snapshot_sha256", "stratum", "slots", "place")] for row in rows)
    return Planned(n_items, items_sha256(hashed))


def places_of(n_items: int, seed: int) -> list[int]:
    """The places of a round's items, in the order in which they were planned."""
    places = list(range(1, n_items + 1))
    Random(f"places {seed}").shuffle(places)  # noqa: S311 - nothing here is secret
    return places


def items_sha256(rows: Iterable[list[Any]]) -> str:
    """The hash of a round's items: id, snapshot, stratum, slots and place of each, in the order in which they were planned."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(canonical(row).encode())
    return digest.hexdigest()


def chunks(items: Iterable[PlannedItem]) -> Iterator[list[PlannedItem]]:
    """Lists of at most `CHUNK`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def refuse_plan(plan: PlannedItem) -> None:
    """Refuses an item that cannot be asked about."""
    if plan.stratum not in STRATA or plan.slots < 1:
        raise UserError(
            f"An item of stratum {plan.stratum!r} with {plan.slots} slots, expected one of {', '.join(STRATA)} and at least one "
            "slot. Correct it."
        )


def validate_gold(codebook: Any, plan: PlannedItem) -> dict[str, Any]:
    """Gold answers: some of the fields, each a valid answer."""
    asked = [question for question in codebook.questions if question.key in (plan.gold or {})]
    optional = [
        question.model_copy(update={"is_required": False, "min_spans": 0, "min_characters": 0}) for question in asked
    ]
    return validate_answers(codebook.model_copy(update={"questions": tuple(optional)}), plan.gold, plan.snapshot)


def item_row(plan: PlannedItem, round_id: str, feature_id: str) -> dict[str, Any]:
    """An item as it is stored."""
    return {
        "id": new_id(),
        "round_id": round_id,
        "feature_id": feature_id,
        "snapshot_sha256": plan.snapshot.sha256,
        "stratum": plan.stratum,
        "slots": plan.slots,
        "detail": canonical(plan.detail or {}),
    }


def features_of(conn: Connection, project_id: str, plans: Sequence[PlannedItem], saes: dict[str, str]) -> list[str]:
    """Ids of the plans' features; features and evidence that are new are written."""
    for plan in plans:
        sae_id_of(conn, project_id, plan.snapshot.sae, saes)
    keys = [(saes[sha256(vars(plan.snapshot.sae))], plan.snapshot.feature) for plan in plans]
    known = known_features(conn, keys)
    fresh = {
        key: {"id": new_id(), "sae_ref_id": key[0], "number": key[1], "family": plan.family[:80]}
        for key, plan in zip(keys, plans, strict=True)
        if key not in known
    }
    if fresh:
        conn.execute(insert(feature), list(fresh.values()))
    known |= {key: row["id"] for key, row in fresh.items()}
    ids = [known[key] for key in keys]
    add_snapshots(conn, [plan.snapshot for plan in plans], ids)
    return ids


def known_features(conn: Connection, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """Those of some features that are there already."""
    columns = (feature.c.sae_ref_id, feature.c.number, feature.c.id)
    found = {}
    for sae in {key[0] for key in keys}:
        numbers = [number for one, number in keys if one == sae]
        query = select(*columns).where(feature.c.sae_ref_id == sae, feature.c.number.in_(numbers))
        found |= {(row.sae_ref_id, row.number): row.id for row in conn.execute(query)}
    return found


def sae_id_of(conn: Connection, project_id: str, ref: SAERef, saes: dict[str, str]) -> str:
    """The id of an autoencoder in a project; it is written where it is new."""
    digest = sha256(vars(ref))
    if digest not in saes:
        query = select(sae_ref.c.id).where(sae_ref.c.project_id == project_id, sae_ref.c.sha256 == digest)
        found = conn.execute(query).scalar_one_or_none()
        saes[digest] = found or new_id()
        if found is None:
            row = {"id": saes[digest], "project_id": project_id, "sha256": digest, "body": canonical(vars(ref))}
            conn.execute(insert(sae_ref), row)
    return saes[digest]


def add_snapshots(conn: Connection, snapshots: Sequence[Snapshot], feature_ids: Sequence[str]) -> None:
    """Writes evidence that is not there yet."""
    rows = {
        snapshot.sha256: {
            "sha256": snapshot.sha256, "feature_id": feature_id, "body": snapshot.text, "created_at": now(conn)
        }
        for snapshot, feature_id in zip(snapshots, feature_ids, strict=True)
    }  # fmt: skip
    query = select(evidence_snapshot.c.sha256).where(evidence_snapshot.c.sha256.in_(list(rows)))
    known = set(conn.execute(query).scalars())
    documents = [
        {"snapshot_sha256": digest, "document": document}
        for digest, snapshot in {snapshot.sha256: snapshot for snapshot in snapshots}.items()
        if digest not in known
        for document in sorted({context.document for context in snapshot.contexts})
    ]
    fresh = [row for digest, row in rows.items() if digest not in known]
    if fresh:
        conn.execute(insert(evidence_snapshot), fresh)
    if documents:
        conn.execute(insert(snapshot_document), documents)


ROUND = Prepared(select(round_).where(round_.c.id == bindparam("round")))


def round_of(conn: Connection, round_id: str) -> Round:
    """A round.

    Raises:
        NotFound: There is none of that id.
    """
    row = ROUND.first(conn, {"round": round_id})
    if row is None:
        raise NotFound("There is no such round, expected a known one. Choose one from the list.")
    return from_row(row)


def rounds(conn: Connection, project_id: str) -> list[Round]:
    """A project's rounds, oldest first."""
    return of_query(conn, select(round_).where(round_.c.project_id == project_id).order_by(round_.c.n))


def rounds_of_rater(conn: Connection, user_id: str) -> list[Round]:
    """The open rounds in which a person rates."""
    query = (
        select(round_)
        .join(round_rater, round_rater.c.round_id == round_.c.id)
        .where(round_rater.c.user_id == user_id, round_.c.state == "open")
    )
    return of_query(conn, query.order_by(round_.c.id))


def of_query(conn: Connection, query: Select[Any]) -> list[Round]:
    """Rounds of a query."""
    return [from_row(row) for row in conn.execute(query)]


def from_row(row: Any) -> Round:
    """A row of `round`."""
    return Round(
        row.id, row.project_id, row.n, row.kind, row.title, row.codebook_version_id, parsed(row.policy), row.seed, row.state,
        row.gate_round_id, row.created_at, row.closed_at,
    )  # fmt: skip


@lru_cache(maxsize=64)
def parsed(policy: str) -> RoundSettings:
    """The settings in a stored text."""
    return RoundSettings.model_validate(json.loads(policy))


def pause_round(conn: Connection, actor: Actor, round_id: str) -> None:
    """Gives out nothing more for now; what is open may be submitted."""
    change_state(conn, actor, round_id, ("open",), "paused")


def resume_round(conn: Connection, actor: Actor, round_id: str) -> None:
    """Goes on."""
    change_state(conn, actor, round_id, ("paused",), "open")


def close_round(conn: Connection, actor: Actor, round_id: str) -> None:
    """Ends a round for good; what is submitted late is kept all the same."""
    change_state(conn, actor, round_id, ("open", "paused"), "closed")
    conn.execute(update(round_).where(round_.c.id == round_id).values(closed_at=now(conn)))


def change_state(conn: Connection, actor: Actor, round_id: str, allowed: tuple[str, ...], state: str) -> None:
    """Takes a round from one state to another."""
    found = round_of(conn, round_id)
    roles.require(conn, actor, found.project_id, "lead")
    if found.state not in allowed:
        raise NotAllowed(f"The round is {found.state}, expected {' or '.join(allowed)}. Nothing was changed.")
    conn.execute(update(round_).where(round_.c.id == round_id).values(state=state))
    audit.append(conn, found.project_id, actor, f"round_{state}", f"round:{round_id}", before=found.state, after=state)


def add_raters(conn: Connection, actor: Actor, round_id: str, rater_ids: Sequence[str]) -> None:
    """Lets more people rate in a round. A calibration asks all of them about everything, so its items get a slot for each;
    a round that came from elsewhere offers the slots it has left from now on.

    Raises:
        NotAllowed: The round is closed, its evidence is not here, or one of them has been shown what others said of its items.
    """
    found = round_of(conn, round_id)
    roles.require(conn, actor, found.project_id, "lead")
    known = set(conn.execute(select(round_rater.c.user_id).where(round_rater.c.round_id == round_id)).scalars())
    gate = "pending" if found.kind == "calibration" else "none"
    fresh = [{"round_id": round_id, "user_id": one, "gate": gate} for one in sorted(set(rater_ids) - known)]
    if found.state == "closed":
        raise NotAllowed("The round is closed, expected an open one. Open another round for more raters.")
    if fresh:
        refuse_who_have_seen(conn, found, [row["user_id"] for row in fresh])
        refuse_without_evidence(conn, found)
        conn.execute(insert(round_rater), fresh)
        if found.kind == "calibration":
            asked = (item.c.round_id == round_id, item.c.state.in_(("open", "rated")), item.c.only_for.is_(None))
            conn.execute(update(item).where(*asked).values(slots=item.c.slots + len(fresh), state="open"))
        wants_more = (item.c.state.in_(("open", "escalated"))) & (item.c.n_held < item.c.slots)
        conn.execute(update(item).where(item.c.round_id == round_id, item.c.is_free == 0, wants_more).values(is_free=1))
        audit.append(
            conn, found.project_id, actor, "raters_added", f"round:{round_id}",
            detail={"raters": [row["user_id"] for row in fresh]},
        )  # fmt: skip


def refuse_who_have_seen(conn: Connection, found: Round, user_ids: Sequence[str]) -> None:
    """Keeps people out of a round whose cases they were shown as seniors.

    Raises:
        NotAllowed: One of them was.
    """
    query = (
        select(audit_event.c.actor_id)
        .join(item, literal("item:").concat(item.c.id) == audit_event.c.object)
        .where(
            audit_event.c.project_id == found.project_id,
            audit_event.c.action == "case_shown",
            audit_event.c.actor_id.in_(user_ids),
            item.c.round_id == found.id,
        )
    )
    if conn.execute(query.limit(1)).first() is not None:
        raise NotAllowed(
            "One of these people has seen as a senior what others said of this round's items, expected raters who have not. "
            "Leave them out."
        )


def refuse_without_evidence(conn: Connection, found: Round) -> None:
    """Keeps raters out of a round of which there is nothing to show them.

    Raises:
        NotAllowed: The text of some item stayed elsewhere.
    """
    query = (
        select(item.c.id)
        .join(evidence_snapshot, evidence_snapshot.c.sha256 == item.c.snapshot_sha256)
        .where(item.c.round_id == found.id, evidence_snapshot.c.body.like(NOTHING_HERE))
    )
    if conn.execute(query.limit(1)).first() is not None:
        raise NotAllowed(
            "The evidence of this round stayed where it came from, expected it here. Ask for an export made with --evidence, or "
            "open a round of your own."
        )


def round_overview(conn: Connection, round_id: str) -> Overview:
    """How far a round is: counts from indexes."""
    found = round_of(conn, round_id)
    query = (
        select(
            item.c.stratum, item.c.state, func.count().label("n"), func.sum(item.c.n_submitted).label("judged"),
            func.sum(item.c.slots).label("slots"),
        )
        .where(item.c.round_id == round_id)
        .group_by(item.c.stratum, item.c.state)
    )  # fmt: skip
    items: dict[str, dict[str, int]] = {}
    n_judged = n_slots = 0
    for row in conn.execute(query):
        items.setdefault(row.stratum, {})[row.state] = row.n
        is_planned = row.stratum not in ("gold", "retest")  # which a round does not wait for
        if is_planned and row.state not in ("quarantined", "stale"):
            n_judged += row.judged
            n_slots += row.slots
    by_state = {
        state: sum(of.get(state, 0) for of in items.values()) for state in ("stale", "quarantined", "ambiguous")
    }
    return Overview(
        found, sum(sum(of.values()) for of in items.values()), items, n_judged, n_slots, by_state["stale"],
        by_state["quarantined"], by_state["ambiguous"], gates(conn, round_id),
    )  # fmt: skip


def gates(conn: Connection, round_id: str) -> list[Gate]:
    """How every rater of a round stands."""
    query = select(round_rater).where(round_rater.c.round_id == round_id).order_by(round_rater.c.user_id)
    found = []
    for row in conn.execute(query).all():
        counts = select(assignment.c.state, func.count().label("n")).where(
            assignment.c.rater_id == row.user_id, assignment.c.round_id == round_id
        )
        states = {count.state: count.n for count in conn.execute(counts.group_by(assignment.c.state))}
        n_submitted = states.get("submitted", 0) + states.get("surplus", 0)
        detail = json.loads(row.gate_detail)
        found.append(Gate(row.user_id, row.gate, detail, n_submitted, states.get("skipped", 0)))
    return found


def n_judgements(conn: Connection) -> int:
    """Judgements in the whole database, revisions counted."""
    return conn.execute(select(func.count()).select_from(judgement)).scalar_one()
