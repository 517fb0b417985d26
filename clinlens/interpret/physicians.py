"""Physicians' blind detection beside a language model's, on the features that both had."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sqlalchemy import select

from analysis.interpretation.scores import score
from clinlens.feature_labels import features_in_open_rounds
from clinlens.labels import DATABASE
from labeling.database.connection import Database
from labeling.database.detection import Marks, marks_of
from labeling.database.judgements import FeatureKey
from labeling.database.schema import project

N_BOOTSTRAPS = 1000
LEAST = 3
"""Features of which both must have scores."""
CAVEAT = "Physicians and model were shown other passages of a feature, and tested other words for it."


def physicians(folder: Path) -> dict[FeatureKey, float]:
    """Balanced accuracy of all raters together on each feature that nobody is asked about any more.

    Args:
        folder: The run's.
    """
    found: list[Marks] = []
    if (folder / DATABASE).is_file():
        with Database.open(folder / DATABASE) as database, database.read() as conn:
            for project_id in conn.execute(select(project.c.id).order_by(project.c.id)).scalars():
                asked = features_in_open_rounds(conn, project_id)
                found += [one for one in marks_of(conn, project_id) if key_of(one) not in asked]
    return pooled(found)


def key_of(one: Marks) -> FeatureKey:
    """The feature that marks are about."""
    return one.hook_point, one.sae_id, one.number


def pooled(found: Sequence[Marks]) -> dict[FeatureKey, float]:
    """Balanced accuracy by feature, over all raters' marks."""
    grouped: dict[FeatureKey, tuple[list[bool], list[bool]]] = {}
    for one in found:
        truth, marks = grouped.setdefault(key_of(one), ([], []))
        truth += one.truth
        marks += one.marks
    scores = {key: score(truth, marks) for key, (truth, marks) in grouped.items()}
    return {key: one.balanced_accuracy for key, one in scores.items() if one is not None}


def comparison(
    theirs: Mapping[FeatureKey, float], model: Mapping[FeatureKey, float], seed: int
) -> dict[str, Any] | None:
    """Means, their difference with a 95 % interval over features, and rank correlation; none with fewer than three features.

    Args:
        theirs: Physicians' balanced accuracy.
        model: The model's.
        seed: Of the draws.
    """
    both = sorted(set(theirs) & set(model))
    if len(both) < LEAST:
        return None
    a, b = np.asarray([theirs[key] for key in both]), np.asarray([model[key] for key in both])
    drawn = np.random.default_rng((seed, 4)).choice(b - a, (N_BOOTSTRAPS, len(both))).mean(axis=1)
    varies = a.std() > 0 and b.std() > 0
    return {
        "n_features": len(both),
        "physicians": round(float(a.mean()), 6),
        "model": round(float(b.mean()), 6),
        "difference": round(float((b - a).mean()), 6),
        "interval": [round(float(end), 6) for end in np.quantile(drawn, [0.025, 0.975])],
        "rank_correlation": round(float(np.corrcoef(rankdata(a), rankdata(b))[0, 1]), 6) if varies else None,
        "caveat": CAVEAT,
    }
