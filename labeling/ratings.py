"""Who said what of which item: the long form in which consensus takes judgements.

One row per judgement, no row where somebody did not answer; the same rater may judge an item several times. A label is
the *rank* of a category in the codebook, and the number of categories is the codebook's too, never that of the labels
that happen to occur.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import sparse

from sae.errors import UserError

DENSE_CELLS = 4_000_000
"""Up to so many cells (32 MB) the table of answers is dense, which is many times faster on small panels."""


class Repeats(NamedTuple):
    """How often a judgement's rater judged the same item."""

    same: np.ndarray
    """[n] with the same answer, this one included."""
    of_rater: np.ndarray
    """[n] with any answer."""


@dataclass(frozen=True, eq=False)
class Ratings:
    """Judgements of one field with one answer each."""

    item: np.ndarray
    """[n] index of the item."""
    rater: np.ndarray
    """[n] index of the rater."""
    label: np.ndarray
    """[n] rank of the answer in the codebook, from 0."""
    n_items: int
    n_raters: int
    n_classes: int
    """Answers that the codebook allows."""

    def __post_init__(self) -> None:
        """Checks the columns.

        Raises:
            UserError: They differ in length, are no whole numbers, or point outside the panel or codebook.
        """
        lengths = {len(self.item), len(self.rater), len(self.label)}
        if len(lengths) > 1:
            raise UserError(
                f"The columns of the judgements have {sorted(lengths)} rows, expected the same number. "
                "Pass one row per judgement."
            )
        if self.n_classes < 2:
            raise UserError(
                f"The codebook has {self.n_classes} categories, expected two or more. Correct its list of categories."
            )
        for name, bound in (("item", self.n_items), ("rater", self.n_raters), ("label", self.n_classes)):
            object.__setattr__(self, name, ranks(getattr(self, name), name, bound))

    def __len__(self) -> int:
        """Number of judgements."""
        return len(self.item)

    def only(self, kept: np.ndarray) -> "Ratings":
        """The judgements of a mask, on the same items by the same panel."""
        return Ratings(self.item[kept], self.rater[kept], self.label[kept], self.n_items, self.n_raters, self.n_classes)

    def counts(self) -> np.ndarray:
        """[n_items, n_classes] how often each answer was given."""
        cells = np.bincount(self.item * self.n_classes + self.label, minlength=self.n_items * self.n_classes)
        return cells.reshape(self.n_items, self.n_classes).astype(float)

    def n_judgements(self) -> np.ndarray:
        """[n_items] judgements of each item."""
        return np.bincount(self.item, minlength=self.n_items)

    def n_by_rater(self) -> np.ndarray:
        """[n_raters] judgements of each rater."""
        return np.bincount(self.rater, minlength=self.n_raters)

    @cached_property
    def answers(self) -> np.ndarray | sparse.csr_array:
        """[n_items, n_raters × n_classes] how often each rater gave each answer; dense if it is small."""
        shape = (self.n_items, self.n_raters * self.n_classes)
        columns = self.rater * self.n_classes + self.label
        table = sparse.csr_array(sparse.coo_array((np.ones(len(self)), (self.item, columns)), shape=shape))
        return table.toarray() if shape[0] * shape[1] <= DENSE_CELLS else table

    @cached_property
    def repeats(self) -> Repeats:
        """Each judgement's fellows by the same rater on the same item."""
        pair = self.item * self.n_raters + self.rater
        _, place, n = np.unique(pair, return_inverse=True, return_counts=True)
        _, place_same, n_same = np.unique(pair * self.n_classes + self.label, return_inverse=True, return_counts=True)
        return Repeats(n_same[place_same].astype(float), n[place].astype(float))


def ranks(column: np.ndarray, name: str, bound: int) -> np.ndarray:
    """A column as whole numbers from 0 to below a bound."""
    given = np.asarray(column)
    whole = given.astype(np.int64) if given.size == 0 or np.isfinite(given).all() else None
    if whole is None or (whole != given).any():
        raise UserError(
            f"The column '{name}' of the judgements holds numbers that are not whole, expected indices from 0. "
            "Leave out the rows of missing answers and pass ranks of the codebook."
        )
    if whole.size and (whole.min() < 0 or whole.max() >= bound):
        raise UserError(
            f"The column '{name}' of the judgements runs from {whole.min()} to {whole.max()}, expected 0 to {bound - 1}. "
            "Number them from 0, as the panel and the codebook do."
        )
    return whole
