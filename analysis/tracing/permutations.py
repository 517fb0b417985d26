"""The band that chance reaches: the largest AUROC of the whole scan when labels are dealt out anew.

1. A concept's labels within one patient hang together, and so do her activations. So labels are moved in blocks: the patients'
   label blocks are put in random order, end to end, each shuffled within, and laid over the units, which keep the order of their
   own patients. The number of positives stays, and so does how they gather in patients; a block may fall across two patients
   where sizes differ. (Without the shuffle a mention that stands first in every note would be dealt to itself.)
2. For each such labelling the largest AUROC over all features of all layers is kept. The 95 % quantile of these is the band:
   under no association some feature of the whole scan exceeds it in 5 % of cases.

Source: max-T, Westfall and Young 1993; blocks of exchangeable units, Winkler et al. 2015, doi:10.1016/j.neuroimage.2015.05.092.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.tracing.sparse_auroc import Ranked

LABELLINGS_PER_STEP = 50
QUANTILE = 0.95


def block_labellings(is_positive: np.ndarray, patient: np.ndarray, n: int, seed: int) -> np.ndarray:
    """[n, n_units] bool, labels of whole patients dealt out anew."""
    rng = np.random.default_rng((seed, 2))
    place = np.unique(patient, return_inverse=True)[1]
    found = np.empty((n, len(is_positive)), bool)
    for row in found:
        row[blocks_in_random_order(place, rng)] = is_positive[blocks_in_random_order(place, rng)]
    return found


def blocks_in_random_order(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n_units] numbers of units, those of one patient together, patients and the units within them in random order.

    Args:
        place: [n_units], number of each unit's patient, from 0.
        rng: Of the order.
    """
    return np.lexsort((rng.random(len(place)), rng.permutation(place.max() + 1)[place]))


def max_null(layers: Sequence[Ranked], labellings: np.ndarray) -> np.ndarray:
    """[n_labellings], the largest AUROC over all features of all layers under each."""
    return np.concatenate([largest(layers, some) for some in steps(labellings)])


def largest(layers: Sequence[Ranked], labellings: np.ndarray) -> np.ndarray:
    """The same for a few labellings at once."""
    return np.max([np.nanmax(layer.auroc(labellings), axis=1) for layer in layers], axis=0)


def steps(labellings: np.ndarray) -> Iterator[np.ndarray]:
    """Some labellings at a time, since each takes a number per feature."""
    for start in range(0, len(labellings), LABELLINGS_PER_STEP):
        yield labellings[start : start + LABELLINGS_PER_STEP]


def band(values: np.ndarray) -> float:
    """The value that 5 % of permutations exceed, the observed labelling counted among them.

    Source: Phipson and Smyth 2010, for the one that is added.
    """
    rank = int(np.ceil(QUANTILE * (len(values) + 1)))
    ordered = np.sort(values)
    return float(ordered[min(rank, len(ordered)) - 1])
