"""How well scores point at known evidence.

Scores are signed: what speaks for the answer is positive, so evidence should be large. Only tokens of the scope count:
special tokens and the question are neither evidence nor its rivals.
"""

import warnings
from typing import NamedTuple

import numpy as np

from analysis.auroc import auroc


class Localisation(NamedTuple):
    """One case."""

    first: float
    """1 where the strongest token is the most direct piece of evidence (P@1)."""
    hit: float
    """1 where the strongest token is evidence of any kind."""
    at_evidence: float
    """Share of evidence among as many of the strongest tokens as there is evidence (precision at k = number of evidence
    tokens)."""
    auroc: float
    """That a token of evidence is stronger than another one; nan where there is only one kind."""
    mass: float
    """Share of the absolute scores on evidence."""
    n_evidence: int
    """Tokens of evidence in the scope."""


def localise(
    scores: np.ndarray, evidence: np.ndarray, scope: np.ndarray, direct: np.ndarray | None = None
) -> Localisation:
    """The figures of one case. Ties are broken against the method: what is not evidence comes first.

    Args:
        scores: [n_tokens].
        evidence: [n_tokens] bool.
        scope: [n_tokens] bool, the tokens that may be evidence.
        direct: [n_tokens] bool, the most direct piece of evidence; all of it if not given.
    """
    kept, is_evidence = scores[scope], evidence[scope]
    is_direct = is_evidence if direct is None else direct[scope]
    order = np.lexsort((is_evidence, -kept))
    k = int(is_evidence.sum())
    total = np.abs(kept).sum()
    return Localisation(
        first=float(is_direct[order[0]]) if len(order) else float("nan"),
        hit=float(is_evidence[order[0]]) if len(order) else float("nan"),
        at_evidence=float(is_evidence[order[:k]].mean()) if k else float("nan"),
        auroc=float(auroc(kept[:, None], is_evidence[None])[0, 0]),
        mass=float(np.abs(kept[is_evidence]).sum() / total) if total > 0 else float("nan"),
        n_evidence=k,
    )


def dsa(scores: np.ndarray, evidence: np.ndarray, distractor: np.ndarray) -> float:
    """Dependent-sentence attribution, repaired: the density of mass on the passage that answers, against the other.

        DSA = (e − d) / (e + d),   e, d: mean |score| per token of the evidence and of the distractor

    It lies in [−1, 1], and attributions that are the same everywhere come to exactly 0 whatever the lengths.

    Differs from HETA (arXiv:2604.13258), whose formula subtracts the summed masses of the two passages: because a sum
    favours the longer passage; its released code also finds passages by substring, counts words of the distractor as
    evidence and so gives +0.32 to a uniform attribution. Here passages are exact character spans.

    Args:
        scores: [n_tokens].
        evidence: [n_tokens] bool.
        distractor: [n_tokens] bool; shares no token with the evidence.

    Returns:
        nan where a passage has no token or all scores are 0.
    """
    if (evidence & distractor).any():
        raise ValueError("A token is both evidence and distractor. Choose passages that do not touch.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean over nothing is nan, as it says above
        e, d = np.abs(scores[evidence]).mean(), np.abs(scores[distractor]).mean()
        return float((e - d) / (e + d))
