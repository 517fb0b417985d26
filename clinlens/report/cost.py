"""What a run cost: hours from its stages, and the estimates of energy, CO₂e and price that rest on them.

Energy is power × time × PUE, with one power for a busy core and one for a busy GPU.
Source: Lannelongue, Grealey and Inouye 2021, "Green Algorithms", eq. 1, with the memory's power folded into the core's.
"""

from typing import Any, NamedTuple

from training.config import CostConfig

STAGES = ("capture", "train", "evaluate", "examples", "report")


class Stage(NamedTuple):
    """All sessions of one stage together."""

    name: str
    n_sessions: int
    """Times it was started and ended; a resumed stage has several."""
    wall_s: float
    cpu_s: float
    """Processor time, summed over cores."""
    gpu_s: float
    peak_bytes: int
    """Largest memory of any session."""


class Estimate(NamedTuple):
    """What the hours come to."""

    cpu_core_hours: float
    gpu_hours: float
    kwh: float
    kg_co2e: float
    price: float


def by_stage(sessions: list[dict[str, Any]]) -> list[Stage]:
    """Sums the sessions of each stage, in the order of the work; stages of another name come last."""
    names = list(dict.fromkeys([*STAGES, *(session["stage"] for session in sessions)]))
    parts = {name: [session for session in sessions if session["stage"] == name] for name in names}
    return [total(name, part) for name, part in parts.items() if part]


def total(name: str, sessions: list[dict[str, Any]]) -> Stage:
    """Times added up, memory at its highest."""
    wall_s, cpu_s, gpu_s = (sum(session[key] for session in sessions) for key in ("wall_s", "cpu_s", "gpu_s"))
    return Stage(name, len(sessions), wall_s, cpu_s, gpu_s, max(session["peak_bytes"] for session in sessions))


def energy_kwh(cpu_core_hours: float, gpu_hours: float, cfg: CostConfig) -> float:
    """Electricity, the building's overhead included."""
    return (cpu_core_hours * cfg.cpu_core_watts + gpu_hours * cfg.gpu_watts) / 1000 * cfg.pue


def estimate(stages: list[Stage], cfg: CostConfig) -> Estimate:
    """Energy, CO₂e and price of all stages together."""
    cpu_core_hours = sum(stage.cpu_s for stage in stages) / 3600
    gpu_hours = sum(stage.gpu_s for stage in stages) / 3600
    kwh = energy_kwh(cpu_core_hours, gpu_hours, cfg)
    price = cpu_core_hours * cfg.price_per_cpu_core_hour + gpu_hours * cfg.price_per_gpu_hour
    return Estimate(cpu_core_hours, gpu_hours, kwh, kwh * cfg.kg_co2e_per_kwh, price)
