"""W&B runs read back: what the files say, once, and no text unless the corpus is declared shareable."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from analysis.logbook import ARTEFACT_FILES, WriteRun
from clinlens import config
from clinlens.config import RunConfig
from clinlens.pipeline import Run
from sae.errors import UserError

WORDS = (b"fever", b"cough", b"drug")
"""Of the corpus' texts."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, to see what W&B puts there."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def made(tiny_model: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A run with its examples, and without W&B."""
    folder = tmp_path_factory.mktemp("logbook") / "run"
    cfg = config.validated(
        {
            "folder": str(folder),
            "model": {"name": str(tiny_model)},
            "corpus": {"name": str(tiny_corpus), "span_column": "spans", "held_out": 0.3},
            "capture": {"hook_points": ["blocks.1.hook_resid_post"], "context_tokens": 16, "shard_tokens": 300},
            "sae": {"architecture": "topk", "expansion_factor": 2, "k": 6},
            "training": {"n_tokens": 3200, "batch_tokens": 32, "lr": 5e-3},
            "examples": {"window_tokens": 8},
            "concepts": {"min_mentions": 5},
            "tracking": {"wandb": "disabled"},
            "engine": {"kind": "inline"},
        },
        "test",
    )
    Run(cfg).stages(("capture", "train", "evaluate", "examples"))
    return cfg


def copied(made: RunConfig, tmp_path: Path, shareable: bool = False, **tracking: Any) -> Run:
    """The run in another folder, logged in another way."""
    shutil.copytree(made.folder, tmp_path / "run")
    values = made.model_dump(mode="json") | {"folder": str(tmp_path / "run")}
    values["tracking"] = {"wandb": "offline", **tracking}
    values["corpus"]["shareable"] = shareable
    return Run(config.validated(values, "test"))


def inspected(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def the_log(run: Run) -> Path:
    """The only W&B folder."""
    (found,) = (run.folder / "wandb").glob("offline-run-*")
    return found


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in inspected(folder).splitlines()]
    return [record for record in found if record["type"] == kind]


def every_byte(*folders: Path) -> bytes:
    return b"".join(path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())


def test_the_wandb_run_holds_every_row_and_the_figures_of_the_evaluation(made: RunConfig, tmp_path: Path):
    run = copied(made, tmp_path)
    run.stages(("evaluate",))
    (fit,) = run.fits
    found = json.loads(inspected(the_log(run), "--summary"))
    assert found["state"] == "finished"
    assert found["config"]["sae"]["k"] == 6
    measured = json.loads((fit.folder / "evaluation.json").read_text())
    for name, value in (measured["reconstruction"] | measured["splice"]).items():
        assert found["summary"][name] == pytest.approx(value), name
        assert found["summary"][f"evaluation/{name}"] == pytest.approx(value), name
    assert found["summary"]["n_concepts"] == 1
    assert sum(found["summary"]["evaluation/log10_feature_density"]["values"]) == 64
    rows = (fit.folder / "history.jsonl").read_text().splitlines()
    assert len(records(the_log(run), "history")) == len(rows), "the last one has the evaluation beside it"
    assert b"log10_feature_density" in every_byte(the_log(run))


def test_writing_again_does_nothing_until_a_file_changes_and_then_leaves_one_run(made: RunConfig, tmp_path: Path):
    run = copied(made, tmp_path)
    run.stages(("train",))
    before = {path: path.stat().st_mtime_ns for path in (run.folder / "wandb").rglob("*.wandb")}
    Run(run.cfg).stages(("train", "evaluate"))
    assert {path: path.stat().st_mtime_ns for path in (run.folder / "wandb").rglob("*.wandb")} == before
    path = run.fits[0].folder / "evaluation.json"
    path.write_text(path.read_text().replace('"l0": 6.0', '"l0": 5.0'))
    run.fits[0].folder.joinpath("concepts.json").unlink()
    assert not WriteRun(run.fits[0], run.cfg.tracking).is_complete
    Run(run.cfg).stages(("train",))
    assert "n_concepts" not in json.loads(inspected(the_log(run), "--summary"))["summary"]


def test_a_kill_while_writing_leaves_one_run_after_the_next_command(
    made: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run = copied(made, tmp_path)
    task = WriteRun(run.fits[0], run.cfg.tracking)

    class Killed(BaseException): ...

    def kill(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(WriteRun, "write", kill)
        with pytest.raises(Killed):
            task.run(lambda _: None)
    assert not task.is_complete
    task.run(lambda _: None)
    assert json.loads(inspected(the_log(run), "--summary"))["state"] == "finished"
    assert task.is_complete


def test_nothing_of_the_texts_is_in_wandb_by_default(made: RunConfig, tmp_path: Path, home: Path):
    run = copied(made, tmp_path, artefacts=True)
    run.stages(("examples",))
    written = every_byte(run.folder / "wandb", home)
    assert b"explained_variance" in written
    assert [word for word in WORDS if word in written] == []


def test_an_artefact_holds_weights_and_figures_and_nothing_else(made: RunConfig, tmp_path: Path, home: Path):
    run = copied(made, tmp_path, artefacts=True)
    run.stages(("train",))
    (record,) = records(the_log(run), "artifact")
    artefact = record["artifact"]
    assert artefact["type"] == "sae"
    entries = {entry["path"]: Path(entry["local_path"]) for entry in artefact["manifest"]["contents"]}
    assert set(entries) == set(ARTEFACT_FILES)
    assert all(path == run.fits[0].folder / name for name, path in entries.items()), "not copied"
    assert not (home / ".local").exists(), "nothing is put aside outside of the run folder"


def test_without_being_asked_there_is_no_artefact_and_no_table(made: RunConfig, tmp_path: Path):
    run = copied(made, tmp_path, shareable=True)
    run.stages(("examples",))
    assert records(the_log(run), "artifact") == []
    assert list((run.folder / "wandb").rglob("*.table.json")) == []


def test_contexts_of_a_shareable_corpus_are_shown_where_they_are_asked_for(made: RunConfig, tmp_path: Path, home: Path):
    run = copied(made, tmp_path, shareable=True, examples=True, example_features=3)
    run.stages(("examples",))
    (path,) = the_log(run).rglob("*.table.json")
    table = json.loads(path.read_text())
    assert table["columns"] == ["feature", "density", "max_activation", "rank", "activation", "context"]
    assert len({row[0] for row in table["data"]}) == 3
    densities = [row[1] for row in table["data"]]
    assert densities == sorted(densities, reverse=True)
    first = [row for row in table["data"] if row[0] == table["data"][0][0]]
    assert first[0][2] == pytest.approx(first[0][4], rel=1e-3), "the strongest context first"
    assert any("fever" in row[5] for row in table["data"])
    assert b"fever" not in every_byte(home), "nor is it put aside outside of the run folder"


def test_contexts_of_a_corpus_that_is_not_declared_shareable_are_refused(made: RunConfig):
    values = made.model_dump(mode="json") | {"tracking": {"examples": True}}
    with pytest.raises(UserError, match=r"tracking\.examples is true but corpus\.shareable is false, expected"):
        config.validated(values, "test")


def test_tracking_that_is_disabled_writes_nothing(made: RunConfig, tmp_path: Path):
    run = copied(made, tmp_path, wandb="disabled")
    run.stages(("train", "evaluate"))
    assert not (run.folder / "wandb").exists()
