"""How often free texts say the same, word for word, once case, spaces and punctuation are put aside.

This is a percentage and no coefficient: what chance would bring to free text cannot be said. Map texts to codes and use
`labeling.agreement` for a reliability; the similarity of embeddings is none.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from labeling.bootstrap import BootstrapConfig, estimates
from labeling.estimate import Estimate, Support
from labeling.gwet import coefficient


@lru_cache(maxsize=65_536)
def normalised(text: str) -> str:
    """Lower case, compatible characters made one, punctuation and runs of spaces turned into single spaces."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[^\w%+<>=/.,-]|(?<!\d)[.,-]|[.,-](?!\d)", " ", plain).split())


def same_words(texts: Sequence[Sequence[str | None]], cfg: BootstrapConfig | None = None) -> Estimate:
    """Mean share of pairs of raters whose texts are the same.

    Args:
        texts: [n_items][n_raters], none where the rater gave no text; an empty text is one.
        cfg: Of the interval.
    """
    n_raters = max(map(len, texts), default=0)
    shares = [sizes([normalised(text) for text in row if text is not None]) for row in texts]
    counts = np.zeros((len(shares), max(map(len, shares), default=0) or 1))
    for i, row in enumerate(shares):
        counts[i, : len(row)] = row
    m = counts.sum(axis=1)
    support = Support(int((m >= 2).sum()), n_raters, int(m[m >= 2].sum()))
    reason = "" if support.n_items else "No item has texts of two raters."
    one = coefficient("percent", counts, np.eye(counts.shape[1]))._replace(reason=reason)
    return estimates({"same": one}, support, cfg or BootstrapConfig())["same"]


def sizes(texts: list[str]) -> list[int]:
    """How many raters gave each of the different texts of one item."""
    return [texts.count(text) for text in dict.fromkeys(texts)]
