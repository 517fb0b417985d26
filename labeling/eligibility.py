"""Who may judge what: rules that hold whatever the queue would prefer, each with its name.

The same rules stand here twice, for one item (`why_not`, to tell a lead) and for a whole pool (`barred`, to choose); a test
holds them against each other.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from labeling.pool import STRATA, Candidate, Index, Pool
from labeling.queue_policy import QueuePolicy

Bar = Literal[
    "rated",
    "authored",
    "treated",
    "adjudicator",
    "excluded",
    "for_others",
    "not_due",
    "settled",
    "full",
    "being_judged",
]
WORDS: dict[Bar, str] = {
    "rated": "already answered or skipped by this rater in this round",
    "authored": "the rater suggested its label",
    "treated": "the rater treated the patient or works at the site of its evidence",
    "adjudicator": "the rater is its adjudicator",
    "excluded": "a declared conflict of interest",
    "for_others": "meant for other raters",
    "not_due": "a retest that is not due yet",
    "settled": "settled",
    "full": "has all the judgements it may have in this round",
    "being_judged": "enough others are judging it right now",
}
RETEST, GOLD = STRATA.index("retest"), STRATA.index("gold")
CALIBRATION, FIXED = STRATA.index("calibration"), STRATA.index("irr_fixed")


@dataclass(frozen=True)
class Rater:
    """Who asks for the next item."""

    rater_id: str
    confusion: np.ndarray
    """[n_classes, n_classes] as the consensus estimates it."""
    specialty: str = ""
    sites: frozenset[str] = frozenset()
    """Patients treated and sites worked at."""
    excluded_items: frozenset[str] = frozenset()
    """Conflicts the rater declared."""
    is_calibrated: bool = True
    """Has passed the calibration gate, or needs none."""


@dataclass(frozen=True)
class Served:
    """An item this rater has been given before."""

    item_id: str
    family: str
    stratum: str


@dataclass(frozen=True)
class History:
    """What this rater has been given in this round."""

    rated: frozenset[str] = frozenset()
    """Items answered, skipped or open."""
    recent: tuple[Served, ...] = ()
    """The last ones, newest last; as many as the policy's family gap suffice."""
    n_served: int = 0
    """All of them: the position in the rater's seeded order."""
    today: int = 0
    """Day, counted as `Candidate.due_day` is."""
    extra_rounds: dict[str, int] = field(default_factory=dict)
    """Extra blind rounds of escalated items; empty for none."""


def why_not(one: Candidate, rater: Rater, history: History, policy: QueuePolicy) -> Bar | None:
    """The first rule that forbids this item to this rater now; none if it may be served."""
    wanted = one.slots if one.slots is not None else limit(one.item_id, history, policy)
    counted = one.stratum in ("irr_fixed", "adaptive", "single")
    best = max(one.posterior)
    stops = one.stratum == "adaptive" and one.n_judgements >= policy.min_judgements and best >= policy.stop_posterior
    waits = one.n_open >= max(1, policy.min_judgements - one.n_judgements)
    rules: tuple[tuple[Bar, bool], ...] = (
        ("rated", one.item_id in history.rated),
        ("authored", rater.rater_id in one.authors),
        ("treated", bool(rater.sites & one.sites)),
        ("adjudicator", rater.rater_id in one.adjudicators),
        ("excluded", rater.rater_id in one.excluded or one.item_id in rater.excluded_items),
        ("for_others", bool(one.only_for) and rater.rater_id not in one.only_for),
        ("not_due", one.stratum == "retest" and one.due_day is not None and history.today < one.due_day),
        ("settled", stops),
        ("full", counted and one.n_judgements >= wanted),
        (
            "being_judged",
            counted and (one.n_judgements + one.n_open >= wanted or (one.stratum == "adaptive" and waits)),
        ),
    )
    return next((name for name, holds in rules if holds), None)


def limit(item_id: str, history: History, policy: QueuePolicy) -> int:
    """Judgements an item may have: the policy's, and those of its extra blind rounds."""
    return policy.max_judgements + policy.extra_judgements * history.extra_rounds.get(item_id, 0)


def barred(pool: Pool, rater: Rater, history: History, policy: QueuePolicy) -> dict[Bar, np.ndarray]:
    """By rule, [n] bool of the items it forbids, no item counted under two rules. The order is `why_not`'s."""
    n = len(pool)
    wanted = np.where(pool.slots >= 0, pool.slots, policy.max_judgements)
    for item_id, rounds in history.extra_rounds.items():
        place = pool.place.get(item_id)
        if place is not None and pool.slots[place] < 0:
            wanted[place] += policy.extra_judgements * rounds
    adaptive = pool.stratum == STRATA.index("adaptive")
    counted = pool.stratum >= FIXED
    waits = pool.n_open >= np.maximum(1, policy.min_judgements - pool.n_judgements)
    sure = pool.best >= policy.stop_posterior
    others = mask(n, pool.by_only, ("",)) & ~mask(n, pool.by_only, (rater.rater_id,))
    rules: dict[Bar, np.ndarray] = {
        "rated": places(pool, history.rated),
        "authored": mask(n, pool.by_author, (rater.rater_id,)),
        "treated": mask(n, pool.by_site, tuple(rater.sites)),
        "adjudicator": mask(n, pool.by_adjudicator, (rater.rater_id,)),
        "excluded": mask(n, pool.by_excluded, (rater.rater_id,)) | places(pool, rater.excluded_items),
        "for_others": others,
        "not_due": (pool.stratum == RETEST) & (pool.due_day > history.today),
        "settled": adaptive & (pool.n_judgements >= policy.min_judgements) & sure,
        "full": counted & (pool.n_judgements >= wanted),
        "being_judged": counted & ((pool.n_judgements + pool.n_open >= wanted) | (adaptive & waits)),
    }
    seen = np.zeros(n, bool)
    for name, found in rules.items():
        rules[name] = found & ~seen
        seen |= found
    return rules


def mask(n: int, found: Index, keys: tuple[str, ...]) -> np.ndarray:
    """[n] bool of the places of some keys."""
    result = np.zeros(n, bool)
    for key in keys:
        if key in found:
            result[found[key]] = True
    return result


def places(pool: Pool, item_ids: frozenset[str]) -> np.ndarray:
    """[n] bool of some items; those that are not in the pool do not matter."""
    result = np.zeros(len(pool), bool)
    result[[pool.place[one] for one in item_ids if one in pool.place]] = True
    return result
