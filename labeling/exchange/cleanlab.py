"""The shape in which cleanlab's `multiannotator` functions take labels: items × annotators, and class probabilities.

    labels = pandas.read_csv("cleanlab-labels.csv", index_col="item_id")
    pred_probs = pandas.read_csv("cleanlab-pred_probs.csv", index_col="item_id").to_numpy()
    cleanlab.multiannotator.get_label_quality_multiannotator(labels, pred_probs)

Labels are ranks of the codebook's categories, empty where a rater did not judge. The probabilities are those of the
consensus model, which has seen the labels: a classifier's own, out of sample, are better where there is one.

Source: cleanlab's documentation of `multiannotator`.
"""

from collections.abc import Iterable, Sequence

from labeling.codebook import Codebook
from labeling.exchange.cells import csv_text
from labeling.exchange.records import SoftLabelRecord
from labeling.judgement_table import JudgementRow

LABELS_FILE, PROBABILITIES_FILE = "cleanlab-labels.csv", "cleanlab-pred_probs.csv"


def files(
    judgements: Iterable[JudgementRow], soft: Sequence[SoftLabelRecord], codebook: Codebook, n: int
) -> dict[str, bytes]:
    """Both files for the primary field of one codebook version.

    Args:
        judgements: Blind ones under that version, one per item and rater.
        soft: Soft labels of the same.
        codebook: The version.
        n: Its number.
    """
    field = codebook.primary
    codes = [category.code for category in codebook.question(field).categories]
    chances = {one.item_id: one.posterior for one in soft if one.field == field and one.codebook == n}
    cells: dict[str, dict[str, int]] = {}
    for row in judgements:
        answer = row.answers.get(field)
        if row.item_id in chances and answer in codes:
            cells.setdefault(row.item_id, {})[row.pseudonym] = codes.index(answer)
    raters = sorted({rater for row in cells.values() for rater in row})
    items = sorted(set(cells) & set(chances))
    labels = csv_text(["item_id", *raters], ({"item_id": one, **cells[one]} for one in items))
    probabilities = csv_text(
        ["item_id", *codes],
        ({"item_id": one, **{code: chances[one].get(code, 0.0) for code in codes}} for one in items),
    )
    return {LABELS_FILE: labels.encode(), PROBABILITIES_FILE: probabilities.encode()}
