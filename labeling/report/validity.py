"""How well labels foretell where their features fire: marks of blind detection tasks beside what is true.

Validity, not agreement: a rater who has not judged the feature is given its label alone. Balanced accuracy of ½ is guessing.
One label's interval treats its passages as trials (`labeling.detection`); that of all labels together resamples tasks, since
the marks of one task hang together.
"""

from collections import defaultdict
from typing import Any

import numpy as np

from labeling.bootstrap import BootstrapConfig, Statistic, estimates
from labeling.detection import Shown, Task, score
from labeling.estimate import MIN_UNITS, UNRELIABLE, Support, counted
from labeling.judgement_table import JudgementRow, JudgementTable, is_detection

Figures = dict[str, Any]


def validity(table: JudgementTable, cfg: BootstrapConfig) -> Figures | None:
    """The labels that were tested; none where no task was answered.

    Args:
        table: The judgements.
        cfg: Of the interval of all labels together.
    """
    truth = {one.item_id: one.answers["fires"] for one in table.golds if "fires" in one.answers}
    last: dict[tuple[str, str], JudgementRow] = {}
    for row in sorted(table.rows, key=lambda row: row.revision):
        if is_detection(row) and row.item_id in truth and not row.is_withdrawn:
            last[row.item_id, row.pseudonym] = row
    if not last:
        return None
    by_item: dict[str, list[JudgementRow]] = defaultdict(list)
    for row in last.values():
        by_item[row.item_id].append(row)
    sums = np.asarray([summed(some, truth[item_id]) for item_id, some in sorted(by_item.items())], float)
    support = Support(len(by_item), len({name for _, name in last}), len(last))
    few = f"{UNRELIABLE}{counted(len(by_item), 'label')}, fewer than {MIN_UNITS}." if len(by_item) < MIN_UNITS else ""
    statistics = {
        name: Statistic(sums, of_sums)
        for name, of_sums in (("balanced_accuracy", balanced), ("sensitivity", found), ("specificity", passed))
    }
    return {
        "n_tasks": len(by_item),
        "n_raters": support.n_raters,
        "n_answers": len(last),
        "pooled": {
            name: one._replace(is_reliable=not few, warning=few).record()
            for name, one in estimates(statistics, support, cfg).items()
        },
        "labels": [label_record(some, truth[item_id]) for item_id, some in sorted(by_item.items())],
    }


def summed(rows: list[JudgementRow], truth: list[bool]) -> list[int]:
    """Of one task, over its raters: firing passages found, firing ones, silent ones passed, silent ones."""
    marks = [
        (is_true, is_marked) for row in rows for is_true, is_marked in zip(truth, row.answers["fires"], strict=True)
    ]
    return [
        sum(is_true and is_marked for is_true, is_marked in marks),
        sum(is_true for is_true, _ in marks),
        sum(not is_true and not is_marked for is_true, is_marked in marks),
        sum(not is_true for is_true, _ in marks),
    ]


def found(sums: np.ndarray) -> np.ndarray:
    """Sensitivity: the share of firing passages that were marked."""
    return sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan)


def passed(sums: np.ndarray) -> np.ndarray:
    """Specificity: the share of silent passages that were not."""
    return sums[..., 2] / np.where(sums[..., 3] > 0, sums[..., 3], np.nan)


def balanced(sums: np.ndarray) -> np.ndarray:
    """Their mean."""
    return (found(sums) + passed(sums)) / 2


def label_record(rows: list[JudgementRow], truth: list[bool]) -> Figures:
    """One label, over the raters who were given it."""
    task = Task(tuple(Shown(str(place), is_true, None) for place, is_true in enumerate(truth)), "detection")
    marks = [frozenset(str(place) for place, fires in enumerate(row.answers["fires"]) if fires) for row in rows]
    of_all = score((task, marked) for marked in marks)
    return {
        **rows[0].feature._asdict(),
        "item_id": rows[0].item_id,
        "n_raters": len(rows),
        "n_contexts": len(truth),
        "balanced_accuracy": of_all.balanced_accuracy,
        "low": of_all.low,
        "high": of_all.high,
        "sensitivity": of_all.sensitivity.value,
        "specificity": of_all.specificity.value,
    }
