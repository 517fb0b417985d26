"""SAEBench's core evaluation runs on an exported folder as it is, and finds what our evaluation found.

SAEBench 0.6 wants numpy < 2, so it runs in an environment of its own, whose interpreter `CLINLENS_SAE_BENCH_PYTHON`
names (CONTRIBUTING.md); without one this is skipped.
"""

import json
import math
import os
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import h5py
import pytest
import yaml

from clinlens import config as configs
from clinlens.export import export
from clinlens.pipeline import Run

PYTHON = os.environ.get("CLINLENS_SAE_BENCH_PYTHON")
SCRIPT = Path(__file__).with_name("sae_bench_core.py")
pytestmark = pytest.mark.skipif(PYTHON is None, reason="CLINLENS_SAE_BENCH_PYTHON names no interpreter with sae-bench")


@pytest.fixture(scope="module")
def exported(tiny_model: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an evaluated run, its export, and its held-out windows."""
    folder = tmp_path_factory.mktemp("bench")
    values: dict[str, Any] = {
        "folder": str(folder / "run"),
        "model": {"name": str(tiny_model)},
        "corpus": {"name": str(tiny_corpus), "id_column": "id", "held_out": 0.3},
        "capture": {"hook_points": ["blocks.1.hook_resid_post"], "context_tokens": 16},
        "sae": [
            {"architecture": "topk", "expansion_factor": 2, "k": 6},
            {"architecture": "jumprelu", "expansion_factor": 2, "target_l0": 6},
            {"architecture": "l1", "expansion_factor": 2},
            {"architecture": "batchtopk", "expansion_factor": 2, "k": 6},
            {"architecture": "matryoshka", "expansion_factor": 2, "k": 6},
            {"architecture": "gated", "expansion_factor": 2},
        ],
        "training": {"n_tokens": 9600, "batch_tokens": 32, "lr": 5e-3},
        "tracking": {"wandb": "disabled"},
        "engine": {"kind": "inline"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    Run(configs.read(folder / "run.yaml")).stages(("capture", "train", "evaluate"))
    export(Run(configs.read(folder / "run")), folder / "exported")
    (folder / "windows.json").write_text(json.dumps(held_out_windows(folder / "run" / "acts")))
    return folder


def held_out_windows(acts: Path) -> list[list[int]]:
    windows: dict[int, list[int]] = defaultdict(list)
    for shard in json.loads((acts / "manifest.json").read_text())["shards"]:
        if shard["split"] == "held_out":
            with h5py.File(acts / shard["file"]) as file:
                for document, token in zip(file["document"][...], file["token_id"][...], strict=True):  # type: ignore[index]
                    windows[int(document)].append(int(token))
    assert {len(window) for window in windows.values()} == {16}
    return list(windows.values())


@pytest.mark.parametrize("architecture", ["topk", "jumprelu", "l1", "batchtopk", "matryoshka", "gated"])
def test_sae_bench_core_finds_our_figures(exported: Path, tiny_model: Path, architecture: str):
    (folder,) = (exported / "exported").glob(f"*/{architecture}-*")
    done = subprocess.run(
        [str(PYTHON), str(SCRIPT), str(folder), str(tiny_model), str(exported / "windows.json")],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    found = json.loads((folder / "evaluation.json").read_text())
    ours, splice = found["reconstruction"], found["splice"]
    performance, behaviour = theirs["model_performance_preservation"], theirs["model_behavior_preservation"]
    pairs = {
        "l0": (ours["l0"], theirs["sparsity"]["l0"]),
        "cosine": (ours["cosine"], theirs["reconstruction_quality"]["cossim"]),
        "norm_ratio": (ours["norm_ratio"], theirs["shrinkage"]["l2_ratio"]),
        "ce_clean": (splice["ce_clean"], performance["ce_loss_without_sae"]),
        "ce_spliced": (splice["ce_spliced"], performance["ce_loss_with_sae"]),
        "ce_zero": (splice["ce_zero"], performance["ce_loss_with_ablation"]),
        "ce_loss_score": (splice["ce_loss_score"], performance["ce_loss_score"]),
        "kl": (splice["kl"], behaviour["kl_div_with_sae"]),
    }
    # SAEBench 0.6 divides its mse by the number of tokens once more; its explained_variance takes the mean of squares for
    # the mean, so that it is another number than 1 − Σ‖x − x̂‖² / Σ‖x − mean‖²
    pairs["mse"] = (ours["mse"], theirs["reconstruction_quality"]["mse"] * ours["n_tokens"])
    for name, (a, b) in pairs.items():
        # our rows come from the store in float16: a gate may open in one and not the other, which moves a sum by a whole value
        assert math.isclose(a, b, rel_tol=1e-3 if architecture == "gated" else 1e-4), (name, a, b)
    assert theirs["has_unit_norm"]
