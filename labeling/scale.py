"""What the answers of a field are: how many, in which order, and how far apart. It comes from the codebook alone.

Ratings are a table `ratings [n_items, n_raters]` of floats, NaN where nobody answered. On a nominal or ordinal scale they
are the *ranks* of the codebook's categories, 0 to n − 1, in its order; on an interval or ratio scale they are the values.
Nothing here looks at the data: the same six items give an AC1 of .676, .780 or .810 with 2, 3 or 5 categories, and
levels sorted by the alphabet (high, low, mid) give a weighted kappa of .515 where .167 is true.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from sae.errors import UserError

Level = Literal["nominal", "ordinal", "interval", "ratio"]
Weighting = Literal["identity", "linear", "quadratic", "gwet_ordinal"]
MAX_NAME = 40
"""Characters."""


class Scale(NamedTuple):
    """The answers of one field."""

    level: Level
    levels: tuple[float, ...] | None
    """Ranks or values of all answers the codebook allows, ascending; none if any number may be given."""
    names: tuple[str, ...] = ()
    """Their names in the same order; may be empty."""
    is_whole: bool = True
    """False: the levels were read off ratings, since no codebook was at hand; what rests on their number is then undefined."""

    @property
    def n_categories(self) -> int | None:
        """How many answers the codebook allows."""
        return None if self.levels is None else len(self.levels)

    def name(self, index: int) -> str:
        """What the category of this rank is called; a long one that no codebook names may be a text, and is not."""
        if not self.names:
            return f"{(self.levels or ())[index]:g}"
        return self.names[index] if self.is_whole or len(self.names[index]) <= MAX_NAME else f"answer {index + 1}"


def categories(names: Sequence[str] | int, level: Level = "nominal") -> Scale:
    """A scale of named categories, in the codebook's order.

    Args:
        names: Their names, or how many there are.
        level: `nominal`, or `ordinal` if their order has a meaning.
    """
    found = tuple(map(str, range(names))) if isinstance(names, int) else tuple(names)
    if len(set(found)) != len(found) or len(found) < 2:
        raise UserError(
            f"The codebook names {len(found)} categories, {len(set(found))} of them different; expected two or more, "
            "each once. Correct its list of categories."
        )
    return Scale(level, tuple(map(float, range(len(found)))), found)


def numbers(level: Level, levels: Sequence[float] | None = None) -> Scale:
    """A scale of numbers with equal steps.

    Args:
        level: `interval`, or `ratio` if zero means none.
        levels: The values that may be given; none if any may.
    """
    if level == "ratio" and levels is not None and min(levels) < 0:
        raise UserError(
            f"A ratio scale has the value {min(levels):g}, expected none below 0, which means none. Take `interval`."
        )
    return Scale(level, None if levels is None else tuple(sorted(map(float, set(levels)))))


def checked(ratings: np.ndarray, scale: Scale) -> np.ndarray:
    """The table as floats, or an error if it holds what the codebook does not allow.

    Args:
        ratings: [n_items, n_raters], NaN where missing.
        scale: The field's.
    """
    table = np.asarray(ratings, np.float64)
    if table.ndim != 2:
        raise UserError(f"The ratings have {table.ndim} dimensions, expected items × raters. Pass a table.")
    given = table[~np.isnan(table)]
    strangers = given[~np.isfinite(given)] if scale.levels is None else given[~np.isin(given, scale.levels)]
    if strangers.size:
        allowed = "finite numbers" if scale.levels is None else f"the codebook's {len(scale.levels)} levels"
        raise UserError(
            f"{strangers.size} ratings lie outside the scale, the first being {strangers[0]:g}; expected {allowed}. "
            "Encode answers by their place in the codebook."
        )
    if scale.level == "ratio" and given.size and given.min() < 0:
        raise UserError(
            f"A rating of {given.min():g} stands on a ratio scale, expected none below 0, which means none. "
            "Take `interval`."
        )
    return table


def levels_of(ratings: np.ndarray, scale: Scale) -> np.ndarray:
    """The levels that counts have columns for: the codebook's, or all values given where any may be."""
    return np.unique(ratings[~np.isnan(ratings)]) if scale.levels is None else np.asarray(scale.levels)


def counts_of(ratings: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """[n_items, n_levels] how many raters gave each level.

    Args:
        ratings: [n_items, n_raters], NaN where missing.
        levels: Ascending; every rating is one of them.
    """
    rows, columns = np.nonzero(~np.isnan(ratings))
    found = np.searchsorted(levels, ratings[rows, columns])
    flat = np.bincount(rows * len(levels) + found, minlength=len(ratings) * len(levels))
    return flat.reshape(len(ratings), len(levels)).astype(np.float64)


def weights_of(levels: np.ndarray, weighting: Weighting) -> np.ndarray:
    """[q, q] how much agreement it is that one rater gives level k and another level l; 1 on the diagonal.

    `gwet_ordinal` is what irrCAC calls "ordinal": 1 − C(|k − l| + 1, 2) / C(q, 2). It has nothing to do with
    Krippendorff's ordinal metric and never goes by that name here.

    Source: Gwet 2021, Handbook of Inter-Rater Reliability, 5th ed., ch. 3.
    """
    steps = np.abs(levels[:, None] - levels[None, :])
    match weighting:
        case "identity":
            return np.eye(len(levels))
        case "linear":
            return 1 - steps / steps.max()
        case "quadratic":
            return 1 - (steps / steps.max()) ** 2
        case "gwet_ordinal":
            between = np.abs(np.subtract.outer(np.arange(len(levels)), np.arange(len(levels)))).astype(np.float64)
            return 1 - between * (between + 1) / (len(levels) * (len(levels) - 1))
