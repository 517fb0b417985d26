"""How far a rater's stated confidence can be taken at its word.

A level of the confidence field stands for a share of right answers: level k of q for (k − ½) / q, so that five levels say
10, 30, 50, 70 and 90 %. Whether an answer was right is told by gold where it is known and was not shown, else by the one
answer that most of the *other* raters of the item gave; where they tie, the judgement is left out.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from labeling.bootstrap import BootstrapConfig
from labeling.codebook import Codebook, Question
from labeling.confidence import calibration
from labeling.judgement_table import JudgementRow, JudgementTable
from labeling.report.matrix import codes_of

CONFIDENCE_KEY = "confidence"
"""Key of the field that is taken for confidence, if it is a scale."""


def confidence_question(codebook: Codebook) -> Question | None:
    """The field of stated confidence; none if the codebook asks for none."""
    found = [one for one in codebook.questions if one.key == CONFIDENCE_KEY and one.kind == "scale"]
    return found[0] if found else None


def trust(
    table: JudgementTable, rows: Sequence[JudgementRow], codebook: Codebook, cfg: BootstrapConfig
) -> dict[str, Any] | None:
    """The reliability curve of stated confidence in the primary field; none if it is not asked or nothing can be compared.

    Args:
        table: For its gold answers.
        rows: Headline judgements.
        codebook: Theirs.
        cfg: Of the intervals.
    """
    question = confidence_question(codebook)
    if question is None:
        return None
    levels = codes_of(question)
    known = {one.item_id: one.answers.get(codebook.primary) for one in table.golds if not one.is_shown}
    truths = others_answers(rows, codebook.primary)
    stated, is_right, n_gold = [], [], 0
    for row in rows:
        level, answer = row.answers.get(question.key), row.answers.get(codebook.primary)
        truth = known.get(row.item_id) or truths.get((row.item_id, row.pseudonym))
        if level in levels and truth is not None and answer is not None:
            stated.append((levels.index(level) + 0.5) / len(levels))
            is_right.append(answer == truth)
            n_gold += known.get(row.item_id) is not None
    if not stated:
        return None
    found = calibration(np.asarray(stated), np.asarray(is_right), len(levels), cfg)
    return {
        "n": len(stated),
        "n_gold": n_gold,
        "bins": [{**one._asdict(), "accuracy": one.accuracy.record()} for one in found.bins],
        **{name: getattr(found, name).record() for name in ("calibration_error", "overconfidence", "brier")},
    }


def others_answers(rows: Sequence[JudgementRow], key: str) -> dict[tuple[str, str], str]:
    """What most of the other raters said, by item and rater; without ties."""
    votes: dict[str, Counter[str]] = {}
    for row in rows:
        if isinstance(row.answers.get(key), str):
            votes.setdefault(row.item_id, Counter())[row.answers[key]] += 1
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        others = Counter(votes.get(row.item_id, Counter()))
        others[str(row.answers.get(key))] -= 1
        best = others.most_common(2)
        if best and best[0][1] > 0 and (len(best) == 1 or best[1][1] < best[0][1]):
            found[row.item_id, row.pseudonym] = best[0][0]
    return found
