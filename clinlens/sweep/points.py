"""The points of a sweep: every combination, draws, or draws led by what was found before.

Draws are those of the named distributions of W&B; the seed decides them, so that a sweep that was stopped goes on
with the same points.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from clinlens.sweep.config import ParameterConfig, SweepConfig
from sae.errors import UserError

Point = dict[str, Any]
"""Setting → value."""
MOST_POINTS = 100_000
"""Combinations of a grid, before those that come to the same SAE are counted once."""


def points(cfg: SweepConfig, seed: int) -> list[Point]:
    """The points of a grid or of random draws.

    Raises:
        UserError: A grid over a setting that has no finite list of values, or a grid without end.
    """
    if cfg.method == "grid":
        return list(itertools.islice(grid(cfg.flat), cfg.run_cap))
    rng = np.random.default_rng([seed, 0x5EE9])
    return [{key: draw(parameter, rng) for key, parameter in cfg.flat.items()} for _ in range(cfg.run_cap or 0)]


def grid(parameters: dict[str, ParameterConfig]) -> Iterator[Point]:
    """Every combination; the last setting changes fastest."""
    values = [choices(key, parameter) for key, parameter in parameters.items()]
    n = math.prod(map(len, values))
    if n > MOST_POINTS:
        raise UserError(
            f"The grid has {n:,} combinations, expected at most {MOST_POINTS:,}. Leave out values, or use method: random."
        )
    for combination in itertools.product(*values):
        yield dict(zip(parameters, combination, strict=True))


def choices(key: str, parameter: ParameterConfig) -> list[Any]:
    """All values of a setting, where they can be counted."""
    match parameter.kind:
        case "constant":
            return [parameter.value]
        case "categorical":
            return list(parameter.values or ())
        case "int_uniform":
            return list(range(int(parameter.min or 0), int(parameter.max or 0) + 1))
        case "q_uniform":
            low, high, q = float(parameter.min or 0), float(parameter.max or 0), parameter.q or 1.0
            return [round(low / q + i) * q for i in range(math.floor((high - low) / q + 1e-9) + 1)]
        case other:
            raise UserError(
                f"The setting {key} has distribution {other}, but the method is grid, which needs `values`. "
                "List them, or use method: random."
            )


def draw(parameter: ParameterConfig, rng: np.random.Generator) -> Any:
    """One value of a setting. Source: W&B's documentation of `distribution`."""
    kind = parameter.kind
    if kind == "constant":
        return parameter.value
    if kind == "categorical":
        values = parameter.values or ()
        return values[int(rng.choice(len(values), p=parameter.probabilities))]
    if kind == "int_uniform":
        return int(rng.integers(int(parameter.min or 0), int(parameter.max or 0) + 1))
    value = draw_number(kind.removeprefix("q_"), parameter, rng)
    return round(value / (parameter.q or 1.0)) * (parameter.q or 1.0) if kind.startswith("q_") else value


def draw_number(kind: str, parameter: ParameterConfig, rng: np.random.Generator) -> float:
    """One value of a continuous distribution."""
    low, high = float(parameter.min or 0), float(parameter.max or 0)
    mu, sigma = parameter.mu or 0.0, parameter.sigma or 0.0
    match kind:
        case "uniform":
            return float(rng.uniform(low, high))
        case "log_uniform":  # min and max are exponents
            return float(np.exp(rng.uniform(low, high)))
        case "log_uniform_values":
            return float(np.exp(rng.uniform(np.log(low), np.log(high))))
        case "inv_log_uniform":
            return float(np.exp(high + low - rng.uniform(low, high)))
        case "inv_log_uniform_values":
            return float(np.exp(np.log(low) + np.log(high) - rng.uniform(np.log(low), np.log(high))))
        case "normal":
            return float(rng.normal(mu, sigma))
        case "log_normal":
            return float(rng.lognormal(mu, sigma))
        case "beta":
            return float(rng.beta(parameter.a or 1.0, parameter.b or 1.0))
        case _:
            raise AssertionError(kind)


class Adviser:
    """Draws led by the metric: the tree-structured Parzen estimator of Optuna, asked for several points at a time.

    The seed and what it was told decide what it says, so that a sweep that was stopped asks again for the same points
    and finds them done.

    Args:
        cfg: A sweep of method bayes.
        seed: Of the run.

    Raises:
        UserError: Optuna is not installed.
    """

    def __init__(self, cfg: SweepConfig, seed: int) -> None:
        try:
            import optuna  # an extra
        except ImportError as error:
            raise UserError(
                "A sweep of method bayes needs Optuna, which is not installed. Run `pip install 'clinlens[bayes]'`, "
                "or use method: random."
            ) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        goal = cfg.metric.goal if cfg.metric else "minimize"
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        self._study = optuna.create_study(direction=goal, sampler=sampler)
        self._parameters = cfg.flat
        self._asked: list[Any] = []

    def ask(self, n: int) -> list[Point]:
        """The next points to try."""
        self._asked = [self._study.ask() for _ in range(n)]
        return [{key: self._suggest(one, key, p) for key, p in self._parameters.items()} for one in self._asked]

    def tell(self, found: list[float | None]) -> None:
        """The metric at each of them, in order; none where a trial failed."""
        import optuna

        for one, value in zip(self._asked, found, strict=True):
            if value is None or not math.isfinite(value):
                self._study.tell(one, state=optuna.trial.TrialState.FAIL)
            else:
                self._study.tell(one, value)

    def _suggest(self, one: Any, key: str, parameter: ParameterConfig) -> Any:
        low, high = parameter.min, parameter.max
        match parameter.kind:
            case "constant":
                return parameter.value
            case "categorical":
                values = list(parameter.values or ())
                return values[one.suggest_categorical(key, list(range(len(values))))]
            case "int_uniform":
                return one.suggest_int(key, int(low or 0), int(high or 0))
            case "uniform":
                return one.suggest_float(key, low, high)
            case "q_uniform":
                return one.suggest_float(key, low, high, step=parameter.q or 1.0)
            case "log_uniform_values":
                return one.suggest_float(key, low, high, log=True)
            case "log_uniform":
                return one.suggest_float(key, math.exp(low or 0), math.exp(high or 0), log=True)
            case other:
                raise UserError(
                    f"The setting {key} has distribution {other}, which method bayes cannot search here, expected values, "
                    "int_uniform, uniform, q_uniform or log_uniform_values. Choose one of them, or method: random."
                )
