"""Every benchmark gives the figures it documents; the store's is run, since that takes seconds."""

import importlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.harness.report import Bars, Report, Table
from benchmarks.harness.rounds import Figure, Times, Way, race, refuse_difference, spread, timed
from benchmarks.harness.training_runs import QUICKSTART
from benchmarks.pareto import Point, front_of, lost_ratio

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
FIGURES = {
    "capture": {
        "capture_vs_truncated", "capture_vs_hooked_transformer", "capture_vs_bridge", "pipeline_vs_saelens_cache_one_point",
        "pipeline_vs_saelens_cache", "store_overhead",
    },
    "store": {
        "write_vs_raw", "read_vs_raw", "read_vs_h5py", "loader_vs_step",
    },
    "pareto": {
        "lost_vs_saelens_topk", "lost_vs_saelens_jumprelu", "lost_vs_saelens_l1", "lost_vs_saelens",
    },
    "agreement": {
        "designs_difference", "designs_undefined", "chance_alpha", "chance_pi", "coverage_alpha", "coverage_ac1",
        "warned_share", "report_s", "alpha_vs_krippendorff",
    },
    "evaluation": {"rows_vs_bare", "core_minutes_per_sae", "example_features_per_minute"},
    "attribution": {
        "ig_vs_captum", "ig_8_targets_vs_captum", "ig_span_total_vs_captum", "ig_memory_vs_captum", "heta_vs_official_loop",
        "completeness_gap_median", "completeness_gap_p95", "precision_at_evidence", "auroc_evidence",
        "clinic_precision_at_evidence", "feature_effect_rank_correlation", "auroc_vs_captum_ig",
    },
    "audits": {
        "planted_bias_found", "clean_bias_claimed", "drift_false_alarm", "drift_found", "trace_recovery", "null_false_layer",
    },
    "sae_training": {
        "topk_vs_saelens", "topk_vs_sparsify", "topk_vs_dictionary_learning", "jumprelu_vs_saelens", "l1_vs_saelens",
        "batchtopk_vs_saelens", "matryoshka_vs_saelens", "step_vs_encoder_matmul", "grid8_vs_saelens", "extra_sae_vs_alone",
        "transient_mb",
        "fve_vs_best_peer", "mcc_vs_best_peer", "dead_fraction_quickstart", "synth_matryoshka_f1", "synth_matryoshka_mcc",
        "synth_f1_vs_saelens", "synth_mcc_vs_saelens",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_a_benchmark_says_what_each_of_its_figures_means_and_should_be(name: str):
    module = importlib.import_module(f"benchmarks.{name}")
    assert set(module.TARGETS) == FIGURES[name]
    named = set(re.findall(r"`([a-z0-9_]+)`", module.__doc__ or ""))
    assert FIGURES[name] <= named
    assert {one for one in named if "_vs_" in one or "_overhead" in one} <= FIGURES[name]


def test_the_quick_store_benchmark_ends_in_one_object_with_every_figure():
    command = [sys.executable, str(FOLDER / "store.py"), "--quick", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert found.stdout.count("\n") == 1
    result = json.loads(found.stdout)
    assert set(result) == {"figures", "peers", "machine"}
    assert set(result["figures"]) == FIGURES["store"]
    assert all(value > 0 for value in [*result["figures"].values(), *result["peers"].values()])


def test_the_quickstart_whose_dead_features_are_counted_is_there():
    assert QUICKSTART.is_file()


def points(maker: str, *pairs: tuple[float, float]) -> list[Point]:
    return [Point(maker, "topk", l0, explained_variance, 0.9) for l0, explained_variance in pairs]


def test_a_front_that_loses_half_as_much_everywhere_is_twice_as_good():
    ours = points("clinlens", (4, 0.90), (16, 0.95))
    theirs = points("saelens", (4, 0.80), (16, 0.90))
    assert lost_ratio(ours + theirs) == pytest.approx((2.0, 2.0, 2.0))


def test_one_more_sae_between_two_makes_no_front_look_worse():
    ours, theirs = points("clinlens", (4, 0.8), (16, 0.9)), points("saelens", (4, 0.8), (16, 0.9))
    between = points("clinlens", (12, 0.81))
    assert front_of(ours + between, "explained_variance") == [ours[0], between[0], ours[1]]
    assert lost_ratio(ours + between + theirs) == pytest.approx((1.0, 1.0, 1.0))


def test_fronts_that_share_no_l0_end_the_benchmark():
    with pytest.raises(SystemExit, match="The fronts share no L0"):
        lost_ratio(points("clinlens", (4, 0.8)) + points("saelens", (8, 0.8)))


def test_ways_take_turns_and_the_first_round_does_not_count():
    order: list[str] = []
    ways = {name: Way(lambda name=name: order.append(name), lambda: order.append("|")) for name in "abc"}
    times = race(ways, 2)
    assert "".join(order).replace("|", "") == "cababcbca"
    assert order.count("|") == 9
    assert {name: len(taken) for name, taken in times.seconds.items()} == {"a": 2, "b": 2, "c": 2}


def test_waiting_takes_time_but_no_processor_time():
    waited, worked = timed(Way(lambda: time.sleep(0.2))), timed(Way(lambda: sum(range(2_000_000))))
    assert waited.seconds >= 0.2
    assert waited.processor_seconds < 0.1
    assert worked.processor_seconds > 0.005


def test_a_ratio_above_one_means_that_ours_is_faster():
    times = Times({"ours": [1.0, 2.0, 1.0], "peer": [2.0, 4.0, 3.0]}, {"ours": [2.0, 3.0, 7.0]})
    assert times.ratio("ours", "peer") == Figure(2.0, 2.0, 2.5)
    assert (times.median("peer"), times.processor_median("ours")) == (3.0, 3.0)
    assert spread([4.0]) == Figure(4.0, 4.0, 4.0)


def test_a_peer_with_other_values_ends_the_benchmark():
    ours = torch.tensor([0.0, 100.0])
    refuse_difference("a peer", ours + 4e-4, ours, 5e-6)
    with pytest.raises(SystemExit, match="a peer gives other values than ours"):
        refuse_difference("a peer", ours + 6e-4, ours, 5e-6)
    with pytest.raises(SystemExit, match="other values"):
        refuse_difference("a peer", ours * float("nan"), ours, 5e-6)
    with pytest.raises(SystemExit, match=r"gives \(1,\) values, expected \(2,\)"):
        refuse_difference("a peer", ours[:1], ours, 5e-6)


def test_a_report_is_drawn_with_its_tables(tmp_path: Path):
    bars = Bars("ms", {"topk": {"ours": 1.0, "saelens": 2.0, "sparsify": 3.0}, "l1": {"ours": -1.0, "saelens": 2.0}})
    report = Report(
        figures={"a_vs_b": Figure(1.2, 1.1, 1.3)},
        tables=[Table("Tokens: many", ["n", "s"], [[1, 2], [2, 4]])],
        bars=[bars],
    )
    assert bars.sides == ["ours", "saelens", "sparsify"]
    report.plot(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000
    assert "1.200" in "\n".join(report.lines())
