"""Where an item stands after each judgement: how many raters it still wants, and whether they agree.

    open → consensus | (escalated → consensus | ambiguous → adjudicated)         irr_fixed, adaptive
    open → rated                                                      calibration, gold, retest, single, detection

1. The posterior over the primary field's categories is that of raters who are right with a probability estimated from
   known answers (`labeling.database.skills`) and otherwise fall on one of two near categories; it is cheap, and only
   steers the queue. The consensus that is reported is computed from all judgements together, elsewhere.
2. An adaptive item gets one more slot at a time until its winner is likely enough, at most `max_judgements`.
3. Where raters disagree at the end, blind slots are added (`escalated`), whose judgements enter no agreement figure;
   where they still disagree, the item is due to a senior (`ambiguous`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, select, update

from labeling.codebook import CANNOT_JUDGE, Codebook
from labeling.database.prepared import Prepared
from labeling.database.rounds import Round
from labeling.database.schema import IS_HELD, assignment, item, judgement, judgement_label
from labeling.database.skills import SKILL, skills_of
from labeling.identifiers import canonical
from labeling.round_settings import RoundSettings
from labeling.stopping import verdict

MOVING = ("open", "rated", "escalated", "consensus", "ambiguous")
"""States that a judgement may change; a quarantined, stale, adjudicated or locked item stays as it is."""
N_NEAR = 2
"""Categories among which a wrong answer falls. Physicians who err, err alike: were a wrong answer taken to fall anywhere
among twelve categories, two against one would pass for certain."""


class Standing(NamedTuple):
    """What a judgement makes of an item."""

    state: str
    slots: int
    n_extra: int


class Votes(NamedTuple):
    """What was said of an item."""

    n_held: int
    n_submitted: int
    answers: list[tuple[str, str]]
    """(rater, category) of the primary field; raters who cannot judge are left out."""


def standing_of(stratum: str, now: Standing, n_submitted: int, posterior: float, settings: RoundSettings) -> Standing:
    """The state machine: a pure function.

    Args:
        stratum: The item's.
        now: As it stands before.
        n_submitted: Slots with a judgement.
        posterior: Of the likeliest category.
        settings: The round's.
    """
    if stratum not in ("irr_fixed", "adaptive"):
        return now._replace(state="rated" if n_submitted >= now.slots else "open")
    waiting = now._replace(state="escalated" if now.n_extra else "open")
    policy = settings.queue
    if stratum == "irr_fixed":
        if n_submitted < now.slots:
            return waiting
        policy = policy.model_copy(update={"max_judgements": now.slots - now.n_extra})
    said = verdict(n_submitted, posterior, now.n_extra // policy.extra_judgements, policy)
    match said.state:
        case "settled":
            return now._replace(state="consensus")
        case "open":
            return waiting._replace(slots=max(now.slots, n_submitted + 1))
        case "escalate":
            extra = policy.extra_judgements
            return Standing("escalated", now.slots + extra, now.n_extra + extra)
        case "adjudicate":
            return now._replace(state="ambiguous")


def posterior_of(
    answers: Sequence[tuple[str, str]], categories: Sequence[str], skills: Mapping[str, float]
) -> dict[str, float]:
    """The posterior over categories, from a flat prior: each answer multiplies the odds of its category."""
    logs = dict.fromkeys(categories, 0.0)
    for rater, answer in answers:
        skill = min(max(skills.get(rater, SKILL), 0.51), 0.99)
        wrong = math.log((1 - skill) / min(len(categories) - 1, N_NEAR))
        for category in categories:
            logs[category] += math.log(skill) if category == answer else wrong
    top = max(logs.values())
    weights = {category: math.exp(log - top) for category, log in logs.items()}
    total = sum(weights.values())
    return {category: weight / total for category, weight in weights.items()}


def entropy_of(distribution: Mapping[str, float]) -> float:
    """In nats."""
    return -sum(p * math.log(p) for p in distribution.values() if p > 0)


THIS = item.c.id == bindparam("item")
ITEM, ITEM_LOCKED = Prepared(select(item).where(THIS)), Prepared(select(item).where(THIS).with_for_update())
N_HELD = Prepared(select(func.count()).where(assignment.c.item_id == bindparam("item"), IS_HELD))
CHANGE = Prepared(update(item).where(THIS))


def item_of(conn: Connection, item_id: str) -> Any:
    """An item's row, as it stands."""
    return ITEM.first(conn, {"item": item_id})


def refresh(conn: Connection, row: Any, round_: Round, codebook: Codebook) -> Standing:
    """Brings an item's counts, distribution and state up to date with its assignments and judgements.

    Args:
        conn: Of `Database.write`.
        row: The item as it stands.
        round_: Its round.
        codebook: The round's.
    """
    votes = votes_of(conn, row.id, codebook.primary)
    before = Standing(row.state, row.slots, row.n_extra)
    values: dict[str, Any] = {"n_held": votes.n_held, "n_submitted": votes.n_submitted}
    after = before
    if row.stratum != "detection":
        categories = [category.code for category in codebook.question(codebook.primary).categories]
        raters = [rater for rater, _ in votes.answers]
        skills = skills_of(conn, round_.project_id, raters, codebook.primary)
        distribution = posterior_of(votes.answers, categories, skills)
        values |= {"posterior": max(distribution.values()), "entropy": entropy_of(distribution)}
        kept = {code: round(p, 4) for code, p in distribution.items() if p >= 0.0001}
        values["detail"] = canonical({"distribution": kept}) if votes.answers else "{}"
    if row.state in MOVING:
        after = standing_of(row.stratum, before, votes.n_submitted, values.get("posterior", 0.0), round_.settings)
    is_free = after.state in ("open", "escalated") and votes.n_held < after.slots
    CHANGE.run(conn, {"item": row.id, **values, **after._asdict(), "is_free": int(is_free)})
    return after


def hold(conn: Connection, item_id: str) -> None:
    """Recounts an item's taken slots, where no judgement was added."""
    n_held = N_HELD.first(conn, {"item": item_id})[0]
    row = item_of(conn, item_id)
    is_free = row.state in ("open", "escalated") and n_held < row.slots
    CHANGE.run(conn, {"item": item_id, "n_held": n_held, "is_free": int(is_free)})


SAID = Prepared(
    select(assignment.c.id, assignment.c.state, assignment.c.rater_id, judgement_label.c.value)
    .outerjoin(judgement, judgement.c.assignment_id == assignment.c.id)
    .outerjoin(
        judgement_label,
        (judgement_label.c.judgement_id == judgement.c.id) & (judgement_label.c.key == bindparam("primary")),
    )
    .where(assignment.c.item_id == bindparam("item"))
    .order_by(assignment.c.id, judgement.c.revision)
)


def votes_of(conn: Connection, item_id: str, primary: str) -> Votes:
    """The last revision of everybody's answer, late ones included; a skipped assignment says nothing."""
    states: dict[str, str] = {}
    answers: dict[str, str | None] = {}
    for assignment_id, state, rater_id, value in SAID.rows(conn, {"item": item_id, "primary": primary}):
        states[assignment_id] = state
        if state in ("submitted", "surplus"):
            answers[rater_id] = value
    counted = list(states.values())
    said = [(rater, value) for rater, value in answers.items() if value not in (None, CANNOT_JUDGE)]
    return Votes(
        n_held=sum(state in ("open", "submitted") for state in counted),
        n_submitted=counted.count("submitted"),
        answers=[(rater, value) for rater, value in said if value is not None],
    )
