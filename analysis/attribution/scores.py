"""What every method returns."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float


class Completeness(NamedTuple):
    """How far the scores of one target add up to what was to be explained."""

    total: float
    """F(text) − F(baseline), or the relevance that was put in."""
    found: float
    """The sum of the scores."""
    gap: float
    """|found − total|, as a share of |total|: large where the total is near 0."""
    gap_of_mass: float
    """|found − total|, as a share of the scores' absolute sum."""


@dataclass(frozen=True)
class Scores:
    """Attribution of every token to every target."""

    method: str
    raw: Float[np.ndarray, "n targets"]
    """Signed, float64: positive speaks for the target. 0 where a token is special or held fixed."""
    labels: tuple[str, ...]
    """The targets."""
    completeness: tuple[Completeness, ...] = ()
    """Per target, before any correction; empty for methods that promise no sum."""
    corrected: tuple[Completeness, ...] = ()
    """The same after a correction: tiny by construction, so no evidence."""
    terms: dict[str, np.ndarray] = field(default_factory=dict)
    """Parts that the scores are made of, [n, targets] each."""
    diagnostics: dict[str, Any] = field(default_factory=dict)
    """What else the method has to say: converged or not, nodes used, modules found."""
    caveat: str = ""
    """What not to believe of this method, in one sentence."""
    n_forwards: int = 0
    n_tokens: int = 0
    """That went through the model in them."""
    n_backwards: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    """Memory on top of what was there before; of the GPU where the model is on one."""

    @property
    def importance(self) -> Float[np.ndarray, "n"]:
        """One score per token: the sum over targets."""
        return self.raw.sum(axis=1)

    def head(self, n_tokens: int) -> "Scores":
        """The scores of the first tokens only."""
        terms = {name: value[:n_tokens] for name, value in self.terms.items()}
        return replace(self, raw=self.raw[:n_tokens], terms=terms)


def completeness(total: float, scores: Float[np.ndarray, "n"]) -> Completeness:
    """How far scores add up to a total."""
    found, mass = float(scores.sum()), float(np.abs(scores).sum())
    miss = abs(found - total)
    return Completeness(total, found, miss / max(abs(total), 1e-12), miss / max(mass, 1e-12))
