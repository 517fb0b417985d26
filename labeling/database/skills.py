"""How often a rater is right, as the queue takes it: from the known answers of calibration and gold items.

One probability per rater, drawn to what is taken of somebody unknown by `PRIOR` judgements, so that three lucky answers
make nobody an oracle. Only the queue's stop rule uses it; the consensus that is reported learns raters' whole confusions
from all judgements together.
"""

import json
from collections.abc import Iterable

from sqlalchemy import Connection, select

from labeling.database.schema import assignment, gold, item, judgement, judgement_label, round_

SKILL = 0.8
"""Probability that a rater is right, where nothing is known of them."""
PRIOR = 10.0
"""Judgements that this is worth."""


def skills_of(conn: Connection, project_id: str, rater_ids: Iterable[str], primary: str) -> dict[str, float]:
    """The probability that each of some raters is right on the primary field; first answers alone count.

    Args:
        conn: Of a transaction.
        project_id: Whose gold.
        rater_ids: Who is asked about; those without a known answer are left out.
        primary: Key of the field.
    """
    raters = sorted(set(rater_ids))
    if not raters:
        return {}
    query = (
        select(assignment.c.rater_id, gold.c.body, judgement_label.c.value)
        .select_from(gold)
        .join(item, item.c.id == gold.c.item_id)
        .join(round_, round_.c.id == item.c.round_id)
        .join(assignment, assignment.c.item_id == item.c.id)
        .join(judgement, (judgement.c.assignment_id == assignment.c.id) & (judgement.c.revision == 1))
        .join(judgement_label, (judgement_label.c.judgement_id == judgement.c.id) & (judgement_label.c.key == primary))
        .where(round_.c.project_id == project_id, item.c.stratum.in_(("calibration", "gold")))
        .where(assignment.c.rater_id.in_(raters), assignment.c.state.in_(("submitted", "surplus")))
    )
    n_right, n = dict.fromkeys(raters, 0), dict.fromkeys(raters, 0)
    for rater, body, said in conn.execute(query):
        known = json.loads(body).get(primary)
        if known is not None:
            n[rater] += 1
            n_right[rater] += known == said
    return {rater: (n_right[rater] + PRIOR * SKILL) / (n[rater] + PRIOR) for rater in raters if n[rater]}
