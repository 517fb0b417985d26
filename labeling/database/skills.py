"""How often a rater is right, as the queue takes it: from the known answers of calibration and gold items.

One probability per rater, drawn to what is taken of somebody unknown by `PRIOR` judgements, so that three lucky answers
make nobody an oracle. Only the queue's stop rule uses it; the consensus that is reported learns raters' whole confusions
from all judgements together.
"""

import json
from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, select

from labeling.database.prepared import Prepared
from labeling.database.schema import IS_KNOWN, assignment, gold, judgement, judgement_label, round_

SKILL = 0.8
"""Probability that a rater is right, where nothing is known of them."""
PRIOR = 10.0
"""Judgements that this is worth."""


IS_JUDGED = (assignment.c.state == "submitted") | (assignment.c.state == "surplus")
KNOWN = Prepared(
    select(gold.c.body, judgement_label.c.value)
    .select_from(assignment)
    .join(gold, gold.c.item_id == assignment.c.item_id)
    .join(round_, round_.c.id == assignment.c.round_id)
    .join(judgement, (judgement.c.assignment_id == assignment.c.id) & (judgement.c.revision == 1))
    .join(
        judgement_label,
        (judgement_label.c.judgement_id == judgement.c.id) & (judgement_label.c.key == bindparam("primary")),
    )
    .where(round_.c.project_id == bindparam("project"), IS_KNOWN, IS_JUDGED)
    .where(assignment.c.rater_id == bindparam("rater"))
)


def skills_of(conn: Connection, project_id: str, rater_ids: Iterable[str], primary: str) -> dict[str, float]:
    """The probability that each of some raters is right on the primary field; first answers alone count.

    Args:
        conn: Of a transaction.
        project_id: Whose gold.
        rater_ids: Who is asked about; those without a known answer are left out.
        primary: Key of the field.
    """
    skills = {}
    for rater in sorted(set(rater_ids)):
        rows = KNOWN.rows(conn, {"rater": rater, "project": project_id, "primary": primary})
        answers = [(json.loads(body).get(primary), said) for body, said in rows]
        is_right = [known == said for known, said in answers if known is not None]
        if is_right:
            skills[rater] = (sum(is_right) + PRIOR * SKILL) / (len(is_right) + PRIOR)
    return skills
