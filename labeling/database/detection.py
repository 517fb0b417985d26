"""Blind detection: given only a feature's label, which of some passages make it fire? A test of the label, not of memory.

1. A task is made from the evidence on a labelled feature: passages in which it fires, from strong to weak, and as many
   in which it is silent; documents kept from training first. Activations are left out.
2. It goes to raters who have not had the feature in this project.
3. What is right is kept as the item's gold, which no rater's page ever holds.
"""

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from labeling.answers import is_marks
from labeling.database import judgements, rounds
from labeling.database.judgements import FeatureKey
from labeling.database.rounds import PlannedItem, Round
from labeling.database.schema import assignment, evidence_snapshot, feature, gold, item, judgement, sae_ref
from labeling.database.transaction import Actor
from labeling.evidence import Context, Snapshot
from labeling.round_settings import RoundSettings
from sae.errors import UserError

N_CONTEXTS = 16


class Marks(NamedTuple):
    """One rater's answer to a detection task, beside what is right."""

    hook_point: str
    sae_id: str
    number: int
    label: str
    rater_id: str
    marks: tuple[bool, ...]
    """Which passages the rater said make it fire."""
    truth: tuple[bool, ...]


def validate_marks(answers: Any, detail: Mapping[str, Any]) -> dict[str, Any]:
    """The answers to a detection task: `{"fires": [true, false, …]}`, one for each passage.

    Raises:
        UserError: There are too few, too many, or something else.
    """
    n_contexts = len(detail["contexts"])
    if not is_marks(answers, n_contexts):
        raise UserError(
            f"The marks are malformed, expected yes or no for each of {n_contexts} passages. Mark each passage."
        )
    return {"fires": answers["fires"]}


def open_detection(  # noqa: PLR0913 - a round has these properties
    conn: Connection,
    actor: Actor,
    project_id: str,
    *,
    codebook_version_id: str,
    rater_ids: Sequence[str],
    labels: Mapping[FeatureKey, str] | None = None,
    slots: int = 1,
    seed: int = 0,
    settings: RoundSettings | None = None,
) -> Round:
    """Opens a round of detection tasks.

    Args:
        conn: Of `Database.write`.
        actor: The lead.
        project_id: Whose.
        codebook_version_id: The project's; a task asks none of its fields.
        rater_ids: Who may answer; each gets features that they have not had.
        labels: The words to be tested, by feature; if none, the commonest words of each labelled feature.
        slots: Answers per task.
        seed: Of the passages drawn and their order.
        settings: How it is run.

    Raises:
        UserError: No labelled feature has passages of both kinds.
    """
    words = labels if labels is not None else words_of(conn, project_id)
    snapshots = snapshots_of(conn, project_id)
    planned = [plan_of(snapshots[key], words[key], slots, seed) for key in sorted(words) if key in snapshots]
    items = [plan for plan in planned if plan is not None]
    if not items:
        raise UserError(
            f"None of {len(words)} labelled features has passages in which it fires and others, expected some. Label more first."
        )
    return rounds.open_round(
        conn, actor, project_id, kind="detection", title="Which passages fit the label?", seed=seed, settings=settings,
        codebook_version_id=codebook_version_id, items=items, rater_ids=rater_ids,
    )  # fmt: skip


def words_of(conn: Connection, project_id: str) -> dict[FeatureKey, str]:
    """What raters called each feature most often, or the name of its category."""
    labels = judgements.labels_of_features(conn, project_id)
    said = {key: label.words[0] if label.words else label.winner_name for key, label in labels.items()}
    return {key: words for key, words in said.items() if words}


def snapshots_of(conn: Connection, project_id: str) -> dict[FeatureKey, Snapshot]:
    """The newest evidence on each feature of a project that is not quarantined."""
    query = (
        select(evidence_snapshot.c.body)
        .join(feature, feature.c.id == evidence_snapshot.c.feature_id)
        .join(sae_ref, sae_ref.c.id == feature.c.sae_ref_id)
        .join(item, item.c.snapshot_sha256 == evidence_snapshot.c.sha256)
        .where(sae_ref.c.project_id == project_id, item.c.state != "quarantined", item.c.stratum != "detection")
        .order_by(item.c.id)
    )
    found = {}
    for body in conn.execute(query).scalars():
        snapshot = Snapshot.from_body(json.loads(body))
        found[(snapshot.sae.hook_point, snapshot.sae.sae_id, snapshot.feature)] = snapshot
    return found


def plan_of(snapshot: Snapshot, label: str, slots: int, seed: int) -> PlannedItem | None:
    """A task about one feature; none where passages of a kind are missing."""
    random = Random(f"detection {seed} {snapshot.sha256}")  # noqa: S311 - nothing here is secret
    firing = drawn([one for one in snapshot.contexts if one.kind != "contrast"], random, by_strength=True)
    silent = drawn([one for one in snapshot.contexts if one.kind == "contrast"], random, by_strength=False)
    n_each = min(len(firing), len(silent), N_CONTEXTS // 2)
    if n_each == 0:
        return None
    shown = [(one, True) for one in spread(firing, n_each)] + [(one, False) for one in silent[:n_each]]
    random.shuffle(shown)
    detail = {"label": label, "contexts": [{"tokens": list(one.tokens)} for one, _ in shown]}
    truth = {"fires": [fires for _, fires in shown]}
    return PlannedItem(snapshot, "detection", slots, gold=truth, gold_source="the feature's activations", detail=detail)


def drawn(contexts: list[Context], random: Random, *, by_strength: bool) -> list[Context]:
    """Passages in the order in which they are taken: held-out documents first, then by strength or at random."""
    random.shuffle(contexts)
    return sorted(contexts, key=lambda one: (not one.is_held_out, -max(one.acts) if by_strength else 0.0))


def spread(contexts: Sequence[Context], n: int) -> list[Context]:
    """So many of some, evenly from the first to the last."""
    return [contexts[place * len(contexts) // n] for place in range(n)]


def marks_of(conn: Connection, project_id: str) -> list[Marks]:
    """Every rater's last answer to every detection task, in the order of the tasks."""
    query = (
        select(
            item.c.id, item.c.detail, feature.c.number, sae_ref.c.body.label("sae"), assignment.c.rater_id,
            judgement.c.body, gold.c.body.label("truth"),
        )
        .join(assignment, assignment.c.id == judgement.c.assignment_id)
        .join(item, item.c.id == assignment.c.item_id)
        .join(gold, gold.c.item_id == item.c.id)
        .join(feature, feature.c.id == item.c.feature_id)
        .join(sae_ref, sae_ref.c.id == feature.c.sae_ref_id)
        .where(sae_ref.c.project_id == project_id, item.c.stratum == "detection", assignment.c.state != "skipped")
        .order_by(item.c.id, assignment.c.id, judgement.c.revision)
    )  # fmt: skip
    found: dict[tuple[str, str], Marks] = {}
    for row in conn.execute(query):
        sae = json.loads(row.sae)
        found[(row.id, row.rater_id)] = Marks(
            sae["hook_point"], sae["sae_id"], row.number, json.loads(row.detail)["label"], row.rater_id,
            tuple(json.loads(row.body)["fires"]), tuple(json.loads(row.truth)["fires"]),
        )  # fmt: skip
    return list(found.values())
