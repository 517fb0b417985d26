"""Agreement on which tokens of a text are the evidence.

Every token is a yes or no of every rater: alpha over tokens, and the mean F1 of pairs of raters, which passes over the many
tokens that nobody marked. Two raters who both mark nothing agree. Tokens of one item are not independent, so that
intervals resample items.

Source: Hripcsak and Rothschild 2005, doi:10.1197/jamia.M1733, for F1 where there is no count of true negatives.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from labeling.alpha import alpha
from labeling.bootstrap import BootstrapConfig, Statistic, estimates, ratio_of
from labeling.estimate import Estimate, Support
from sae.errors import UserError

Span = tuple[int, int]
"""Start and end of characters; the end is the first one after it."""


class SpanAgreement(NamedTuple):
    """One field of evidence spans."""

    alpha_tokens: Estimate
    """Krippendorff's alpha, nominal, tokens as units."""
    f1_tokens: Estimate
    """Mean over items of the mean over pairs of raters."""
    n_tokens: int
    """Of items with two raters or more."""
    marked_share: float
    """Share of tokens × raters that are marked."""


def token_marks(tokens: Sequence[Span], spans: Sequence[Span]) -> np.ndarray:
    """[n_tokens] bool: tokens that share a character with a span."""
    starts, ends = np.asarray(tokens, np.int64).reshape(-1, 2).T
    marks = np.zeros(len(tokens), bool)
    for start, end in spans:
        if start >= end:
            raise UserError(
                f"A span goes from {start} to {end}, expected an end after its start. Correct the span's offsets."
            )
        marks |= (starts < end) & (ends > start)
    return marks


def span_agreement(items: Sequence[np.ndarray], cfg: BootstrapConfig | None = None) -> SpanAgreement:
    """Agreement of marks.

    Args:
        items: Of each item [n_raters, n_tokens] 0 or 1, a row of NaN for a rater who did not judge it.
        cfg: Of the intervals.
    """
    cfg = cfg or BootstrapConfig()
    judged = [marks[~np.isnan(marks).any(axis=1)] for marks in (np.asarray(one, np.float64) for one in items)]
    paired = [marks for marks in judged if len(marks) >= 2 and marks.shape[1]]
    n_raters = max((len(one) for one in items), default=0)
    support = Support(len(paired), n_raters, sum(map(len, paired)))
    n_marked, n_marks = sum(float(one.sum()) for one in paired), sum(one.size for one in paired)
    reason = "" if 0 < n_marked < n_marks else (
        "No item has marks of two raters." if not paired else "Every token is marked by all raters, or none by any."
    )  # fmt: skip
    parts = sums_of_items(paired)
    of_tokens = alpha(np.zeros((0, 2)), np.array([0.0, 1.0]), "nominal").of_sums
    statistics = {
        "alpha": Statistic(parts, of_tokens, reason=reason),
        "f1": ratio_of(np.asarray([mean_f1(one) for one in paired]), np.ones(len(paired))),
    }
    found = estimates(statistics, support, cfg)
    n_tokens = sum(one.shape[1] for one in paired)
    return SpanAgreement(found["alpha"], found["f1"], n_tokens, n_marked / n_marks if n_marks else 0.0)


def sums_of_items(paired: Sequence[np.ndarray]) -> np.ndarray:
    """[n_items, 3] what each item's marks [n_raters, n_tokens] add to the sums of alpha over tokens."""
    if not paired:
        return np.zeros((0, 3))
    lengths = np.asarray([one.shape[1] for one in paired])
    yes = np.concatenate([one.sum(axis=0) for one in paired])
    counts = np.column_stack([np.repeat([len(one) for one in paired], lengths) - yes, yes])
    each = alpha(counts, np.array([0.0, 1.0]), "nominal").contributions
    return np.add.reduceat(each, np.cumsum(lengths) - lengths, axis=0)


def mean_f1(marks: np.ndarray) -> float:
    """Mean over pairs of raters, all at once as a product of [n_raters, n_tokens]; 1 where both mark nothing."""
    both = marks @ marks.T
    own = np.diagonal(both)
    size = own[:, None] + own
    f1 = np.where(size > 0, 2 * both / np.where(size > 0, size, 1), 1.0)
    n = len(marks)
    return float((f1.sum() - np.trace(f1)) / (n * (n - 1)))
