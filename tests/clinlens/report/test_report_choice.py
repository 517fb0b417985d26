"""The section on which SAE to take: a plot, the reasons and all figures for each hook point that has a choice."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clinlens.report import pareto, plots
from clinlens.report.config import ReportConfig
from clinlens.report.gather import read_run
from clinlens.report.page import write_report
from clinlens.report.pareto import content, octaves
from training.choice import ChoiceConfig
from training.config import CostConfig

BuildRun = Callable[..., Path]
SAES = ("topk-x4-k2-0123abcd", "l1-x4-4567cdef")


def change(run: Path, sae_id: str, **figures: float) -> None:
    """Other held-out figures for an SAE at every hook point."""
    for path in run.glob(f"saes/*/{sae_id}/evaluation.json"):
        found = json.loads(path.read_text())
        for key, value in figures.items():
            place = "splice" if key == "ce_loss_score" else "reconstruction"
            if found[place] is not None:
                found[place][key] = value
        path.write_text(json.dumps(found))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the plots undrawn, where a test is about the words."""
    for module in (plots, pareto):
        monkeypatch.setattr(module, "draw", lambda figure, alt: plots.Plot("data:image/svg+xml;base64,", alt))


def test_each_hook_point_has_its_recommendation_with_reasons(build_run: BuildRun, tmp_path: Path, undrawn: None):
    run = build_run(tmp_path / "run")
    change(run, SAES[1], ce_loss_score=0.97)
    found = content(read_run(run), ChoiceConfig())
    assert [[cell.text for cell in row[:2]] for row in found["choice_table"].rows] == [
        ["layer 0", SAES[1]],
        ["layer 1", SAES[1]],
    ]
    first = found["choice_places"][0]
    assert first.reasons.startswith(
        f"Take {SAES[1]}: with 2.0 active features per token it keeps a CE loss score of 0.970"
    )
    assert "2 SAEs at blocks.0.hook_resid_post" in first.plot.alt
    assert f"ringed is the recommended {SAES[1]} at L0 2.0 with 0.970 CE loss score" in first.plot.alt
    verdicts = {row[0].text: row[-1].text for row in first.table.rows}
    assert verdicts == {SAES[1]: "recommended", SAES[0]: "beaten in both"}
    html = write_report(run, ReportConfig(), CostConfig()).read_text()
    assert html.count('<details class="place" open>') == 2
    assert '<a href="#choice">Which SAE to take</a>' in html


def test_what_is_left_out_says_why(build_run: BuildRun, tmp_path: Path, undrawn: None):
    run = build_run(tmp_path / "run")
    change(run, SAES[0], dead_fraction=0.75)
    place = content(read_run(run), ChoiceConfig())["choice_places"][0]
    verdicts = {row[0].text: row[-1].text for row in place.table.rows}
    assert verdicts[SAES[0]] == "left out: 75 % of its features are dead"
    change(run, SAES[1], dead_fraction=0.75)
    nothing = content(read_run(run), ChoiceConfig())
    assert [cell.text for cell in nothing["choice_table"].rows[0][:2]] == ["layer 0", "none"]
    assert "none is recommended" in nothing["choice_places"][0].plot.alt
    assert content(read_run(run), ChoiceConfig(max_dead_fraction=0.8))["choice_table"].rows[0][1].text in SAES


def test_where_there_is_nothing_to_choose_there_is_no_section(build_run: BuildRun, tmp_path: Path, undrawn: None):
    run = build_run(tmp_path / "run")
    one = [(path.parent.parent.name, SAES[0]) for path in run.glob(f"saes/*/{SAES[0]}/cfg.json")]
    html = write_report(run, ReportConfig(), CostConfig(), one).read_text()
    assert "Which SAE to take" not in html
    for path in run.glob("saes/*/*/evaluation.json"):
        path.unlink()
    assert content(read_run(run), ChoiceConfig())["choice_table"] is None


def test_an_encoder_is_judged_by_explained_variance(build_run: BuildRun, tmp_path: Path):
    run = build_run(tmp_path / "encoder", is_encoder=True)
    place = content(read_run(run), ChoiceConfig())["choice_places"][0]
    assert "keeps an explained variance of 0.800, with" in place.reasons
    assert "against explained variance for 2 SAEs" in place.plot.alt
    assert place.plot.src.startswith("data:image/svg+xml;base64,")


@pytest.mark.parametrize("values", [[16.0], [17.0, 21.0], [0.4, 300.0], [33.0, 63.0]])
def test_a_log_axis_holds_its_values_and_a_power_of_two(values: list[float]):
    low, high = octaves(values)
    assert low < min(values) <= max(values) < high
    assert any(low <= 2.0**n <= high for n in range(-5, 12))
