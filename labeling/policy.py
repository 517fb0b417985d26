"""What a rater is given next, and why: a pure function of the round's items, the rater, their history and a seed.

1. Items the rater may not judge are left out (`labeling.eligibility`).
2. Of the others, the first of these steps that has an item decides:
   calibration → a retest that is due → gold (by a seeded draw, never twice in a row) → the fixed-overlap stratum → the
   adaptive item on which this rater's answer is expected to tell most (`labeling.information`) → whatever is least covered.
3. Features of a family are kept apart where there is enough else.

Every choice says why, and an empty queue says what is in the way. The reason names strata and is for leads and the audit;
it must not reach the rater, who could tell gold items by it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from labeling.eligibility import CALIBRATION, FIXED, GOLD, RETEST, WORDS, Bar, History, Rater, barred, mask
from labeling.information import most_informative
from labeling.pool import STRATA, Candidate, Pool, shuffled
from labeling.queue_policy import QueuePolicy

ADAPTIVE, SINGLE = STRATA.index("adaptive"), STRATA.index("single")
STEPS = {
    "calibration": "an item of the calibration round",
    "retest": "a retest that is due",
    "gold": "a gold item, by the seeded draw",
    "irr_fixed": "an item of the fixed-overlap stratum whose quota is not full",
    "adaptive": "the item on which this rater's answer is expected to tell most",
    "coverage": "the item with the fewest judgements",
}


class Choice(NamedTuple):
    """The item to serve."""

    item_id: str
    step: str
    reason: dict[str, Any]
    """What decided, in numbers; not for the rater's eyes."""
    sentence: str
    """The same in words; not for the rater's eyes either."""


class Empty(NamedTuple):
    """Nothing can be served."""

    barred: dict[Bar, int]
    """How many items each rule keeps away; no item is counted twice."""
    sentence: str
    """What is in the way; may be shown."""


def choose(
    candidates: Pool | Sequence[Candidate], rater: Rater, history: History, policy: QueuePolicy, seed: int | None = None
) -> Choice | Empty:
    """The next item of a rater.

    Args:
        candidates: The round's items, or those a query left of them; their order does not matter.
        rater: Who asks.
        history: What they were given before.
        policy: The settings.
        seed: Of this round, if not the policy's.
    """
    pool = candidates if isinstance(candidates, Pool) else Pool.of(candidates)
    key = policy.seed if seed is None else seed
    bars = barred(pool, rater, history, policy)
    free = ~np.logical_or.reduce(tuple(bars.values()))
    # drawn anew each time, so that no item comes last for ever
    order = shuffled(pool.code, key, rater.rater_id, history.n_served)
    for step, places in steps(pool, free, rater, history, policy, key):
        if len(places):
            return taken(step, places, pool, rater, history, policy, order)
    return nothing(bars, pool, rater, free)


def steps(pool: Pool, free: np.ndarray, rater: Rater, history: History, policy: QueuePolicy, key: int) -> Any:
    """Each step's name and the items it could serve, one after the other."""
    yield "calibration", np.flatnonzero(free & (pool.stratum == CALIBRATION))
    if not rater.is_calibrated:
        return
    yield "retest", np.flatnonzero(free & (pool.stratum == RETEST))
    if gold_is_drawn(rater, history, policy, key):
        yield "gold", np.flatnonzero(free & (pool.stratum == GOLD))
    yield "irr_fixed", np.flatnonzero(free & (pool.stratum == FIXED))
    yield "adaptive", np.flatnonzero(free & (pool.stratum == ADAPTIVE) & (pool.entropy > policy.least_information))
    yield "coverage", np.flatnonzero(free & (pool.stratum >= ADAPTIVE))


def gold_is_drawn(rater: Rater, history: History, policy: QueuePolicy, key: int) -> bool:
    """Whether the draw of this position in the rater's order says gold."""
    if history.recent and history.recent[-1].stratum == "gold":
        return False
    draw = shuffled(np.asarray([history.n_served], np.uint64), key, rater.rater_id, "gold")[0]
    return float(draw) / 2**64 < policy.gold_hazard


def taken(
    step: str, places: np.ndarray, pool: Pool, rater: Rater, history: History, policy: QueuePolicy, order: np.ndarray
) -> Choice:
    """The step's best item, families that were shown just now being kept for later."""
    recent = tuple({one.family for one in history.recent[-policy.family_gap :]}) if policy.family_gap else ()
    spaced = places[~mask(len(pool), pool.by_family, recent)[places]]
    is_spaced = len(spaced) > 0
    some = spaced if is_spaced else places
    own = pool.specialty[some] == rater.specialty if rater.specialty else np.zeros(len(some), bool)
    bits = None
    if step == "adaptive":
        factor = np.where(own, policy.specialty_factor, 1.0)
        found = most_informative(pool, some, rater.confusion, order, factor if own.any() else None)
        place, bits = found.place, found.information
    else:
        few = pool.n_judgements[some] + pool.n_open[some] if step == "coverage" else np.zeros(len(some), int)
        place = some[np.lexsort((order[some], ~own, few))[0]]
    reason = {
        "step": step,
        "n_candidates": len(places),
        "n_judgements": int(pool.n_judgements[place]),
        "best_answer": round(float(pool.posterior[place].max()), 6),
        "entropy_bits": round(float(pool.entropy[place]), 6),
        "information_bits": None if bits is None else round(bits, 6),
        "is_own_specialty": bool(rater.specialty and pool.specialty[place] == rater.specialty),
        "is_spaced": is_spaced,
        "n_served": history.n_served,
    }
    return Choice(pool.item_ids[place], step, reason, sentence(reason))


def sentence(reason: dict[str, Any]) -> str:
    """A choice in words."""
    said = f"Chosen from {reason['n_candidates']} as {STEPS[reason['step']]}"
    if reason["information_bits"] is not None:
        said += f" ({reason['information_bits']:.2f} bits; best answer so far {reason['best_answer']:.2f})"
    said += f", after {reason['n_judgements']} judgements of it"
    return said + ("." if reason["is_spaced"] else "; its family was shown just before, since nothing else was left.")


def nothing(bars: dict[Bar, np.ndarray], pool: Pool, rater: Rater, free: np.ndarray) -> Empty:
    """Why there is nothing, as counts and in words."""
    counts: dict[Bar, int] = {name: int(found.sum()) for name, found in bars.items() if found.any()}
    if not len(pool):
        return Empty({}, "This round has no items.")
    if not rater.is_calibrated:
        return Empty(counts, "The calibration round is answered; its result has to be looked at before you go on.")
    parts = [f"{n} {WORDS[name]}" for name, n in counts.items()]
    kept = int(free.sum())
    if kept:
        parts.append(f"{kept} kept for later")  # gold items whose draw has not come
    return Empty(counts, f"Nothing to rate in this round of {len(pool)} items: {'; '.join(parts)}.")
