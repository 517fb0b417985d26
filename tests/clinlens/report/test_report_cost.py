"""Hours, energy, emissions and price, worked by hand."""

from typing import Any

import pytest

from clinlens.report.cost import by_stage, energy_kwh, estimate
from training.config import CostConfig

CFG = CostConfig(
    cpu_core_watts=10,
    gpu_watts=400,
    pue=1.5,
    kg_co2e_per_kwh=0.5,
    price_per_cpu_core_hour=0.05,
    price_per_gpu_hour=3,
)


def session(stage: str, hours: float, gpu_hours: float = 0, peak: int = 1) -> dict[str, Any]:
    seconds = hours * 3600
    return {"stage": stage, "wall_s": seconds / 2, "cpu_s": seconds, "gpu_s": gpu_hours * 3600, "peak_bytes": peak}


def test_energy_is_power_times_time_times_overhead():
    assert energy_kwh(cpu_core_hours=8, gpu_hours=2, cfg=CFG) == pytest.approx((8 * 10 + 2 * 400) / 1000 * 1.5)
    assert energy_kwh(cpu_core_hours=8, gpu_hours=2, cfg=CFG) == pytest.approx(1.32)


def test_emissions_and_price_follow_from_the_hours():
    found = estimate(by_stage([session("train", 6, 2), session("capture", 2)]), CFG)
    assert (found.cpu_core_hours, found.gpu_hours) == (8, 2)
    assert found.kg_co2e == pytest.approx(0.66)
    assert found.price == pytest.approx(8 * 0.05 + 2 * 3)


def test_no_work_costs_nothing():
    assert estimate([], CFG) == (0, 0, 0, 0, 0)


def test_sessions_of_a_resumed_stage_add_up_and_memory_is_the_highest():
    capture, train = by_stage([session("train", 1, peak=7), session("capture", 4, peak=2), session("train", 2, peak=5)])
    assert (capture.name, train.name) == ("capture", "train")
    assert (train.n_sessions, train.cpu_s, train.wall_s, train.peak_bytes) == (2, 3 * 3600, 1.5 * 3600, 7)
