"""A lead's choice of features as the items of a round: drawn at random where nothing else is said, with a seed."""

from pathlib import Path
from random import Random
from typing import Any, Literal

import yaml
from pydantic import Field, PositiveInt, ValidationError

from labeling.database.rounds import PlannedItem
from labeling.round_settings import RoundSettings
from labeling.snapshots import CandidateFeature, candidate_features, saes_of, snapshot_of
from labeling.yaml_text import parsed
from sae.config import Settings
from sae.errors import UserError

MAX_ITEMS = 20_000


class KnownAnswer(Settings, frozen=True):
    """A feature whose right answers are known."""

    feature: int = Field(ge=0, description="Its index in the autoencoder.")
    answers: dict[str, Any] = Field(min_length=1, description="The right answers to some fields of the codebook.")
    source: str = Field(default="", max_length=400, description="Who says so.")


class NewRound(Settings, frozen=True):
    """A round to be opened."""

    title: str = Field(min_length=1, max_length=80, description="What raters read.")
    kind: Literal["main", "calibration"] = Field(default="main", description="calibration: all raters rate all items.")
    hook_point: str = Field(description="Of the autoencoder.")
    sae_id: str = Field(description="Of the autoencoder.")
    features: tuple[int, ...] = Field(default=(), max_length=MAX_ITEMS, description="Features by number.")
    n_random: int = Field(default=0, ge=0, le=MAX_ITEMS, description="Beside them, features drawn at random.")
    n_fixed: int = Field(
        default=200,
        ge=0,
        le=MAX_ITEMS,
        description="Of all, how many are rated by a fixed number of raters: agreement rests on them.",
    )
    overlap: PositiveInt = Field(default=3, le=50, description="How many raters each of those has.")
    known: tuple[KnownAnswer, ...] = Field(
        default=(), max_length=1000, description="Gold items, which raters cannot tell."
    )
    rater_ids: tuple[str, ...] = Field(min_length=1, description="Who rates.")
    codebook_id: str = Field(description="Under which version.")
    gate_round_id: str | None = Field(default=None, description="The calibration that a rater must have passed before.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Of the draw and of the queue.")
    settings: RoundSettings = Field(default=RoundSettings(), description="How it is run.")


def known_of(written: str) -> tuple[KnownAnswer, ...]:
    """Gold items as typed in YAML.

    Raises:
        UserError: They are written otherwise.
    """
    try:
        return tuple(KnownAnswer.model_validate(one) for one in parsed(written) or [])
    except (yaml.YAMLError, ValidationError, TypeError) as error:
        raise UserError(
            "The gold items are not readable, expected a list of `{feature: 12, answers: {category: diagnosis}}`. Correct it."
        ) from error


def plan(run: Path, wanted: NewRound) -> list[PlannedItem]:
    """The items of a round, with their evidence.

    Raises:
        UserError: The run has no such autoencoder or feature, or fewer features than wanted.
    """
    if (wanted.hook_point, wanted.sae_id) not in saes_of(run):
        raise UserError(
            f"The run has no autoencoder {wanted.sae_id} at {wanted.hook_point}, expected one of its own. Choose it."
        )
    families = {one.number: one for one in candidate_features(run, wanted.hook_point, wanted.sae_id)}
    gold = {one.feature: one for one in wanted.known}
    chosen = [number for number in dict.fromkeys(wanted.features) if number not in gold]
    chosen += drawn(families, wanted.n_random, {*chosen, *gold}, wanted.seed)
    return [item(run, wanted, number, stratum, families, gold) for number, stratum in strata(wanted, chosen, gold)]


def drawn(families: dict[int, CandidateFeature], n: int, taken: set[int], seed: int) -> list[int]:
    """Features at random, of those with evidence enough.

    Raises:
        UserError: There are fewer.
    """
    free = sorted(set(families) - taken)
    if n > len(free):
        raise UserError(f"{n} features at random, but only {len(free)} have evidence enough. Ask for fewer.")
    return Random(f"features {seed}").sample(free, n)  # noqa: S311 - nothing here is secret


def strata(wanted: NewRound, chosen: list[int], gold: dict[int, KnownAnswer]) -> list[tuple[int, str]]:
    """Which item has which part: a random sample has a fixed number of raters, the others as many as they need."""
    if wanted.kind == "calibration":
        return [(number, "calibration") for number in [*chosen, *gold]]
    fixed = set(Random(f"strata {wanted.seed}").sample(chosen, min(wanted.n_fixed, len(chosen))))  # noqa: S311
    return [(number, "irr_fixed" if number in fixed else "adaptive") for number in chosen] + [(n, "gold") for n in gold]


def item(
    run: Path,
    wanted: NewRound,
    number: int,
    stratum: str,
    families: dict[int, CandidateFeature],
    gold: dict[int, KnownAnswer],
) -> PlannedItem:
    """One item with its evidence."""
    n_raters = len(wanted.rater_ids)
    slots = {
        "irr_fixed": min(wanted.overlap, n_raters),
        "adaptive": min(wanted.settings.queue.min_judgements, n_raters),
    }
    known, family = gold.get(number), families.get(number)
    return PlannedItem(
        snapshot=snapshot_of(run, wanted.hook_point, wanted.sae_id, number),
        stratum=stratum,
        slots=slots.get(stratum, n_raters),
        family=family.family if family else f"{wanted.sae_id}:{number}",
        gold=known.answers if known else None,
        gold_source=known.source if known else "",
    )
