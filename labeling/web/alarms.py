"""What waits for a lead: raters who drift, gates to decide on, items for seniors, evidence that was taken away.

An alarm is a task, never a block: the rater goes on meanwhile. Drift comes from the figures of the agreement page, so that
whoever still rates does not see it.
"""

from typing import Any, NamedTuple

from sqlalchemy import Connection

from labeling.database import accounts, projects, roles
from labeling.database.rounds import Overview


class Task(NamedTuple):
    """One thing to do."""

    sentence: str
    address: str
    """Where it is done."""


def of_rounds(overviews: list[Overview], people: dict[str, accounts.User]) -> list[Task]:
    """What rounds that are not closed ask of their lead."""
    found = []
    for one in overviews:
        where, title = f"/rounds/{one.round.id}", one.round.title
        if one.round.state == "closed":
            continue
        if one.n_quarantined:
            found.append(
                Task(f"“{title}”: {counted(one.n_quarantined)} hidden, since a passage could name a patient.", where)
            )
        if one.n_stale:
            found.append(Task(f"“{title}”: {counted(one.n_stale)} to be rated anew under the new codebook.", where))
        repeating = [people[gate.user_id].display_name for gate in one.raters if gate.gate == "repeat"]
        if repeating:
            found.append(Task(f"“{title}”: the gate is not passed by {', '.join(repeating)}.", where))
        if one.n_due:
            found.append(Task(f"“{title}”: {counted(one.n_due)} waiting for a senior.", where))
    return found


def counted(n: int) -> str:
    """A number of items, in words."""
    return "1 item is" if n == 1 else f"{n} items are"


def of_drift(conn: Connection, project_id: str, figures: dict[str, Any] | None) -> list[Task]:
    """Raters whose agreement with the others has fallen, by name: a lead has to speak with them.

    Args:
        conn: Of a transaction.
        project_id: Whose raters.
        figures: Of the agreement page; none while they are computed.
    """
    alarmed = {
        one["rater"]: one
        for one in ((figures or {}).get("drift") or {}).get("raters", [])
        if one["n_ewma_alarms"] or one["n_cusum_alarms"]
    }
    key = projects.pseudonym_key(conn, project_id) if alarmed else ""
    found = []
    for user_id in roles.members(conn, project_id) if alarmed else ():
        one = alarmed.get(projects.pseudonym(key, user_id))
        if one is not None:
            name = accounts.user_of(conn, user_id).display_name
            share = f"{100 * one['last_ewma']:.0f} % of late, {100 * one['mean']:.0f} % on the whole"
            found.append(
                Task(f"{name} agrees less with the others than expected: {share}.", f"/projects/{project_id}/agreement")
            )
    return found
