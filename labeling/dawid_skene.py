"""Dawid and Skene's maximum likelihood: a diagnostic beside the consensus, never the consensus.

It gives every rater a confusion matrix of their own and no prior, so that a small panel overfits: with 40 items and five
raters it is less accurate than counting votes and 16 points too sure of itself (docs/consensus.md). What it is good for is
to be compared with: with other programs on the 1979 data, and with a consensus that it should approach as items grow in
number.

Source: Dawid and Skene 1979, Appl. Stat. 28:20–28; the start from vote shares is theirs (2.6).
"""

import numpy as np

from labeling.confusion import Fit, Prior, fit
from labeling.ratings import Ratings
from labeling.votes import vote_share


def dawid_skene(ratings: Ratings, max_steps: int = 2000) -> Fit:
    """Maximum likelihood from the vote shares; `objectives` are log-likelihoods.

    Args:
        ratings: The judgements; one rater may have judged an item several times.
        max_steps: At most so many.
    """
    k = ratings.n_classes
    nothing = Prior(np.zeros((ratings.n_raters, k, k)), np.zeros(k))
    return fit(ratings, nothing, [vote_share(ratings)], max_steps)
