"""What changed after the blind judgement: adjudication by a senior, and revisions after a machine's explanation was shown.

The figures after are never a headline: people who have seen what others say agree for other reasons.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from labeling.agreement import agreement
from labeling.bootstrap import BootstrapConfig
from labeling.codebook import Codebook
from labeling.gold import share_by_item
from labeling.judgement_table import JudgementRow, JudgementTable
from labeling.report.fields import or_reason
from labeling.report.matrix import grid, matrix, scale_of

Figures = dict[str, Any]


def adjudicated(table: JudgementTable, codebook: Codebook, codebook_n: int, cfg: BootstrapConfig) -> Figures | None:
    """Seniors' decisions beside what the raters had said; none if nothing was adjudicated."""
    decided = {one.item_id: one for one in table.adjudications}
    if not decided:
        return None
    answers = by_item([row for row in table.blind(codebook_n) if row.item_id in decided], codebook)
    final = {
        item: one.answers[codebook.primary]
        for item, one in decided.items()
        if one.disposition == "decided" and codebook.primary in one.answers and answers.get(item)
    }
    held = [(item, answer == code) for item, code in final.items() for answer in answers[item]]
    of_item, is_as_decided = np.asarray([item for item, _ in held]), np.asarray([same for _, same in held], bool)
    as_most = sum(
        Counter(answers[item]).most_common(1)[0][0] == code for item, code in final.items() if has_winner(answers[item])
    )
    return {
        "n_items": len(decided),
        "dispositions": dict(sorted(Counter(one.disposition for one in decided.values()).items())),
        "error_kinds": dict(sorted(Counter(one.error_kind for one in decided.values()).items())),
        "n_with_winner": sum(has_winner(answers[item]) for item in final),
        "n_as_winner": as_most,
        "raters_with_decision": share_by_item(is_as_decided, of_item, cfg).record(),
    }


def by_item(rows: Sequence[JudgementRow], codebook: Codebook) -> dict[str, list[str]]:
    """Blind answers to the primary field."""
    found: dict[str, list[str]] = {}
    for row in rows:
        answer = row.answers.get(codebook.primary)
        if isinstance(answer, str):
            found.setdefault(row.item_id, []).append(answer)
    return found


def has_winner(answers: Sequence[str]) -> bool:
    """Whether one answer was given more often than any other."""
    best = Counter(answers).most_common(2)
    return len(best) == 1 or (len(best) == 2 and best[0][1] > best[1][1])


def revisions(table: JudgementTable, codebook: Codebook, codebook_n: int, cfg: BootstrapConfig) -> Figures | None:
    """Agreement before and after raters saw a machine's explanation, on the items where one did; none if none did."""
    blind = {(row.item_id, row.rater_id): row for row in table.headline(codebook_n)}
    latest = dict(blind)
    for row in table.rows:
        place = row.item_id, row.rater_id
        if place in blind and row.has_seen_explanation and row.revision > latest[place].revision:
            latest[place] = row
    revised = {place for place, row in latest.items() if row.has_seen_explanation}
    if not revised:
        return None
    n_changed = 0
    items = {item for item, _ in revised}
    for place in revised:
        n_changed += latest[place].answers.get(codebook.primary) != blind[place].answers.get(codebook.primary)
    return {
        "n_revised": len(revised),
        "n_changed": n_changed,
        "n_items": len(items),
        "before": figures([row for place, row in blind.items() if place[0] in items], codebook, cfg),
        "after": figures([row for place, row in latest.items() if place[0] in items], codebook, cfg),
    }


def figures(rows: Sequence[JudgementRow], codebook: Codebook, cfg: BootstrapConfig) -> Figures:
    """Coefficients of the primary field."""
    question = codebook.question(codebook.primary)
    found = matrix(grid(rows), question)
    scale = scale_of(question)
    return or_reason(
        lambda: {"coefficients": agreement(found.ratings, scale, cfg, is_brief=True).record()["coefficients"]}
    )
