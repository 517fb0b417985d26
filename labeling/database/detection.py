"""Blind detection: given only a feature's label, which of some passages make it fire? A test of the label, not of memory.

1. A task is made from evidence on a labelled feature: passages in which it fires, from strong to weak, and as many
   in which it is silent. Evidence that nobody has judged comes first, and within it passages that no judge of the feature
   was shown, then those of documents kept from training. Activations are left out.
2. No model is run for it: where all evidence on a feature was judged, its passages are those that the label's authors
   were shown. The task then says whether the label's words lead somebody else to the same passages, not how far they
   carry beyond them.
3. It goes to raters who have not had the feature in this project.
4. What is right is kept as the item's gold, which no rater's page ever holds.
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
"""Passages of a task, half of them firing, where there are as many."""
MIN_EACH = 4
"""Fewer of a kind make no task: by chance alone, one rater in 70 would mark four of eight as they are."""


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
        UserError: No labelled feature has enough passages of both kinds.
    """
    words = labels if labels is not None else words_of(conn, project_id)
    evidence = evidence_of(conn, project_id)
    planned = [plan_of(evidence[key], words[key], slots, seed) for key in sorted(words) if key in evidence]
    items = [plan for plan in planned if plan is not None]
    if not items:
        raise UserError(
            f"None of {len(words)} labelled features has evidence here with {MIN_EACH} passages in which it fires and {MIN_EACH} "
            "in which it is silent, expected some. Label more first, or ask for evidence with more passages."
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


class Evidence(NamedTuple):
    """What is known of a feature that a task can be made from."""

    snapshots: list[Snapshot]
    """Those that can be read here, in the order in which they are tried: unjudged ones first, of each kind the newest."""
    shown: frozenset[tuple[int, int]]
    """Document and position of the passages that somebody judged the feature by."""


def evidence_of(conn: Connection, project_id: str) -> dict[FeatureKey, Evidence]:
    """The evidence on each feature of a project; without what is quarantined, stayed elsewhere, or was never shown here."""
    judged = select(assignment.c.id).where(
        assignment.c.item_id == item.c.id, assignment.c.state.in_(("submitted", "surplus"))
    )
    quarantined = select(item.c.snapshot_sha256).where(item.c.state == "quarantined")
    query = (
        select(evidence_snapshot.c.sha256, evidence_snapshot.c.body, judged.exists().label("is_judged"))
        .join(feature, feature.c.id == evidence_snapshot.c.feature_id)
        .join(sae_ref, sae_ref.c.id == feature.c.sae_ref_id)
        .join(item, item.c.snapshot_sha256 == evidence_snapshot.c.sha256)
        .where(sae_ref.c.project_id == project_id, item.c.stratum != "detection")
        .where(evidence_snapshot.c.sha256.not_in(quarantined))
        .order_by(item.c.id)
    )
    found: dict[str, tuple[Snapshot, bool]] = {}
    for row in conn.execute(query):
        body = json.loads(row.body)
        if "sae" in body and body["contexts"]:  # else it was withheld, or is what a plain table of labels leaves
            earlier = found.pop(row.sha256, None)
            is_judged = bool(row.is_judged) or (earlier is not None and earlier[1])
            found[row.sha256] = Snapshot.from_body(body), is_judged
    by_feature: dict[FeatureKey, list[tuple[Snapshot, bool]]] = {}
    for one in found.values():
        key = (one[0].sae.hook_point, one[0].sae.sae_id, one[0].feature)
        by_feature.setdefault(key, []).insert(0, one)
    return {
        key: Evidence(
            [snapshot for snapshot, _ in sorted(some, key=lambda one: one[1])],
            frozenset(place_of(one) for snapshot, is_judged in some if is_judged for one in snapshot.contexts),
        )
        for key, some in by_feature.items()
    }


def place_of(context: Context) -> tuple[int, int]:
    """Which passage it is, whichever evidence shows it."""
    return context.document, context.position


def plan_of(evidence: Evidence, label: str, slots: int, seed: int) -> PlannedItem | None:
    """A task about one feature, from the first evidence that has enough passages of both kinds; none where none has."""
    for snapshot in evidence.snapshots:
        random = Random(f"detection {seed} {snapshot.sha256}")  # noqa: S311 - nothing here is secret
        is_silent = [one.kind == "contrast" for one in snapshot.contexts]
        firing, silent = (
            [one for one, quiet in zip(snapshot.contexts, is_silent, strict=True) if quiet is wanted]
            for wanted in (False, True)
        )
        n_each = min(len(firing), len(silent), N_CONTEXTS // 2)
        if n_each < MIN_EACH:
            continue
        fires = spread(drawn(firing, evidence.shown, n_each, random, by_strength=True), n_each)
        rests = drawn(silent, evidence.shown, n_each, random, by_strength=False)[:n_each]
        shown = [(one, True) for one in fires] + [(one, False) for one in rests]
        random.shuffle(shown)
        detail = {"label": label, "contexts": [{"tokens": list(one.tokens)} for one, _ in shown]}
        truth = {"fires": [does for _, does in shown]}
        return PlannedItem(
            snapshot, "detection", slots, gold=truth, gold_source="the feature's activations", detail=detail
        )
    return None


def drawn(
    contexts: list[Context], shown: frozenset[tuple[int, int]], n: int, random: Random, *, by_strength: bool
) -> list[Context]:
    """Passages in the order in which they are taken: those that nobody judged by, then held-out documents, then by
    strength or at random. Where enough of them are better in the first two respects, the others are left out.
    """
    random.shuffle(contexts)
    contexts = sorted(contexts, key=lambda one: (place_of(one) in shown, not one.is_held_out))
    ranks = [(place_of(one) in shown, not one.is_held_out) for one in contexts]
    taken = [one for one, rank in zip(contexts, ranks, strict=True) if rank <= ranks[n - 1]]
    return sorted(taken, key=lambda one: -max(one.acts)) if by_strength else taken


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
