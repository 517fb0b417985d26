"""Which item a rater gets next: a pure function of the candidates, the rater's history and a seed.

Provisional: replaced by the queue policy with expected information gain.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from pydantic import Field

from sae.config import Settings


class QueuePolicy(Settings, frozen=True):
    """How many judgements an item gets, and when it has enough."""

    min_judgements: int = Field(default=2, ge=1, description="Before an item may stop.")
    max_judgements: int = Field(default=5, ge=1, description="After which it is escalated.")
    stop_posterior: float = Field(default=0.9, gt=0, le=1, description="Posterior of the winner at which it stops.")
    gold_every: int = Field(default=15, ge=2, description="One gold item in so many, on average.")


class Candidate(NamedTuple):
    """An item that a rater may get."""

    item_id: str
    stratum: str
    family: str
    n_submitted: int
    distribution: dict[str, float]


class Choice(NamedTuple):
    """What they get, and why."""

    item_id: str
    reason: str


def choose(
    candidates: Sequence[Candidate], last: Sequence[tuple[str, str]], policy: QueuePolicy, seed: str
) -> Choice | None:
    """Chooses among candidates; `last` are (stratum, family) of the rater's last items, newest first."""
    random = Random(seed)  # noqa: S311 - nothing here is secret
    families = {family for _, family in last[:3]}
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.stratum, []).append(candidate)
    gold_due = "gold" in groups and (not last or last[0][0] != "gold") and random.random() < 1 / policy.gold_every
    order = [
        "calibration",
        "retest",
        *(["gold"] if gold_due else []),
        "irr_fixed",
        "adaptive",
        "single",
        "detection",
        "gold",
    ]
    for stratum in order:
        if found := groups.get(stratum):
            spaced = [candidate for candidate in found if candidate.family not in families] or found
            return Choice(random.choice(spaced).item_id, f"{stratum}: {len(found)} candidates")
    return None
