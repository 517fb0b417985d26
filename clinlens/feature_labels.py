"""Physicians' labels of a run's features, for the rest of the product: only what nobody is asked about any more.

A label of an item in an open round is kept back, for a rater who reads a report or an export would see what others said.
"""

import json
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from clinlens.labels import DATABASE
from labeling.database.connection import Database
from labeling.database.judgements import FeatureKey, FeatureLabel, labels_of_features
from labeling.database.schema import feature, item, project, round_, sae_ref

CAVEAT = "Labels are what physicians said of a feature on the evidence they were shown: hypotheses, no validation."


def labels_of_run(folder: Path) -> dict[FeatureKey, FeatureLabel]:
    """Labels by hook point, SAE and feature; none where the run has no database, or nothing in it is closed."""
    if not (folder / DATABASE).is_file():
        return {}
    found: dict[FeatureKey, FeatureLabel] = {}
    with Database.open(folder / DATABASE) as database, database.read() as conn:
        for project_id in conn.execute(select(project.c.id).order_by(project.c.id)).scalars():
            asked = features_in_open_rounds(conn, project_id)
            for key, label in labels_of_features(conn, project_id).items():
                if key not in asked:
                    found[key] = label
    return found


def features_in_open_rounds(conn: Connection, project_id: str) -> set[FeatureKey]:
    """Features that somebody is or may still be asked about."""
    query = (
        select(sae_ref.c.body, feature.c.number)
        .join(feature, feature.c.sae_ref_id == sae_ref.c.id)
        .join(item, item.c.feature_id == feature.c.id)
        .join(round_, round_.c.id == item.c.round_id)
        .where(round_.c.project_id == project_id, round_.c.state != "closed")
        .distinct()
    )
    found: set[FeatureKey] = set()
    for row in conn.execute(query):
        sae = json.loads(row.body)
        found.add((sae["hook_point"], sae["sae_id"], row.number))
    return found


def shown(label: FeatureLabel) -> dict[str, Any]:
    """What is shown of a label: the leading answer, all answers with their shares, and how many raters gave them."""
    return {
        "leading": label.winner_name or "no single answer",
        "n_raters": label.n_raters,
        "distribution": {code: round(share, 4) for code, share in label.distribution.items()},
        "state": "irreducibly ambiguous" if label.disposition == "irreducibly_ambiguous" else label.state,
        "concepts": dict(label.concepts),
    }


def records(folder: Path, saes: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Labels of some SAEs' features, as they go into an export: no name, no pseudonym, no rationale.

    Args:
        folder: The run's.
        saes: Hook point and id of each.
    """
    wanted = set(saes)
    return [
        {"hook_point": key[0], "sae_id": key[1], "feature": key[2], **shown(label)}
        for key, label in sorted(labels_of_run(folder).items())
        if key[:2] in wanted
    ]
