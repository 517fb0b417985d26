"""Judgements of one field as the table that statistics take: items × raters, ranks of the codebook, NaN where missing."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from labeling.codebook import CANNOT_JUDGE, Question
from labeling.judgement_table import JudgementRow
from labeling.scale import Scale, categories, numbers


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


def matrix(rows: Sequence[JudgementRow], question: Question) -> FieldMatrix:
    """The table of a choice or a scale.

    Args:
        rows: At most one per item and rater.
        question: The field.
    """
    rank = {code: float(place) for place, code in enumerate(codes_of(question))}
    answered = [row for row in rows if isinstance(row.answers.get(question.key), str)]
    items = tuple(sorted({row.item_id for row in answered}))
    raters = tuple(sorted({row.pseudonym for row in answered}))
    places = {item: n for n, item in enumerate(items)}
    columns = {rater: n for n, rater in enumerate(raters)}
    ratings = np.full((len(items), len(raters)), np.nan)
    is_abstention = np.zeros(ratings.shape, bool)
    for row in answered:
        answer, place = row.answers[question.key], (places[row.item_id], columns[row.pseudonym])
        if answer == CANNOT_JUDGE:
            is_abstention[place] = True
        else:
            ratings[place] = rank[answer]
    return FieldMatrix(ratings, items, raters, is_abstention)


def with_abstention(found: FieldMatrix, question: Question) -> tuple[FieldMatrix, Scale]:
    """The table in which `cannot_judge` is a category of its own; the field is nominal then, for it has no rank."""
    names = [*scale_of(question).names, "cannot judge"]
    ratings = np.where(found.is_abstention, float(len(names) - 1), found.ratings)
    return found._replace(ratings=ratings), categories(names)
