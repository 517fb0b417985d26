"""Whole sweeps on a tiny model: every point once, resumed, stopped early, grouped in W&B, read by the later stages."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from clinlens.pipeline import Run
from clinlens.sweep import trials
from clinlens.sweep.config import SweepConfig
from clinlens.sweep.plan import plan
from clinlens.sweep.sweep import sweep, table
from clinlens.sweep.trial import trial
from sae.errors import UserError
from training.resources import FILE as RESOURCES

ROOT = Path(__file__).resolve().parents[3]
GRID: dict[str, Any] = {
    "program": "base.yaml",
    "method": "grid",
    "metric": {"name": "explained_variance", "goal": "maximize"},
    "parameters": {
        "sae.architecture": {"values": ["topk", "l1"]},
        "sae.k": {"values": [2, 4]},
        "training.hook_points": {"values": ["blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]},
    },
}


@pytest.fixture
def folder(tiny_model: Path, tiny_corpus: Path, tmp_path: Path) -> Path:
    """A folder with a base config and a sweep file."""
    base = {
        "folder": str(tmp_path / "base"),
        "model": {"name": str(tiny_model)},
        "corpus": {"name": str(tiny_corpus)},
        "capture": {"context_tokens": 16},
        "sae": [{"architecture": "topk", "expansion_factor": 2, "k": 4}, {"architecture": "l1", "expansion_factor": 2}],
        "training": {"n_tokens": 6400, "batch_tokens": 64, "log_every_steps": 10, "lr": 0.003},
        "evaluation": {"n_tokens": 200, "splice_tokens": 100},
        "engine": {"kind": "inline"},
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(GRID))
    return tmp_path


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(GRID | changes))
    return path


def test_points_that_come_to_the_same_sae_are_one_trial(folder: Path):
    found = trials.expanded(trials.read(folder / "grid.yaml"))
    kinds = sorted((t.cfg.sae[0].architecture, getattr(t.cfg.sae[0], "k", None) or 0) for t in found)
    assert kinds == [("l1", 0)] * 2 + [("topk", 2)] * 2 + [("topk", 4)] * 2
    assert all(t.cfg.sae[0].expansion_factor == 2 for t in found), "the base config's SAE of that architecture"
    assert {t.cfg.folder for t in found} == {folder / "grid"}


def test_a_point_is_recorded_as_it_was_asked_for(folder: Path):
    parameters = {
        "sae": {"values": [{"architecture": "topk", "k": 2}, {"architecture": "l1"}]},
        "sae.expansion_factor": {"values": [3, 4]},
    }
    found = trials.expanded(trials.read(write(folder, parameters=parameters)))
    assert [(t.point["sae"], t.point["sae.expansion_factor"]) for t in found] == [
        (sae, factor) for sae in parameters["sae"]["values"] for factor in (3, 4)
    ]
    assert [t.cfg.sae[0].expansion_factor for t in found] == [3, 4, 3, 4]


def test_a_sweep_may_stand_in_a_run_config_or_beside_it(folder: Path):
    merged = yaml.safe_load((folder / "base.yaml").read_text()) | {"sweep": GRID}
    (folder / "merged.yaml").write_text(yaml.safe_dump(merged))
    beside, inside = trials.read(folder / "grid.yaml"), trials.read(folder / "merged.yaml")
    assert [t.id for t in trials.expanded(beside)] == [t.id for t in trials.expanded(inside)]
    assert trials.read(folder / "grid.yaml", ("training.lr=0.1",)).training.lr == 0.1


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no program": ({"program": None}, "names no `program`, expected the run config that every trial starts from"),
    "unknown key": ({"metod": "grid"}, "sweep.metod is no setting, did you mean 'method'"),
    "unknown setting": (
        {"parameters": {"training.lrr": {"value": 1}}},
        r'The point \{"training.lrr": 1\}: training.lrr is no setting, did you mean \'lr\'',
    ),
    "unknown setting of an SAE": (
        {"parameters": {"sae.kk": {"value": 1}}},
        r'The point \{"sae.kk": 1\}: none of the SAEs under `sae:` has \'kk\'',
    ),
    "a value of the wrong kind": (
        {"parameters": {"training.lr": {"value": "high"}}},
        "training.lr is 'high', expected a valid number",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_sweep_file_is_one_sentence(folder: Path, mistake: str):
    changes, words = MISTAKES[mistake]
    with pytest.raises(UserError, match=words):
        trials.expanded(trials.read(write(folder, **changes)))


def test_a_run_config_without_a_sweep_says_what_to_begin_from(folder: Path):
    with pytest.raises(UserError, match="holds no sweep, expected a W&B sweep file"):
        trials.read(folder / "base.yaml")


def test_a_sweep_runs_every_point_resumes_and_is_read_by_the_later_stages(folder: Path):
    cfg = trials.read(folder / "grid.yaml")
    planned = plan(cfg)
    assert not (folder / "grid").exists(), "a plan writes nothing"
    result = sweep(cfg)
    assert {one["state"] for one in result["trials"]} == {"done"}
    assert len(result["trials"]) == planned["n_saes"] == 6
    manifest = json.loads((folder / "grid" / "acts" / "manifest.json").read_text())
    assert sum(entry["n_tokens"] for entry in manifest["shards"]) == planned["capture_tokens"]
    sizes = [path.stat().st_size for path in (folder / "grid" / "acts").glob("*.h5")]
    assert sum(sizes) == pytest.approx(planned["acts_bytes"], rel=0.1)
    assert set(result["best"]) == {"blocks.0.hook_resid_post", "blocks.2.hook_resid_post"}
    for place, best in result["best"].items():
        here = [one for one in result["trials"] if one["saes"][0]["hook_point"] == place]
        assert max(here, key=lambda one: one["metric"])["id"] == best
    assert len(table(result)) == 7
    assert len(list((folder / "grid" / "acts").glob("manifest.json"))) == 1, "one capture serves all"
    logs = b"".join(path.read_bytes() for path in (folder / "grid" / "wandb").rglob("*.wandb"))
    assert logs.count(result["sweep_id"].encode()) >= 6, "each run is grouped"

    before = {path: path.stat().st_mtime_ns for path in (folder / "grid" / "saes").rglob("*")}
    sessions = (folder / "grid" / RESOURCES).read_text()
    assert sweep(cfg)["trials"] == result["trials"]
    assert {path: path.stat().st_mtime_ns for path in (folder / "grid" / "saes").rglob("*")} == before
    assert (folder / "grid" / RESOURCES).read_text() == sessions

    from clinlens.config import read

    later = Run(read(folder / "grid"))
    assert len(later.fits) == 6
    assert later.stages(("examples", "report"))["report"] == str(folder / "grid" / "report.html")


def test_a_sweep_ends_with_the_sae_to_take_at_each_hook_point(folder: Path, caplog: pytest.LogCaptureFixture):
    parameters = GRID["parameters"] | {"sae.architecture": {"values": ["topk"]}, "sae.k": {"values": [2, 4, 8]}}
    cfg = trials.read(write(folder, parameters=parameters), ("choice.max_dead_fraction=1",))
    with caplog.at_level(logging.INFO, logger="clinlens"):
        result = sweep(cfg)
    written = json.loads(Path(result["choice"]).read_text())
    assert written["choices"] == result["choices"]
    assert [one["hook_point"] for one in result["choices"]] == GRID["parameters"]["training.hook_points"]["values"]
    for one in result["choices"]:
        taken = one["recommended"]
        here = [sae for t in result["trials"] for sae in t["saes"] if sae["hook_point"] == one["hook_point"]]
        assert len(one["rivals"]) == len(here) - 1 == 2
        figures = next(sae["figures"] for sae in here if sae["sae_id"] == taken["sae_id"])
        assert taken["ce_loss_score"] == figures["ce_loss_score"]
        assert (cfg.folder / taken["folder"] / "sae_weights.safetensors").is_file()
        assert f"{one['hook_point']}: Take {taken['sae_id']}: with" in caplog.text
        assert one["seed_stability"] is None
    assert result["reports"] == [str(cfg.folder / "report.html")]
    page = (cfg.folder / "report.html").read_text()
    assert all(one["reasons"].split(":")[0] in page for one in result["choices"])


def test_seeds_say_how_far_apart_chance_puts_two_saes(folder: Path):
    parameters = {
        "sae.architecture": {"value": "topk"},
        "sae.k": {"values": [2, 4]},
        "seed": {"values": [0, 1, 2]},
        "training.hook_points": {"value": "blocks.1.hook_resid_post"},
    }
    cfg = trials.read(write(folder, parameters=parameters), ("choice.max_dead_fraction=1",))
    (one,) = sweep(cfg)["choices"]
    assert len(one["runs"]) == 3, "every seed has its own split, and so its own store"
    assert one["n_repeated"] == 6
    assert len(one["rivals"]) == 3, "other seeds of the same settings are no rivals"
    assert 0 <= one["seed_stability"]["shared_fraction"] <= 1
    assert 0 < one["seed_stability"]["mean_max_cosine"] < 1
    assert "from seed to seed" in one["reasons"]
    assert "Over 3 seeds of it, " in one["reasons"]
    assert len(list(cfg.folder.glob("store-*/report.html"))) == 3


def test_stores_that_cannot_be_compared_have_a_choice_each(folder: Path):
    parameters = {
        "capture.context_tokens": {"values": [8, 16]},
        "sae.k": {"value": 2},
        "training.hook_points": {"value": "blocks.1.hook_resid_post"},
    }
    found = sweep(trials.read(write(folder, parameters=parameters)))["choices"]
    assert len(found) == 2
    assert found[0]["runs"] != found[1]["runs"]


def test_early_stopping_is_off_unless_asked_for():
    assert SweepConfig.model_validate(GRID).early_terminate is None


def test_a_point_that_cannot_work_leaves_the_others_done(folder: Path):
    cfg = trials.read(write(folder, parameters=GRID["parameters"] | {"sae.k": {"values": [2, 1000]}}))
    with pytest.raises(UserError, match=r"k=1000 features per token, but the SAE has only d_sae=64"):
        sweep(cfg)
    states = [one["state"] for one in json.loads((cfg.folder / "sweep.json").read_text())["trials"]]
    assert sorted(states) == ["done"] * 4 + ["failed"] * 2


def test_early_stopping_leaves_the_best_of_each_layer(folder: Path):
    cfg = trials.read(
        write(
            folder,
            early_terminate={"type": "hyperband", "min_iter": 2, "eta": 2},
            parameters={
                "sae": {"value": {"architecture": "topk", "expansion_factor": 2, "k": 4}},
                "training.lr": {"values": [1e-6, 1e-5, 1e-3, 1e-2]},
                "training.hook_points": {"values": ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]},
            },
        )
    )
    result = sweep(cfg)
    for layer in (0, 1):
        here = [one for one in result["trials"] if one["saes"][0]["hook_point"].startswith(f"blocks.{layer}.")]
        states = {one["point"]["training.lr"]: one["state"] for one in here}
        assert sorted(states.values()) == ["done", "stopped", "stopped", "stopped"]
        assert states[1e-6] == "stopped"
    assert len(Run(cfg).fits) == 2, "the later stages see what was trained to the end"
    assert sweep(cfg)["trials"] == result["trials"]


def test_a_metric_the_log_has_not_is_named(folder: Path):
    cfg = trials.read(write(folder, metric={"name": "accuracy"}, early_terminate={"min_iter": 2}))
    with pytest.raises(UserError, match=r"early_terminate compares 'accuracy', but the log has .*explained_variance"):
        sweep(cfg)


def test_settings_of_the_capture_may_vary_too(folder: Path):
    cfg = trials.read(write(folder, parameters={"capture.context_tokens": {"values": [8, 16]}, "sae.k": {"value": 2}}))
    result = sweep(cfg)
    assert len(list(cfg.folder.glob("store-*/acts/manifest.json"))) == 2
    assert len({one["saes"][0]["folder"] for one in result["trials"]}) == 2
    for store in cfg.folder.glob("store-*"):
        from clinlens.config import read

        assert len(Run(read(store)).fits) == 6  # two SAEs of the base config at three layers


def test_a_store_that_cannot_be_made_leaves_the_others_done(folder: Path):
    cfg = trials.read(
        write(folder, parameters={"capture.context_tokens": {"values": [500, 16]}, "sae.k": {"value": 2}})
    )
    with pytest.raises(UserError, match="context_tokens=500"):
        sweep(cfg)
    states = [one["state"] for one in json.loads((cfg.folder / "sweep.json").read_text())["trials"]]
    assert sorted(states) == ["done", "failed"]


def test_a_plan_of_draws_led_by_the_metric_counts_every_trial(folder: Path):
    pytest.importorskip("optuna", reason="no optuna here: pip install 'clinlens[bayes]'")
    parameters = {"sae.architecture": {"value": "topk"}, "training.lr": {"min": 0.001, "max": 0.01}}
    more = {"run_cap": 5, "parameters": parameters}
    led, drawn = (plan(trials.read(write(folder, method=method, **more))) for method in ("bayes", "random"))
    assert led["n_saes"] == drawn["n_saes"] == 15  # three layers each
    assert led["train_tokens"] == drawn["train_tokens"]


def test_a_metric_nothing_has_is_named_after_the_first_trials(folder: Path):
    cfg = trials.read(write(folder, metric={"name": "explained_varience"}))
    with pytest.raises(
        UserError, match=r"sweep.metric.name is 'explained_varience', expected one of .*explained_variance"
    ):
        sweep(cfg)


def test_draws_led_by_the_metric_are_the_same_again(folder: Path):
    pytest.importorskip("optuna", reason="no optuna here: pip install 'clinlens[bayes]'")
    cfg = trials.read(
        write(
            folder,
            method="bayes",
            run_cap=4,
            parameters={
                "sae": {"value": {"architecture": "topk", "expansion_factor": 2, "k": 4}},
                "training.hook_points": {"value": "blocks.0.hook_resid_post"},
                "training.lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-2},
            },
        )
    )
    result = sweep(cfg)
    assert len(result["trials"]) == 4
    assert all(one["metric"] == one["saes"][0]["figures"]["explained_variance"] for one in result["trials"])
    assert sweep(cfg) == result


def test_trials_of_an_agent_share_a_folder(folder: Path):
    points = ['{"sae.architecture": "topk", "sae.k": 2}', '{"sae.architecture": "topk", "sae.k": 3}']
    command = [sys.executable, "-m", "clinlens", "trial", str(folder / "base.yaml"), "--json"]
    both = [
        subprocess.Popen([*command, point], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for point in points
    ]
    found = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], found
    results = [json.loads(out.splitlines()[-1]) for out, _ in found]
    assert len({sae["folder"] for result in results for sae in result["saes"]}) == 6
    assert all("ce_loss_score" in sae["figures"] for result in results for sae in result["saes"])


@pytest.mark.parametrize(
    ("words", "message"),
    [(("k",), "'k' has no `=`"), (('{"k": ',), "no JSON at character 6"), (("sae.kk=1",), "has 'kk'")],
)
def test_a_point_that_is_none_is_one_sentence(folder: Path, words: tuple[str, ...], message: str):
    with pytest.raises(UserError, match=message):
        trial(folder / "base.yaml", words)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_that_are_shipped_can_be_read_and_run_by_an_agent(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    cfg = trials.read(path)
    assert cfg.sweep is not None
    assert cfg.sweep.command == ("clinlens", "trial", "${program}", "${args_json}")
    assert len(trials.expanded(cfg)) == {"layers-by-sparsity": 120, "halving": 9}[path.stem]
