"""What tests share: shapes are checked at run time, tiny models and corpora are made on the spot."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["WANDB_SILENT"] = "true"
os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is loaded; on a machine with a GPU, set it to 0

from jaxtyping import install_import_hook

install_import_hook(
    ["sae", "hooks.passage", "training.stream", "training.splice", "analysis.contexts"], "beartype.beartype"
)

import pytest
import torch

from tests.clusters.ray import RayCluster, two_node_ray
from tests.clusters.slurm import SlurmCluster, one_node_slurm
from tests.tiny import write_tiny_model

torch.set_num_threads(1)
MATERIALS = Path(__file__).resolve().parent.parent.parent / "shared" / "materials"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random 3-layer decoder of the Qwen2 kind and its tokenizer."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "decoder", "qwen2")


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSONL of 60 short texts with annotated spans, two of them equal."""
    path = tmp_path_factory.mktemp("corpus") / "notes.jsonl"
    rows = []
    for number in range(60):
        text = f"patient {number % 59} has fever and pain . no cough . given drug {number % 7} today ."
        start = text.index("fever")
        spans = [{"start": start, "end": start + 5, "label": "fever"}]
        rows.append({"id": f"n{number}", "patient": f"p{number // 2}", "text": text, "spans": spans})
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def materials() -> Path:
    """Real models and texts, where they lie beside the project."""
    if not MATERIALS.is_dir():
        pytest.skip("no ../shared/materials beside the project: real models and texts are not here")
    return MATERIALS


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A Slurm of one node with two cores."""
    with one_node_slurm() as cluster:
        yield cluster


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """The same, where the commands of Slurm find it."""
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:  # these tests in a job
        monkeypatch.delenv(name)
    for name, value in slurm_cluster.environment.items():
        monkeypatch.setenv(name, value)
    return slurm_cluster


@pytest.fixture
def ray_cluster() -> Iterator[RayCluster]:
    """A Ray of two nodes, new for each test, which may take a node away."""
    with two_node_ray() as cluster:
        yield cluster
