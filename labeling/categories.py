"""Each category for itself: how often it is given, and how far raters agree when one of them gives it.

A high coefficient over all categories can hide that the raters never once agreed on the rare one, which in medicine is
often the point. Specific agreement on a category is the chance that, one rater having given it, another rater of the
same item gives it too. With two answers these are positive and negative agreement, and the first is the F1 between raters.

Source: Cicchetti and Feinstein 1990, doi:10.1016/0895-4356(90)90159-M; for many raters Fleiss 1981, and Uebersax,
"Raw agreement indices".
"""

from typing import NamedTuple

import numpy as np

from labeling.bootstrap import BootstrapConfig, Statistic, estimates, ratio_of
from labeling.estimate import Estimate, Support


class CategoryAgreement(NamedTuple):
    """One category."""

    name: str
    n_ratings: int
    """Ratings that gave it."""
    n_items: int
    """Items in which at least one rater gave it."""
    prevalence: Estimate
    """Its share of ratings, every item weighing the same."""
    specific_agreement: Estimate


def specific_agreement(counts: np.ndarray, category: int) -> Statistic:
    """Specific agreement on one category, from counts [n_items, q]."""
    given, others = counts[:, category], counts.sum(axis=1) - 1
    reason = "" if (given * others).any() else "Nobody gave this category to an item that another rater judged too."
    return ratio_of(given * (given - 1), given * others)._replace(reason=reason)


def prevalence(counts: np.ndarray, category: int) -> Statistic:
    """Mean share of an item's ratings in one category."""
    r = counts.sum(axis=1)
    return ratio_of(counts[:, category] / np.maximum(r, 1), (r > 0) * 1.0)


def by_category(
    counts: np.ndarray, names: list[str], n_raters: int, cfg: BootstrapConfig
) -> tuple[CategoryAgreement, ...]:
    """Every category of the codebook, used or not.

    Args:
        counts: [n_items, q].
        names: Of the categories.
        n_raters: Who gave them.
        cfg: Of the intervals.
    """
    used = (counts > 0).sum(axis=0)
    pairable = counts.sum(axis=1) >= 2
    of_class = [Support(int(pairable.sum()), n_raters, int(counts[pairable].sum()), int(n)) for n in used]
    of_all = Support(int((counts.sum(axis=1) > 0).sum()), n_raters, int(counts.sum()))
    statistics = {("agreement", k): specific_agreement(counts, k) for k in range(len(names))}
    statistics |= {("prevalence", k): prevalence(counts, k) for k in range(len(names))}
    supports = {key: of_class[key[1]] if key[0] == "agreement" else of_all for key in statistics}
    found = estimates({f"{a} {b}": one for (a, b), one in statistics.items()},
                      {f"{a} {b}": one for (a, b), one in supports.items()}, cfg)  # fmt: skip
    return tuple(
        CategoryAgreement(
            name, int(counts[:, k].sum()), int(used[k]), found[f"prevalence {k}"], found[f"agreement {k}"]
        )
        for k, name in enumerate(names)
    )
