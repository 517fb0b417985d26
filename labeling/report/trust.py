"""How far a rater's stated confidence can be taken at its word.

A level of the confidence field stands for a share of right answers: level k of q for (k − ½) / q, so that five levels say
10, 30, 50, 70 and 90 %. Whether an answer was right is told by gold where it is known and was not shown, else by the one
answer that most of the *other* raters of the item gave; where they tie, the judgement is left out.
"""

from typing import Any, NamedTuple

import numpy as np

from labeling.bootstrap import BootstrapConfig, Statistic, estimates, ratio_of
from labeling.codebook import Codebook, Question
from labeling.confidence import calibration
from labeling.estimate import Support
from labeling.gold import share_by_item
from labeling.judgement_table import JudgementTable
from labeling.report.matrix import ABSTAINED, Grid, codes_of

CONFIDENCE_KEY = "confidence"
"""Key of the field that is taken for confidence, if it is a scale."""


def confidence_question(codebook: Codebook) -> Question | None:
    """The field of stated confidence; none if the codebook asks for none."""
    found = [one for one in codebook.questions if one.key == CONFIDENCE_KEY and one.kind == "scale"]
    return found[0] if found else None


def trust(table: JudgementTable, places: Grid, codebook: Codebook, cfg: BootstrapConfig) -> dict[str, Any] | None:
    """The reliability curve of stated confidence in the primary field; none if it is not asked or nothing can be compared.

    Args:
        table: For its gold answers.
        places: Headline judgements.
        codebook: Theirs.
        cfg: Of the intervals, which resample items.
    """
    question = confidence_question(codebook)
    if question is None or not places.rows:
        return None
    answers, levels = (answers_of(places, one) for one in (codebook.question(codebook.primary), question))
    truth = truths(table, places, codebook, answers)
    kept = ~np.isnan(answers) & ~np.isnan(levels) & ~np.isnan(truth.answer)
    if not kept.any():
        return None
    item = np.unique(places.item[kept], return_inverse=True)[1]
    stated = (levels[kept] + 0.5) / len(question.categories)
    found = reliability(item, stated, answers[kept] == truth.answer[kept], len(question.categories), cfg)
    return {"n": int(kept.sum()), "n_gold": int(truth.is_gold[kept].sum()), **found}


class Truths(NamedTuple):
    """What each judgement is held against."""

    answer: np.ndarray
    """[n_rows] rank; NaN where there is none."""
    is_gold: np.ndarray
    """[n_rows] bool: known, and not others' opinion."""


def answers_of(places: Grid, question: Question) -> np.ndarray:
    """[n_rows] ranks of the answers to a field, NaN where there is none."""
    found = places.ranks(question)
    return np.where(found == ABSTAINED, np.nan, found)


def truths(table: JudgementTable, places: Grid, codebook: Codebook, answers: np.ndarray) -> Truths:
    """Gold where it is known and was not shown; else the one answer that most of the other raters gave."""
    codes = codes_of(codebook.question(codebook.primary))
    known = {one.item_id: one.answers.get(codebook.primary) for one in table.golds if not one.is_shown}
    gold = np.asarray([codes.index(code) if (code := known.get(name)) in codes else np.nan for name in places.items])[
        places.item
    ]
    given = ~np.isnan(answers)
    counts = np.zeros((len(places.items), len(codes)))
    np.add.at(counts, (places.item[given], answers[given].astype(int)), 1)
    others = counts[places.item]
    others[np.flatnonzero(given), answers[given].astype(int)] -= 1
    most = others.max(axis=1)
    has_one = (most > 0) & ((others == most[:, None]).sum(axis=1) == 1)
    by_peers = np.where(has_one, others.argmax(axis=1), np.nan)
    is_gold = ~np.isnan(gold)
    return Truths(np.where(is_gold, gold, by_peers), is_gold)


def reliability(
    item: np.ndarray, stated: np.ndarray, is_right: np.ndarray, n_bins: int, cfg: BootstrapConfig
) -> dict[str, Any]:
    """The curve and its summaries; judgements of one item are drawn together.

    Args:
        item: [n] place of the item, from 0.
        stated: [n] confidence between 0 and 1.
        is_right: [n] bool.
        n_bins: Levels of confidence.
        cfg: Of the intervals.
    """
    once = BootstrapConfig(n_bootstraps=1, seed=cfg.seed)
    bins = calibration(stated, is_right, n_bins, once).bins
    level = np.minimum((stated * n_bins + 1e-9).astype(int), n_bins - 1)
    excess = stated - is_right
    sums = np.zeros((item.max() + 1, n_bins + 3))
    np.add.at(sums, item, np.column_stack([np.ones(len(item)), excess, excess**2]) @ np.eye(3, n_bins + 3))
    np.add.at(sums, (item, 3 + level), excess)

    def error(total: np.ndarray) -> np.ndarray:
        return np.abs(total[..., 3:]).sum(axis=-1) / total[..., 0]

    statistics = {
        "calibration_error": Statistic(sums, error),
        "overconfidence": ratio_of(sums[:, 1], sums[:, 0])._replace(exact=None),
        "brier": ratio_of(sums[:, 2], sums[:, 0]),
    }
    found = estimates(statistics, Support(len(sums), 1, len(item)), cfg)
    accuracies = [share_by_item(is_right[level == n], item[level == n], cfg) for n in np.unique(level)]
    return {
        "bins": [
            {**one._asdict(), "accuracy": accuracy.record()} for one, accuracy in zip(bins, accuracies, strict=True)
        ],
        **{name: one.record() for name, one in found.items()},
    }
