"""The main job from the command line: complete, skipped when done, the same bytes after a kill at any stage."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from clinlens.__main__ import main

CLINLENS = [sys.executable, "-m", "clinlens"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
CHANGING = ("jobs/", "resources.json", "report.html", ".lock", "wandb/")
"""What holds clocks; everything else is the same in every run of a config."""


def run_clinlens(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*CLINLENS, *arguments], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def config(folder: Path, model: Path, corpus: Path, **sections: Any) -> Path:
    values: dict[str, Any] = {
        "folder": "run",
        "model": {"name": str(model)},
        "corpus": {"name": str(corpus), "id_column": "id", "span_column": "spans", "held_out": 0.3},
        "capture": {"hook_points": ["blocks.*.hook_resid_post"], "context_tokens": 16, "shard_tokens": 300},
        "sae": [
            {"architecture": "topk", "expansion_factor": 2, "k": 6},
            {"architecture": "jumprelu", "expansion_factor": 2, "target_l0": 6},
            {"architecture": "l1", "expansion_factor": 2},
        ],
        "training": {"n_tokens": 9600, "batch_tokens": 32, "lr": 5e-3, "checkpoint_every_steps": 20},
        "examples": {"window_tokens": 8},
        "concepts": {"min_mentions": 5},
        "tracking": {"wandb": "disabled"},
        "engine": {"kind": "inline"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values | sections))
    return path


def contents(run: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    return {name: data for name, data in sorted(files.items()) if not name.startswith(CHANGING) and ".part" not in name}


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which a whole run was made."""
    folder = tmp_path_factory.mktemp("whole")
    config(folder, tiny_model, tiny_corpus)
    done = run_clinlens("run", "run.yaml", "--json", cwd=folder)
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


def test_a_run_ends_with_a_report_and_one_json_object(finished: Path):
    result = json.loads((finished / "stdout").read_text().splitlines()[-1])
    assert (finished / result["report"]).is_file()
    assert len(result["saes"]) == 9
    for sae in result["saes"]:
        assert {"l0", "explained_variance", "cosine", "dead_fraction"} <= set(sae["reconstruction"])
        assert {"ce_clean", "ce_spliced", "ce_zero", "ce_loss_score", "kl"} <= set(sae["splice"])
        assert sae["concept_recovery"]["n_concepts"] == 1


def test_running_again_changes_nothing_and_makes_nothing(finished: Path):
    before = contents(finished / "run")
    times = {path: path.stat().st_mtime_ns for path in (finished / "run" / "saes").rglob("*") if path.is_file()}
    done = run_clinlens("run", "run.yaml", cwd=finished)
    assert contents(finished / "run") == before
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in times.items())
    assert "to fit" not in done.stderr
    assert "shards to make" not in done.stderr


KILLS: dict[str, Callable[[Path], bool]] = {
    "capture": lambda run: (run / "acts" / "shard-00001.h5").exists(),
    "train": lambda run: len(list(run.glob("saes/*/*/training_state.safetensors"))) >= 2,
    "evaluate": lambda run: any(run.glob("saes/*/*/evaluation.json")),
    "concepts": lambda run: any(run.glob("saes/*/*/concepts.json")),
    "examples": lambda run: any(run.glob("examples/*/*.h5")),
    "just before the report": lambda run: len(list(run.glob("examples/*/*.h5"))) == 9,
}


@pytest.mark.parametrize(
    ("engine", "stages"),
    [("inline", tuple(KILLS)), ("processes", ("train",))],  # the pool shares all other code with inline
    ids=["inline", "processes"],
)
def test_a_run_killed_in_every_stage_ends_in_the_same_bytes(
    finished: Path, tiny_model: Path, tiny_corpus: Path, tmp_path: Path, stages: tuple[str, ...], engine: str
):
    settings = {"engine": {"kind": engine, "workers": 2}} if engine == "processes" else {}
    config(tmp_path, tiny_model, tiny_corpus, **settings)
    for stage in stages:
        process = subprocess.Popen(
            [*CLINLENS, "run", "run.yaml"],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not KILLS[stage](tmp_path / "run"):
            assert process.poll() is None, f"it ended before it could be killed: {stage}"
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "run" / "report.html").exists()
        time.sleep(1 if engine == "processes" else 0)  # workers see within .2 s that their parent is gone
    run_clinlens("run", "run.yaml", cwd=tmp_path)
    whole, resumed = contents(finished / "run"), contents(tmp_path / "run")
    assert whole.keys() == resumed.keys()
    differing = [name for name in whole if whole[name] != resumed[name] and name != "config.yaml"]
    assert differing == []


@pytest.mark.parametrize("engine", ["inline", "processes"])
def test_an_interrupted_run_says_how_to_go_on_and_leaves_no_worker(
    tiny_model: Path, tiny_corpus: Path, tmp_path: Path, engine: str
):
    config(tmp_path, tiny_model, tiny_corpus, engine={"kind": engine, "workers": 2})
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job hands on that it is ignored
    process = subprocess.Popen(
        [*CLINLENS, "run", "run.yaml"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not KILLS["train"](tmp_path / "run"):
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.002)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "clinlens: interrupted; run the same command again to go on where it stopped."
    assert "Traceback" not in errors
    assert psutil.wait_procs(workers, timeout=5)[1] == []


def test_every_saved_sae_is_read_by_sae_lens_with_the_same_features(finished: Path):
    done = run_clinlens("export", "run", "--to", "exported", "--json", cwd=finished)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["n_saes"] == 9
    assert result["largest_difference"] <= 1e-5
    assert len(list((finished / "exported").glob("*/*/sae_weights.safetensors"))) == 9


def test_capture_verify_compares_with_transformer_lens_and_finds_damage(finished: Path, tmp_path: Path):
    import shutil

    shutil.copytree(finished, tmp_path / "copy")
    result = json.loads(
        run_clinlens("capture", "run.yaml", "--verify", "--json", cwd=tmp_path / "copy").stdout.splitlines()[-1]
    )
    assert result["damaged"] == []
    assert result["largest_difference"] < 1e-3  # the store is float16
    shard = tmp_path / "copy" / "run" / "acts" / "shard-00000.h5"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    done = run_clinlens("capture", "run.yaml", "--verify", cwd=tmp_path / "copy", check=False)
    assert done.returncode == 2
    assert "are damaged (shard-00000.h5)" in done.stderr


def test_two_runs_may_not_write_one_folder(finished: Path):
    import fcntl

    with (finished / "run" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run_clinlens("run", "run.yaml", cwd=finished, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "clinlens: run is being written by another clinlens process, expected one at a time. "
        "Wait for it, or give this run another `folder`."
    )


def test_a_run_of_another_model_may_not_write_the_folder(finished: Path, tmp_path: Path):
    from tests.tiny import write_tiny_model

    other = write_tiny_model(tmp_path / "other", "qwen2", seed=1)
    done = run_clinlens("capture", "run.yaml", "--set", f"model.name={other}", cwd=finished, check=False)
    assert done.returncode == 2
    assert "holds the activations of another model, corpus or capture setting" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_log_error_or_record_holds_text_of_the_corpus(finished: Path):
    assert "fever" not in (finished / "stderr").read_text()
    assert "fever" not in (finished / "stdout").read_text()
    for path in (finished / "run").rglob("*"):
        if path.is_file() and path.suffix in (".json", ".jsonl", ".yaml") and path.name != "vocabulary.json":
            assert "has fever" not in path.read_text(), path


def test_doctor_tells_what_is_installed_and_what_a_run_holds(finished: Path):
    result = json.loads(run_clinlens("doctor", "--json", cwd=finished).stdout)
    assert result["versions"]["torch"]
    assert any(line.startswith("embedded model: ok") for line in result["checks"])
    result = json.loads(run_clinlens("doctor", "run", "--json", cwd=finished).stdout)
    assert "train: 9 of 9 SAEs complete" in result["checks"]


BAD_INPUTS: dict[str, tuple[tuple[str, ...], str]] = {
    "no config": (
        ("run", "nowhere.yaml"),
        "nowhere.yaml does not exist, expected a run config. Name a YAML file, e.g. configs/quickstart.yaml, or a run folder.",
    ),
    "no model": (
        ("capture", "run.yaml", "--set", "folder=new", "--set", "model.name=./nowhere"),
        "model.name './nowhere' is no folder, expected a folder with config.json or a hub id. Correct the path.",
    ),
    "no such hub id": (
        ("capture", "run.yaml", "--set", "folder=new", "--set", "model.name=nobody/nothing"),
        "The model 'nobody/nothing' is no local folder and the hub did not give it (LocalEntryNotFoundError). "
        "Check the name and the network, or name a local folder.",
    ),
    "no corpus": (
        ("capture", "run.yaml", "--set", "folder=new", "--set", "corpus.name=./nowhere.jsonl"),
        "corpus.name './nowhere.jsonl' does not exist, expected a file, a folder or a hub dataset. Correct the path.",
    ),
    "unknown column": (
        ("capture", "run.yaml", "--set", "folder=new", "--set", "corpus.text_column=note"),
        "The corpus '{corpus}' has no column 'note', expected one of id, patient, spans, text. Correct corpus.text_column.",
    ),
    "no such hook point": (
        ("capture", "run.yaml", "--set", "folder=new", "--set", "capture.hook_points=[blocks.1.resid_post]"),
        "'blocks.1.resid_post' is no hook point, expected a name like 'blocks.*.hook_resid_post'. Correct capture.hook_points.",
    ),
    "no such layer": (
        ("capture", "run.yaml", "--set", "folder=new", "--set", "capture.hook_points=[blocks.7.hook_resid_post]"),
        "'blocks.7.hook_resid_post' asks for layer 7, but the model has layers 0 to 2. Choose one of them in capture.hook_points.",
    ),
    "context too long": (
        ("capture", "run.yaml", "--set", "folder=new", "--set", "capture.context_tokens=128"),
        "context_tokens=128, but the model '{model}' reads at most 64. Lower capture.context_tokens.",
    ),
    "k too large": (
        ("run", "run.yaml", "--set", "folder=new", "--set", "sae.k=65"),
        "k=65 features per token, but the SAE has only d_sae=64 (d_in=32 × expansion_factor=2). Lower k or raise expansion_factor.",
    ),
    "batch too large": (
        ("train", "run.yaml", "--set", "training.batch_tokens=100000", "--set", "training.n_tokens=100000"),
        "The store has {kept} rows to train on at blocks.0.hook_resid_post, expected at least batch_tokens=100000. "
        "Capture more documents or lower training.batch_tokens.",
    ),
    "no GPU": (
        ("capture", "run.yaml", "--set", "folder=new", "--set", "model.device=cuda"),
        "model.device is 'cuda', but torch sees no GPU here. Set it to auto or cpu.",
    ),
    "a file for a folder": (
        ("capture", "run.yaml", "--set", "folder=run.yaml"),
        "run.yaml cannot be written (File exists). Free space or choose another `folder`; what is complete is kept.",
    ),
    "stage too early": (
        ("evaluate", "run.yaml", "--set", "seed=0", "--set", "training.lr=1"),
        "9 of 9 SAEs of run are not trained yet, expected all. Run `clinlens train` with this config first.",
    ),
    "no store": (
        ("train", "run.yaml", "--set", "folder=empty"),
        "empty/acts holds no finished activation store. Run `clinlens capture` with the run's config first.",
    ),
    "no run": (("doctor", "."), ". holds no config.yaml, expected a run folder. Name the `folder` of a config."),
    "no report": (
        ("serve", "empty"),
        "empty/report.html does not exist, expected a finished run. Run `clinlens run` with its config first.",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_a_users_mistake_is_one_exact_sentence_and_exit_code_2(
    finished: Path, tiny_model: Path, tiny_corpus: Path, name: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    arguments, sentence = BAD_INPUTS[name]
    monkeypatch.chdir(finished)
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    kept = sum(
        int((reader.index["is_special"] == 0).sum()) for reader in open_store(finished / "run" / "acts").shards("train")
    )
    expected = sentence.format(corpus=tiny_corpus, model=tiny_model, kept=kept)
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.splitlines()[-1] == f"clinlens: {expected}"
    assert "Traceback" not in said


def test_a_process_ends_in_one_sentence_too(finished: Path):
    arguments, sentence = BAD_INPUTS["no such layer"]
    done = run_clinlens(*arguments, cwd=finished, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"clinlens: {sentence}"
    assert "Traceback" not in done.stderr


def open_store(folder: Path):
    from hooks.store import Store

    return Store.open(folder)


def test_the_ten_line_example_of_the_documentation_reads_a_store(finished: Path):
    text = (Path(__file__).resolve().parents[2] / "ARCHITECTURE.md").read_text(encoding="utf-8")
    example = text.split("```python\n")[1].split("```")[0].replace("runs/quickstart/acts", "run/acts")
    done = subprocess.run([sys.executable, "-c", example], cwd=finished, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("shard-00000.h5 train (")
