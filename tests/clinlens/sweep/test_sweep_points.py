"""The points of a sweep: all of a grid, draws of W&B's distributions, draws led by the metric."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from clinlens.sweep.config import EarlyTerminateConfig, ParameterConfig, SweepConfig
from clinlens.sweep.points import Adviser, draw, points
from sae.errors import UserError


def sweep_of(parameters: dict[str, Any], method: str = "grid", **more: Any) -> SweepConfig:
    return SweepConfig.model_validate({"method": method, "parameters": parameters} | more)


def test_a_grid_holds_every_combination_the_last_setting_fastest():
    cfg = sweep_of({"a": {"values": [1, 2]}, "b": {"value": "x"}, "c": {"min": 5, "max": 7}})
    assert points(cfg, 0) == [{"a": a, "b": "x", "c": c} for a in (1, 2) for c in (5, 6, 7)]


def test_nested_parameters_are_dotted_names():
    cfg = sweep_of({"sae": {"parameters": {"k": {"values": [4, 8]}}}, "seed": {"value": 1}})
    assert points(cfg, 0) == [{"sae.k": 4, "seed": 1}, {"sae.k": 8, "seed": 1}]


def test_a_grid_over_a_continuous_setting_is_refused():
    with pytest.raises(UserError, match=r"training.lr has distribution uniform, but the method is grid, which needs"):
        points(sweep_of({"training.lr": {"min": 0.1, "max": 0.2}}), 0)


def test_a_grid_without_end_is_refused():
    many = {str(n): {"values": list(range(10))} for n in range(6)}
    with pytest.raises(UserError, match=r"1,000,000 combinations, expected at most 100,000"):
        points(sweep_of(many), 0)


def test_draws_are_the_same_for_the_same_seed():
    cfg = sweep_of({"lr": {"min": 0.0, "max": 1.0}}, "random", run_cap=5)
    assert points(cfg, 3) == points(cfg, 3) != points(cfg, 4)


DRAWS: dict[str, tuple[dict[str, Any], float]] = {
    # distribution: its settings, its median by hand
    "int_uniform": ({"min": 0, "max": 10}, 5),
    "uniform": ({"min": 1.0, "max": 3.0}, 2),
    "q_uniform": ({"min": 0, "max": 10, "q": 0.5}, 5),
    "log_uniform": ({"min": 0.0, "max": 2.0}, math.e),
    "log_uniform_values": ({"min": 0.001, "max": 0.1}, 0.01),
    "q_log_uniform_values": ({"min": 1, "max": 100, "q": 1}, 10),
    "inv_log_uniform_values": ({"min": 0.001, "max": 0.1}, 0.01),
    "normal": ({"mu": 4.0, "sigma": 0.5}, 4),
    "log_normal": ({"mu": 0.0, "sigma": 1.0}, 1),
    "beta": ({"a": 3.0, "b": 3.0}, 0.5),
}


@pytest.mark.parametrize("distribution", DRAWS)
def test_a_distribution_has_its_median_and_keeps_its_bounds(distribution: str):
    settings, median = DRAWS[distribution]
    parameter = ParameterConfig.model_validate(settings | {"distribution": distribution})
    rng = np.random.default_rng(0)
    values = np.array([draw(parameter, rng) for _ in range(4000)], float)
    assert np.median(values) == pytest.approx(median, rel=0.1)
    if "values" in distribution or (distribution.endswith("uniform") and distribution != "log_uniform"):
        assert settings["min"] <= values.min() <= values.max() <= settings["max"]
    if "q" in settings:
        assert np.allclose(values / settings["q"], np.round(values / settings["q"]))


def test_values_are_drawn_with_their_probabilities():
    parameter = ParameterConfig(values=("a", "b"), probabilities=(0.9, 0.1))
    rng = np.random.default_rng(0)
    found = [draw(parameter, rng) for _ in range(1000)]
    assert 860 <= found.count("a") <= 940


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no end": ({"method": "random", "parameters": {"a": {"value": 1}}}, "no run_cap"),
    "no metric": ({"method": "bayes", "run_cap": 3, "parameters": {"a": {"value": 1}}}, "no metric"),
    "no maximum": ({"method": "grid", "parameters": {"a": {"min": 1, "distribution": "uniform"}}}, "lacks max"),
    "probabilities": (
        {"method": "random", "run_cap": 1, "parameters": {"a": {"values": [1, 2], "probabilities": [1.0]}}},
        "differ in length",
    ),
    "draws led by trials that are stopped": (
        {
            "method": "bayes",
            "run_cap": 3,
            "metric": {"name": "l0"},
            "parameters": {"a": {"value": 1}},
            "early_terminate": {"min_iter": 3},
        },
        "method bayes has early_terminate, expected one of the two, since .*; leave out early_terminate, or use method: random",
    ),
    "looks": (
        {"method": "grid", "metric": {"name": "l0"}, "parameters": {"a": {"value": 1}}, "early_terminate": {"eta": 3}},
        "neither min_iter nor max_iter",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_sweep_that_cannot_work_is_refused(mistake: str):
    values, words = MISTAKES[mistake]
    with pytest.raises(ValidationError, match=words):
        SweepConfig.model_validate(values)


def test_looks_are_those_of_w_and_b():
    assert EarlyTerminateConfig(min_iter=3, eta=2).looks(50) == [3, 6, 12, 24, 48]  # W&B: min_iter × eta^i
    assert EarlyTerminateConfig(max_iter=27, s=2, eta=3).looks(50) == [3, 9]  # W&B's example: 27/3², 27/3


def test_an_adviser_goes_where_the_metric_is_good_and_repeats_itself():
    pytest.importorskip("optuna", reason="no optuna here: pip install 'clinlens[bayes]'")
    cfg = sweep_of(
        {"x": {"min": -10.0, "max": 10.0}, "kind": {"values": [{"k": 1}, {"k": 2}]}},
        "bayes", run_cap=60, metric={"name": "loss", "goal": "minimize"},
    )  # fmt: skip

    def search() -> list[dict[str, Any]]:
        adviser, found = Adviser(cfg, seed=1), []
        for _ in range(30):
            asked = adviser.ask(2)
            adviser.tell([(p["x"] - 3) ** 2 + p["kind"]["k"] for p in asked])
            found += asked
        return found

    found = search()
    early, late = ([abs(p["x"] - 3) for p in part] for part in (found[:20], found[-20:]))
    assert np.median(late) < 0.7 * np.median(early)
    assert search() == found


def test_an_adviser_survives_trials_that_failed():
    pytest.importorskip("optuna", reason="no optuna here: pip install 'clinlens[bayes]'")
    cfg = sweep_of({"x": {"min": 0.0, "max": 1.0}}, "bayes", run_cap=4, metric={"name": "loss"})
    adviser = Adviser(cfg, seed=0)
    adviser.ask(2)
    adviser.tell([None, math.nan])
    assert len(adviser.ask(2)) == 2
