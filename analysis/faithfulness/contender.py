"""What is compared: methods with settings, and a random order that each must beat."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from analysis.attribution.build import attribute
from analysis.attribution.config import METHODS, MethodConfig
from analysis.attribution.problem import Problem
from analysis.attribution.scores import Scores

RANDOM = "random"
REFERENCE = "resampling"
"""The causal reference: every token alone is replaced and the change read off."""
BY_ROWS = METHODS["heta"](curvature="row")
"""HETA as it is compared: by blocks, a note of a hundred tokens takes a thousand Hessian products, and is read a dozen times.
Source: the suite that this project's methods were first measured on: AUROC .983 by rows, .984 by blocks (GPT-2 type)."""
LONG_ANSWERS = ("through_answer",)
"""Methods that are another one where the answer is a single token, as it is here."""


class Contender(NamedTuple):
    """A method under a name of its own."""

    name: str
    cfg: MethodConfig | None
    """None for the random order."""

    def run(self, problem: Problem, seed: int) -> Scores:
        """Its scores, the sum over targets."""
        if self.cfg is None:
            return Scores(RANDOM, random_scores(problem, seed), ("",))
        return attribute(problem, self.cfg, seed)


def random_scores(problem: Problem, seed: int) -> Float[np.ndarray, "n 1"]:
    """Noise, the same for the same seed and text."""
    rng = np.random.default_rng([seed, *problem.case.input_ids.tolist()])
    return np.where(problem.is_free.numpy(), rng.random(problem.n_tokens), 0.0)[:, None]


def contenders(names: tuple[str, ...] | None = None) -> list[Contender]:
    """Methods at their defaults but for HETA's probes, integrated gradients also from zeros, as others' defaults have it, and
    the random order.

    Args:
        names: Which; all if not given.
    """
    found = {name: Contender(name, settings()) for name, settings in METHODS.items() if name not in LONG_ANSWERS}
    zero = METHODS["integrated_gradients"](baseline="zero")
    found["heta"] = Contender("heta", BY_ROWS)
    found["integrated_gradients_zero"] = Contender("integrated_gradients_zero", zero)
    found[RANDOM] = Contender(RANDOM, None)
    wanted = list(found) if names is None else list(dict.fromkeys((*names, REFERENCE, RANDOM)))
    return [found[name] for name in wanted]
