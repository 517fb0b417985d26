"""Two processes under torchrun train what one trains, hand over to one another, and stop together."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from clinlens.config import RunConfig
from clinlens.pipeline import Run
from hooks import capture, corpus
from hooks.capture import Job
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.model import load
from hooks.store import Store
from sae.build import build
from sae.config import JumpReLUConfig, L1Config, SAEConfig, TopKConfig
from sae.errors import UserError
from training.config import TrackingConfig, TrainingConfig
from training.fit import fit
from training.jobs import JobTable
from training.replicas import ALONE, Replicas, launched
from training.spec import Fit

POINT = "blocks.1.hook_resid_post"
FRESH: list[SAEConfig] = [
    L1Config(expansion_factor=4, l1_coefficient=1.0),
    TopKConfig(expansion_factor=4, k=6),
    JumpReLUConfig(expansion_factor=4, target_l0=6),
]
BEGUN_BY_ONE: list[SAEConfig] = [TopKConfig(expansion_factor=4, k=5), JumpReLUConfig(expansion_factor=4, target_l0=5)]
SETTINGS = TrainingConfig(
    n_tokens=32 * 64, batch_tokens=32, lr=5e-3, log_every_steps=4, checkpoint_every_steps=20, dead_after_tokens=64
)
LONG = SETTINGS.model_copy(update={"n_tokens": 32 * 200})
QUIET = TrackingConfig(wandb="disabled")
TOLERANCE = 1e-5
"""Of a figure of the log and of the norm of a weight, relative. Seen over 200 steps: 3e-7 and 9e-7, float32's sums in
another order; a loss that is averaged over shares instead of computed from averages is off by 1e-2."""
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Threads(Replicas):
    """Replicas that are threads of this process, for arithmetic without a network."""

    meeting: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))
    brought: dict[int, torch.Tensor] = field(default_factory=dict)

    def add_up(self, tensor: torch.Tensor) -> None:
        self.brought[self.rank] = tensor.clone()
        self.meeting.wait()
        total = sum(self.brought[rank] for rank in range(self.n_replicas))
        self.meeting.wait()
        tensor.copy_(torch.as_tensor(total))


def together(work: Callable[[Replicas], Any]) -> list[Any]:
    """What two processes get, in the order of their ranks."""
    meeting, brought = threading.Barrier(2, timeout=30), {}
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda rank: work(Threads(rank, 2, "cpu", meeting, brought)), range(2)))


@pytest.fixture
def float64() -> Iterator[None]:
    """New tensors are of double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "cfg", [*FRESH, JumpReLUConfig(expansion_factor=4, target_l0=None)], ids=lambda cfg: f"{cfg.architecture}"
)
def test_the_shares_gradients_average_to_the_gradient_of_the_whole_batch(cfg: SAEConfig, float64: None):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, 8, generator=generator) + 1
    x[16:] = x[16:] * 3 - 2  # shares with other means and spreads, so that losses of shares would not do
    dead = torch.arange(32) % 3 == 0

    def fresh():
        sae = build(cfg, 8)
        sae.initialise(x, torch.Generator().manual_seed(1), 0.5)
        with torch.no_grad():
            sae.b_enc[dead] += 0.1  # so that dead features have something to say
        return sae

    def gradients(replicas: Replicas) -> tuple[float, dict[str, torch.Tensor]]:
        sae = fresh()
        losses = sae.losses(replicas.share(x), dead, 0.7, replicas.average)
        losses.total.backward()
        replicas.average_gradients(sae.parameters())
        return losses.total.item(), {name: p.grad for name, p in sae.named_parameters() if p.grad is not None}

    loss, whole = gradients(ALONE)
    for shared_loss, shared in together(gradients):
        assert shared_loss == pytest.approx(loss, rel=1e-14)
        assert shared.keys() == whole.keys()
        for name, gradient in whole.items():
            torch.testing.assert_close(shared[name], gradient, rtol=1e-12, atol=1e-14)
    if not isinstance(cfg, L1Config):  # whose loss is a plain mean
        naive = sum(fresh().losses(part, dead, 0.7).total.item() for part in x.chunk(2)) / 2
        assert abs(naive - loss) > 1e-3 * loss


def test_a_loss_that_is_no_number_in_one_process_is_none_in_all():
    found = together(lambda replicas: replicas.average(torch.tensor([1.0, torch.nan][replicas.rank])).item())
    assert all(value != value for value in found)  # noqa: PLR0124 - only NaN differs from itself


def test_processes_with_different_states_are_refused():
    together(lambda replicas: replicas.refuse_difference(2**64 - 1, "b.0 topk at step 3"))
    with pytest.raises(
        UserError, match=r"^The 2 processes hold 2 different states of b.0 topk at step 3, expected one\."
    ):
        together(lambda replicas: replicas.refuse_difference(replicas.rank, "b.0 topk at step 3"))


UNDER_TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


def test_torchrun_is_known_by_its_variables(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert launched({}) == launched({"WORLD_SIZE": "4", "RANK": "0"}) == ALONE
    assert launched(UNDER_TORCHRUN | {"WORLD_SIZE": "1"}) == ALONE
    assert launched(UNDER_TORCHRUN) == Replicas(1, 2, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert launched(UNDER_TORCHRUN) == Replicas(1, 2, "cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        UserError, match=r"^torchrun started 2 processes on a machine with 1 GPUs, expected at most one"
    ):
        launched(UNDER_TORCHRUN)


def test_stages_that_cannot_be_shared_are_refused_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in UNDER_TORCHRUN.items():
        monkeypatch.setenv(name, value)
    run = Run(RunConfig(folder=tmp_path / "run"))
    with pytest.raises(UserError, match=r"^torchrun started 2 processes, expected `clinlens train`, the only stage"):
        run.stages(("capture", "train"))
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def acts(tiny_model: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one hook point."""
    folder = tmp_path_factory.mktemp("store") / "acts"
    settings = CaptureConfig(hook_points=(POINT,), context_tokens=16, shard_tokens=300)
    job = Job(ModelConfig(name=str(tiny_model)), CorpusConfig(name=str(tiny_corpus), held_out=0.2), settings, 0)
    plan = capture.prepare(job, corpus.read(job.corpus), load(job.model), folder)
    for task in plan.tasks(1):
        task.run(nothing)
    capture.conclude(plan)
    return folder


def nothing(_amount: int) -> None:
    """No progress bar."""


class Killed(BaseException):
    """Stands for a process that ends here and now."""


def task(run: Path, cfg: SAEConfig, training: TrainingConfig = SETTINGS) -> Fit:
    return Fit(run, POINT, cfg, training, 0, Store.open(run / "acts").id, 1)


def of_one_process(acts: Path, folder: Path, saes: list[SAEConfig], training: TrainingConfig = SETTINGS) -> Path:
    """A run folder in which one process trained."""
    shutil.copytree(acts, folder / "acts")
    for cfg in saes:
        fit(task(folder, cfg, training), QUIET, nothing)
    return folder


def prepared(acts: Path, folder: Path, saes: list[SAEConfig], training: TrainingConfig) -> Path:
    """A run folder with a store, and its config beside it."""
    shutil.copytree(acts, folder / "run" / "acts")
    values = {
        "folder": "run",
        "sae": [cfg.model_dump(mode="json") for cfg in saes],
        "training": training.model_dump(mode="json"),
        "tracking": {"wandb": "disabled"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    return folder / "run"


def torchrun(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`clinlens` in two processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*command, "-m", "clinlens", *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """The same SAEs from one process and from two."""

    one: Path
    two: Path
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def pair(acts: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("two")
    two = prepared(acts, folder, [*FRESH, *BEGUN_BY_ONE], SETTINGS)
    for cfg in BEGUN_BY_ONE:
        seen: list[int] = []

        def done(amount: int, seen: list[int] = seen) -> None:
            seen.append(amount)
            if sum(seen) >= 32 * 25:
                raise Killed

        with pytest.raises(Killed):
            fit(task(two, cfg), QUIET, done)
    run = torchrun(folder, "train", "run.yaml", "--json")
    stdout, stderr = run.communicate(timeout=200)
    assert run.returncode == 0, stderr
    one = of_one_process(acts, tmp_path_factory.mktemp("one") / "run", [*FRESH, *BEGUN_BY_ONE])
    return Pair(one, two, stdout, stderr)


def rows(task: Fit) -> list[dict[str, float]]:
    return [json.loads(line) for line in (task.folder / "history.jsonl").read_text().splitlines()]


def assert_same_training(one: Fit, two: Fit) -> None:
    """The same loss curve, and weights as near."""
    assert len(rows(one)) == len(rows(two))
    for ours, theirs in zip(rows(one), rows(two), strict=True):
        assert theirs == pytest.approx(ours, rel=TOLERANCE, abs=1e-7)
    ours, theirs = (load_file(task.folder / "sae_weights.safetensors") for task in (one, two))
    for name, weight in ours.items():
        assert (theirs[name] - weight).norm() <= TOLERANCE * weight.norm(), name


@pytest.mark.parametrize("cfg", FRESH, ids=lambda cfg: cfg.architecture)
def test_two_processes_draw_the_loss_curve_of_one(pair: Pair, cfg: SAEConfig):
    assert_same_training(task(pair.one, cfg), task(pair.two, cfg))
    curve = rows(task(pair.two, cfg))
    assert curve[-1]["step"] == 64
    if isinstance(cfg, TopKConfig):
        assert sum(row["dead_fraction"] > 0.2 and row["auxk"] > 0 for row in curve) > 5
    if isinstance(cfg, JumpReLUConfig):
        assert sum(row["dead_fraction"] > 0.2 and row["pre_act"] > 0 for row in curve) > 5


@pytest.mark.parametrize("cfg", BEGUN_BY_ONE, ids=lambda cfg: cfg.architecture)
def test_two_processes_go_on_where_one_was_killed(pair: Pair, cfg: SAEConfig):
    assert_same_training(task(pair.one, cfg), task(pair.two, cfg))


def test_the_same_files_come_out_and_say_how_many_processes_made_them(pair: Pair):
    def files(run: Path) -> set[str]:
        return {str(path.relative_to(run)) for path in (run / "saes").rglob("*")}

    assert files(pair.one) == files(pair.two)
    for cfg in FRESH:
        one, two = (json.loads((task(run, cfg).folder / "origin.json").read_text()) for run in (pair.one, pair.two))
        assert two == one | {"n_replicas": 2}
    assert task(pair.two, FRESH[0]).is_complete


def test_only_the_first_process_writes_and_speaks(pair: Pair):
    entries = JobTable(pair.two / "jobs").entries()
    assert len(entries) == 5
    assert len({entry.pid for entry in entries}) == 1
    assert {entry.state for entry in entries} == {"done"}
    result: dict[str, Any] = json.loads(pair.stdout)
    assert len(result["saes"]) == 5
    assert pair.stderr.count("SAEs to fit") == 1
    stages = json.loads((pair.two / "resources.json").read_text())["stages"]
    assert [stage["stage"] for stage in stages] == ["train"]
    assert not list(pair.two.rglob(".*.part"))


GROUP_OF_ONE = """
import os, torch
from training.replicas import Replicas

def threads():
    return sorted(open(f"/proc/self/task/{thread}/comm").read().strip() for thread in os.listdir("/proc/self/task"))

with Replicas(0, 2).connected():
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports much of torch, parts of which ask for a group
    print([name for name in threads() if "gloo" in name])
print([name for name in threads() if "gloo" in name])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_thread_of_the_group_outlives_the_training():
    """One that does may need the interpreter while that is taken down; the process then aborts after its work is done."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "RANK": "0",
        "WORLD_SIZE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [sys.executable, "-c", GROUP_OF_ONE]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | group
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=True).stdout
    inside, after = printed.splitlines()
    assert "gloo" in inside
    assert after == "[]"


def test_batches_that_cannot_be_shared_evenly_are_refused_in_one_sentence(acts: Path, tmp_path: Path):
    shutil.copytree(acts, tmp_path / "run" / "acts")
    uneven = task(tmp_path / "run", FRESH[1], SETTINGS.model_copy(update={"batch_tokens": 33}))
    with pytest.raises(
        UserError, match=r"^training.batch_tokens is 33, but torchrun started 2 processes, expected a mult"
    ):
        fit(uneven, QUIET, nothing, replicas=Replicas(0, 2))
    assert not uneven.folder.exists()


def test_a_process_that_dies_ends_the_others_and_one_process_goes_on(acts: Path, tmp_path: Path):
    cfg = FRESH[1]
    two = prepared(acts, tmp_path, [cfg], LONG)
    fitted = task(two, cfg, LONG)
    run = torchrun(tmp_path, "train", "run.yaml")
    deadline = time.monotonic() + 100
    while not (fitted.folder / "training_state.safetensors").exists():
        assert run.poll() is None and time.monotonic() < deadline, run.communicate()[1]  # noqa: PT018
        time.sleep(0.01)
    entry = JobTable(two / "jobs").entry(f"train-{POINT}-{fitted.sae_id}")
    assert entry is not None
    processes = psutil.Process(run.pid).children()
    (follower,) = [process for process in processes if process.pid != entry.pid]
    follower.send_signal(signal.SIGKILL)
    _, stderr = run.communicate(timeout=100)
    assert run.returncode != 0
    assert not any(process.is_running() for process in processes)
    assert not fitted.is_complete
    seen: list[int] = []
    fit(fitted, QUIET, seen.append)
    assert seen[0] >= 32 * 20, stderr  # what the two had done
    one = of_one_process(acts, tmp_path / "one", [cfg], LONG)
    assert_same_training(task(one, cfg, LONG), fitted)
    assert json.loads((fitted.folder / "origin.json").read_text())["n_replicas"] == 2
