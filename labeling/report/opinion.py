"""What the panel says of each item, read three ways, and the items on which the readings part; whether it has two schools."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from labeling.codebook import Codebook
from labeling.consensus import Consensus, ConsensusConfig, consensus
from labeling.judgement_table import FeatureRef, JudgementRow
from labeling.ratings import Ratings
from labeling.report.matrix import codes_of, grid, matrix
from labeling.report.rater_weights import rater_weights, records
from labeling.schools import MIN_RATERS, schools

Figures = dict[str, Any]
TIE = "tie"
N_SIMULATED = 39
"""Panels without schools: the smallest p-value is 1 in 40. At 10,000 items × 20 raters .4 s of processor time, 1.1 s with two
schools."""


def opinion(rows: Sequence[JudgementRow], codebook: Codebook, seed: int) -> Figures | None:
    """Consensus on the primary field; none without judgements of two raters.

    Args:
        rows: Blind judgements, one per item and rater; items that came again to a rater only tell how steady they are.
        codebook: Theirs.
        seed: Of folds and restarts.
    """
    question = codebook.question(codebook.primary)
    found = matrix(grid([row for row in rows if row.retest_of is None]), question)
    if len(found.raters) < 2 or not found.n_ratings:
        return None
    item, rater = np.nonzero(~np.isnan(found.ratings))
    label = found.ratings[item, rater].astype(int)
    ratings = Ratings(item, rater, label, len(found.items), len(found.raters), len(question.categories))
    panel, written = rater_weights(rows, ratings, found.raters, codebook, seed)
    given = np.asarray([one.weight for one in panel])
    cfg = ConsensusConfig(seed=seed)
    done = consensus(ratings, cfg, given, is_ordinal=question.kind == "scale")
    names = [category.name for category in question.categories]
    features = {row.item_id: row.feature for row in rows}
    return {
        "n_items": len(found.items),
        "n_ambiguous": int(done.is_ambiguous.sum()),
        "mean_entropy": float(done.map.entropy.mean()),
        "models": {name: float(weight) for name, weight in model_weights(done).items()},
        "vote_log_loss": float(done.vote_log_loss),
        "winners": winners(done, names),
        "flips": flips(done, found.items, features, names),
        "accuracy": {name: float(one) for name, one in zip(found.raters, done.accuracy, strict=True)},
        "weights": records(panel, written, found.raters),
        "codes": codes_of(question),
        "schools": two_schools(
            ratings, done, cfg, Names(found.raters, found.items, features, names, question.kind == "scale")
        ),
    }


class Names(NamedTuple):
    """What ranks and places stand for."""

    raters: Sequence[str]
    items: Sequence[str]
    features: dict[str, FeatureRef]
    categories: Sequence[str]
    is_ordinal: bool
    """Whether the categories' order has a meaning."""


def two_schools(ratings: Ratings, done: Consensus, cfg: ConsensusConfig, names: Names) -> Figures | None:
    """Whether the panel has two schools, and if so what each says; none where there are too few raters for two."""
    if len(names.raters) < MIN_RATERS:
        return None
    found = schools(ratings, done, cfg, N_SIMULATED, names.is_ordinal)
    return {
        "n_simulated": N_SIMULATED,
        "eigenvalue": found.eigenvalue,
        "p_value": found.p_value,
        "is_split": found.is_split,
        "readings": [
            {
                "raters": [name for name, side in zip(names.raters, found.school, strict=True) if side == place],
                "winners": {
                    name_of(rank, names.categories): int((one.winner == rank).sum())
                    for rank in [*range(len(names.categories)), -1]
                },
            }
            for place, one in enumerate(found.readings)
        ],
        "differing": [
            {
                "item_id": names.items[item],
                **names.features[names.items[item]]._asdict(),
                "panel": name_of(int(done.map.winner[item]), names.categories),
                "schools": [name_of(int(one.winner[item]), names.categories) for one in found.readings],
            }
            for item in found.differing
        ],
    }


def model_weights(done: Consensus) -> dict[str, float]:
    """How much each model is in the MAP reading."""
    return dict(zip(done.choice.names, done.choice.share, strict=True))


def name_of(rank: int, names: Sequence[str]) -> str:
    """A winner's name."""
    return names[rank] if rank >= 0 else TIE


def winners(done: Consensus, names: Sequence[str]) -> list[Figures]:
    """How many items each category wins under each reading."""
    readings = {"vote": done.vote, "map": done.map, "weighted_map": done.weighted_map}
    found = []
    for rank in [*range(len(names)), -1]:
        n = {key: int((one.winner == rank).sum()) for key, one in readings.items() if one is not None}
        found.append({"category": name_of(rank, names), **n})
    return found


def flips(
    done: Consensus, items: Sequence[str], features: dict[str, FeatureRef], names: Sequence[str]
) -> list[Figures]:
    """Items whose winner depends on the reading."""
    return [
        {
            "item_id": items[one.item],
            **features[items[one.item]]._asdict(),
            "vote": name_of(one.vote, names),
            "map": name_of(one.map, names),
            "weighted_map": None if one.weighted_map is None else name_of(one.weighted_map, names),
        }
        for one in done.flips
    ]
