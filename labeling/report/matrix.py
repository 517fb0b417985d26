"""Judgements of one field as the table that statistics take: items × raters, ranks of the codebook, NaN where missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from labeling.codebook import CANNOT_JUDGE, Question
from labeling.judgement_table import JudgementRow
from labeling.scale import Scale, categories, numbers

ABSTAINED = -1.0
"""Stands for `cannot_judge` while a table is made."""


class FieldMatrix(NamedTuple):
    """The answers to one field."""

    ratings: np.ndarray
    """[n_items, n_raters] ranks, NaN where the rater did not answer with a category."""
    items: tuple[str, ...]
    """Ids, sorted."""
    raters: tuple[str, ...]
    """Pseudonyms, sorted."""
    is_abstention: np.ndarray
    """[n_items, n_raters] bool: `cannot_judge`."""

    @property
    def n_ratings(self) -> int:
        """Answers with a category."""
        return int((~np.isnan(self.ratings)).sum())

    @property
    def n_pairable(self) -> int:
        """Items with two or more of them."""
        return int(((~np.isnan(self.ratings)).sum(axis=1) >= 2).sum())

    def of_raters(self, kept: Iterable[str]) -> "FieldMatrix":
        """The columns of some raters."""
        wanted = set(kept)
        mask = np.asarray([rater in wanted for rater in self.raters], bool)
        raters = tuple(rater for rater in self.raters if rater in wanted)
        return FieldMatrix(self.ratings[:, mask], self.items, raters, self.is_abstention[:, mask])


def codes_of(question: Question) -> list[str]:
    """Codes of a field's categories, in the order of their ranks."""
    return [category.code for category in question.categories]


def scale_of(question: Question) -> Scale:
    """The scale of a choice or scale field, from the codebook alone."""
    names = [category.name for category in question.categories]
    if len(set(names)) < len(names):
        names = codes_of(question)
    return categories(names, "ordinal" if question.kind == "scale" else "nominal")


def interval_scale_of(question: Question) -> Scale:
    """The same of a scale whose steps are declared equal."""
    return numbers("interval", [float(rank) for rank in range(len(question.categories))])


class Given(NamedTuple):
    """The answers to one field of those who answered it."""

    answers: list[Any]
    """[n] in the order of the judgements."""
    rows: list[JudgementRow]
    """[n] the judgements."""
    item: np.ndarray
    """[n] place of the item among those with an answer."""
    rater: np.ndarray
    """[n] place of the rater, likewise."""
    shape: tuple[int, int]
    """How many items and raters there are."""

    def table(self, values: Sequence[Any]) -> list[list[Any]]:
        """[n_items][n_raters] values [n] of the answers; none where there is no answer."""
        found: list[list[Any]] = [[None] * self.shape[1] for _ in range(self.shape[0])]
        for item, rater, value in zip(self.item.tolist(), self.rater.tolist(), values, strict=True):
            found[item][rater] = value
        return found


@dataclass(frozen=True, eq=False)
class Grid:
    """Judgements with the places of their items and raters in every table made of them."""

    rows: Sequence[JudgementRow]
    items: tuple[str, ...]
    """Ids, sorted."""
    raters: tuple[str, ...]
    """Pseudonyms, sorted."""
    item: np.ndarray
    """[n_rows] place of the item."""
    rater: np.ndarray
    """[n_rows] place of the rater."""
    tables: dict[str, FieldMatrix] = field(default_factory=dict)
    """The tables of fields that were asked for, by the field's key."""
    ranked: dict[str, np.ndarray] = field(default_factory=dict)
    """The ranks behind them."""

    @cached_property
    def answers(self) -> list[dict[str, Any]]:
        """[n_rows] what was answered, by the field's key."""
        return [row.answers for row in self.rows]

    @cached_property
    def submitted(self) -> tuple[np.ndarray, np.ndarray]:
        """The times at which judgements were submitted, in order; and [n_rows] which of them each was."""
        return np.unique([row.submitted_at for row in self.rows], return_inverse=True)

    def ranks(self, question: Question) -> np.ndarray:
        """[n_rows] ranks of the answers to a choice or a scale, `ABSTAINED` or NaN where there is none."""
        if question.key not in self.ranked:
            rank: dict[Any, float] = {code: float(place) for place, code in enumerate(codes_of(question))}
            rank[CANNOT_JUDGE] = ABSTAINED
            found = [rank.get(answer.get(question.key), np.nan) for answer in self.answers]
            self.ranked[question.key] = np.asarray(found, float)
        return self.ranked[question.key]

    def given(self, key: str, kind: type = object) -> "Given":
        """The answers to a field of any other kind, those that are missing left out.

        Args:
            key: The field's.
            kind: What an answer must be.
        """
        found = [answer.get(key) for answer in self.answers]
        is_given = np.asarray([one is not None and isinstance(one, kind) for one in found], bool)
        items, item = np.unique(self.item[is_given], return_inverse=True)
        raters, rater = np.unique(self.rater[is_given], return_inverse=True)
        rows = [self.rows[place] for place in np.flatnonzero(is_given).tolist()]
        return Given(
            [one for one, kept in zip(found, is_given, strict=True) if kept],
            rows,
            item,
            rater,
            (len(items), len(raters)),
        )


def grid(rows: Sequence[JudgementRow]) -> Grid:
    """The places of judgements, of which there is at most one per item and rater."""
    items, raters = tuple(sorted({row.item_id for row in rows})), tuple(sorted({row.pseudonym for row in rows}))
    places, columns = ({name: n for n, name in enumerate(names)} for names in (items, raters))
    item = np.asarray([places[row.item_id] for row in rows], np.int64)
    return Grid(rows, items, raters, item, np.asarray([columns[row.pseudonym] for row in rows], np.int64))


def matrix(found: Grid, question: Question) -> FieldMatrix:
    """The table of a choice or a scale; items and raters without any answer to it are left out.

    Args:
        found: The judgements.
        question: The field.
    """
    if question.key in found.tables:
        return found.tables[question.key]
    answers = found.ranks(question)
    table = np.full((len(found.items), len(found.raters)), np.nan)
    table[found.item, found.rater] = answers
    is_answered = ~np.isnan(table)
    kept, who = is_answered.any(axis=1), is_answered.any(axis=0)
    table = table[kept][:, who]
    is_abstention = table == ABSTAINED
    items, raters = (
        tuple(np.asarray(names, object)[mask]) for names, mask in ((found.items, kept), (found.raters, who))
    )
    done = FieldMatrix(np.where(is_abstention, np.nan, table), items, raters, is_abstention)
    found.tables[question.key] = done
    return done


def with_abstention(found: FieldMatrix, question: Question) -> tuple[FieldMatrix, Scale]:
    """The table in which `cannot_judge` is a category of its own; the field is nominal then, for it has no rank."""
    names = [*scale_of(question).names, "cannot judge"]
    ratings = np.where(found.is_abstention, float(len(names) - 1), found.ratings)
    return found._replace(ratings=ratings), categories(names)
