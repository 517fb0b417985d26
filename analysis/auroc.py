"""Area under the ROC curve: how well one number tells two kinds of things apart."""

import numpy as np
from scipy.stats import rankdata


def auroc(scores: np.ndarray, is_positive: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of every column, ties counted half.

    Args:
        scores: [n, n_features].
        is_positive: [n_concepts, n] bool.

    Returns:
        [n_concepts, n_features]; nan where a concept has no positives or no negatives.

    Source: Mann and Whitney 1947; AUROC = (R₊ − n₊(n₊ + 1)/2) / (n₊ n₋), with R₊ the rank sum of the positives.
    """
    ranks = rankdata(scores, axis=0)
    n_pos = is_positive.sum(axis=1, keepdims=True).astype(float)
    n_neg = is_positive.shape[1] - n_pos
    with np.errstate(invalid="ignore", divide="ignore"):
        return (is_positive.astype(float) @ ranks - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)
