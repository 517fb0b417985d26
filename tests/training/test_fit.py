"""Training lowers the loss, resumes to the same bytes, and saves what was trained."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import wandb

from hooks.shard import ShardReader
from hooks.store import Store
from sae import saelens_format
from sae.config import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    L1Config,
    MatryoshkaConfig,
    SAEConfig,
    TopKConfig,
)
from sae.errors import UserError
from training import tracking, trainee
from training.config import TrackingConfig, TrainingConfig
from training.fit import FitTask, fit, fit_together, together
from training.memory import need_bytes, refuse_too_large, refuse_too_many
from training.schedule import lr_factor, sparsity_weight
from training.spec import Fit
from training.trainee import Trainee

CONFIGS: list[SAEConfig] = [
    L1Config(expansion_factor=2, l1_coefficient=0.1),
    TopKConfig(expansion_factor=2, k=6),
    JumpReLUConfig(expansion_factor=2, target_l0=6),
    BatchTopKConfig(expansion_factor=2, k=6),
    MatryoshkaConfig(expansion_factor=2, k=6),
    GatedConfig(expansion_factor=2, l1_coefficient=0.1),
]
SETTINGS = TrainingConfig(
    n_tokens=32 * 60, batch_tokens=32, lr=5e-3, log_every_steps=7, checkpoint_every_steps=11, dead_after_tokens=128
)
QUIET = TrackingConfig(wandb="disabled")


def task(run: Path, cfg: SAEConfig, training: TrainingConfig = SETTINGS) -> Fit:
    return Fit(run, "blocks.1.hook_resid_post", cfg, training, 0, Store.open(run / "acts").id, 1)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def nothing(_amount: int) -> None:
    """No progress bar."""


class Killed(BaseException):
    """Stands for a process that ends here and now."""


def killer(after_tokens: int) -> Callable[[int], None]:
    """A progress that ends the run once so many tokens were done."""
    seen = [0]

    def done(amount: int) -> None:
        seen[0] += amount
        if seen[0] >= after_tokens:
            raise Killed

    return done


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of the run folder, without SAEs."""
    shutil.copytree(run_folder / "acts", tmp_path / "run" / "acts")
    return tmp_path / "run"


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.architecture)
def test_training_explains_more_variance_than_the_start(run: Path, cfg: SAEConfig):
    fit(task(run, cfg), QUIET, nothing)
    rows = [json.loads(line) for line in (task(run, cfg).folder / "history.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 60
    assert rows[-1]["explained_variance"] > rows[0]["explained_variance"]
    assert rows[-1]["explained_variance"] > 0.5
    metrics = json.loads((task(run, cfg).folder / "metrics.json").read_text())
    assert metrics == rows[-1]


@pytest.mark.parametrize(
    ("cfg", "steps"),
    [(cfg, steps) for cfg in CONFIGS[:3] for steps in (3, 11, 25, 60)] + [(cfg, 25) for cfg in CONFIGS[3:]],
    ids=lambda value: getattr(value, "architecture", value),
)
def test_a_run_killed_at_any_step_ends_in_the_same_bytes(run: Path, tmp_path: Path, cfg: SAEConfig, steps: int):
    fit(task(run, cfg), QUIET, nothing)
    whole = contents(task(run, cfg).folder)
    other = tmp_path / "other"
    shutil.copytree(run / "acts", other / "acts")
    with pytest.raises(Killed):
        fit(task(other, cfg), QUIET, killer(32 * steps))
    assert not task(other, cfg).is_complete
    fit(task(other, cfg), QUIET, nothing)
    assert contents(task(other, cfg).folder) == whole


def test_a_run_killed_among_steps_by_integers_ends_in_the_same_bytes(run: Path, tmp_path: Path):
    pytest.importorskip("numba", reason="numba is an extra")
    integers = SETTINGS.model_copy(update={"encoder_dtype": "int8"})
    topk = next(cfg for cfg in CONFIGS if cfg.architecture == "topk")
    fit(task(run, topk, integers), QUIET, nothing)
    whole = contents(task(run, topk, integers).folder)
    other = tmp_path / "other"
    shutil.copytree(run / "acts", other / "acts")
    with pytest.raises(Killed):
        fit(task(other, topk, integers), QUIET, killer(32 * 25))
    fit(task(other, topk, integers), QUIET, nothing)
    assert contents(task(other, topk, integers).folder) == whole


def test_the_learning_rate_falls_with_the_root_of_the_width_where_none_is_set(run: Path):
    one = task(run, CONFIGS[1], SETTINGS.model_copy(update={"lr": None}))
    fit(one, QUIET, nothing)
    origin = json.loads((one.folder / "origin.json").read_text())
    d_sae = json.loads((one.folder / "cfg.json").read_text())["d_sae"]
    assert origin["lr"] == pytest.approx(0.2 / d_sae**0.5)
    rows = [json.loads(line) for line in (one.folder / "history.jsonl").read_text().splitlines()]
    assert max(row["lr"] for row in rows) == pytest.approx(origin["lr"])


def test_saes_that_share_their_batches_end_in_the_bytes_of_runs_alone(run: Path, tmp_path: Path):
    tasks = [task(run, cfg) for cfg in CONFIGS] + [
        task(run, CONFIGS[1], SETTINGS.model_copy(update={"lr": 1e-3, "n_tokens": 32 * 30}))
    ]
    for one in tasks:
        fit(one, QUIET, nothing)
    alone = {one.sae_id: contents(one.folder) for one in tasks}
    other = tmp_path / "other"
    shutil.copytree(run / "acts", other / "acts")
    shared = [replace(one, run=other) for one in tasks]
    with pytest.raises(Killed):
        fit_together(shared[:4], QUIET, killer(32 * 70))  # one after 18 steps, so that members stand at two checkpoints
    seen: list[int] = []
    fit_together(shared, QUIET, seen.append)
    assert sum(seen) == 32 * (60 * 6 + 30)
    assert {one.sae_id: contents(one.folder) for one in shared} == alone


def test_hook_points_that_share_a_pass_end_in_the_bytes_of_runs_alone(run: Path, tmp_path: Path):
    points = list(Store.open(run / "acts").hook_points)[:2]
    tasks = [replace(task(run, cfg), hook_point=point) for point in points for cfg in CONFIGS[:3]]
    for one in tasks:
        fit(one, QUIET, nothing)
    alone = {(one.hook_point, one.sae_id): contents(one.folder) for one in tasks}
    other = tmp_path / "other"
    shutil.copytree(run / "acts", other / "acts")
    shared = [replace(one, run=other) for one in tasks]
    with pytest.raises(Killed):
        fit_together(shared, QUIET, killer(32 * 100))  # each after 16 or 17 steps, their checkpoints after 11
    assert not any(one.is_complete for one in shared)
    fit_together(shared[1:4], QUIET, nothing)  # so that some of either point are complete
    fit_together(shared, QUIET, nothing)
    assert {(one.hook_point, one.sae_id): contents(one.folder) for one in shared} == alone


def test_hook_points_share_a_pass_as_far_as_is_set_and_every_worker_has_one(run: Path):
    settings = SETTINGS.model_copy(update={"hook_points_at_once": 2})
    tasks = [
        replace(task(run, TopKConfig(k=k), settings), hook_point=f"blocks.{layer}.hook_resid_post")
        for layer in range(3)
        for k in (1, 2)
    ]
    passes = together(tasks, n_workers=1)
    assert [[fit.hook_point[7] for fit in fits] for fits in passes] == [["0", "0", "1", "1"], ["2", "2"]]
    assert [len(fits) for fits in together(tasks, n_workers=2)] == [2, 2, 2]
    assert FitTask(passes[0], QUIET).name == "the training of blocks.0.hook_resid_post and 1 more (4 SAEs)"
    assert [len(fits) for fits in together([replace(one, training=SETTINGS) for one in tasks], n_workers=1)] == [
        2,
        2,
        2,
    ]
    elsewhere = [replace(one, seed=one.hook_point.count("1")) for one in tasks]
    assert [len(fits) for fits in together(elsewhere, n_workers=1)] == [4, 2]


def test_a_pass_of_too_many_hook_points_says_how_many_would_fit(run: Path, monkeypatch: pytest.MonkeyPatch):
    class Memory(NamedTuple):
        available: int

    widths = {f"blocks.{layer}.hook_resid_post": 16 for layer in range(4)}
    tasks = [replace(task(run, TopKConfig(expansion_factor=8)), hook_point=point) for point in widths]
    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory(need_bytes(tasks[:3], widths)))
    refuse_too_large(tasks[:3], widths, "cpu")
    with pytest.raises(UserError, match=r"4 SAEs at blocks.0.* need about .* Set training.hook_points_at_once=3\."):
        refuse_too_large(tasks, widths, "cpu")


def test_an_sae_that_diverges_does_not_stop_the_others(run: Path):
    wild = task(run, CONFIGS[1], SETTINGS.model_copy(update={"lr": 1e30}))
    tame = task(run, CONFIGS[1])
    with pytest.raises(UserError, match=r"expected a number\. .* 1 of 2 SAEs at .* failed, the others are done"):
        fit_together([wild, tame], QUIET, nothing)
    assert tame.is_complete
    assert not wild.is_complete


@pytest.mark.parametrize("cfg", CONFIGS[:3], ids=lambda cfg: cfg.architecture)
def test_a_loss_that_runs_away_but_stays_a_number_stops_and_the_last_checkpoint_stays(run: Path, cfg: SAEConfig):
    wild = task(run, cfg, SETTINGS.model_copy(update={"lr": 1000.0, "checkpoint_every_steps": 3}))
    with pytest.raises(
        UserError, match=r"diverges: at step \d+ the explained variance is -.* its last checkpoint stays\."
    ):
        fit(wild, QUIET, nothing)
    assert not wild.is_complete
    assert (wild.folder / "training_state.safetensors").is_file()


def test_an_sae_of_more_tokens_than_the_store_has_does_not_stop_the_others(run: Path):
    once = SETTINGS.model_copy(update={"repeat": False})
    long, short = (task(run, CONFIGS[1], once.model_copy(update={"n_tokens": n})) for n in (10**9, 32 * 20))
    with pytest.raises(UserError, match=r"training.n_tokens is 1,000,000,000, .* 1 of 2 SAEs at .* failed"):
        fit_together([long, short], QUIET, nothing)
    assert short.is_complete


def test_groups_share_a_stream_and_give_every_worker_one(run: Path):
    same = [task(run, TopKConfig(k=k)) for k in range(1, 21)]
    other = task(run, CONFIGS[0], SETTINGS.model_copy(update={"shuffle_tokens": 64}))
    groups = together([*same, other], n_workers=2)
    assert [len(group) for group in groups] == [8, 8, 4, 1]
    assert [len(group) for group in together(same[:4], n_workers=2)] == [2, 2]
    assert [len(group) for group in together(same[:4], n_workers=64)] == [1, 1, 1, 1]


def test_sparse_and_dense_training_differ_by_rounding_only(run: Path):
    for cfg in CONFIGS:
        ends = []
        for kernels in ("dense", "torch"):
            settings = SETTINGS.model_copy(update={"kernels": kernels, "n_tokens": 32 * 20})
            one = task(run, cfg, settings)
            fit(one, QUIET, nothing)
            ends.append(json.loads((one.folder / "metrics.json").read_text()))
        assert ends[0]["is_sparse"] == 0
        assert ends[1]["is_sparse"] == (cfg.architecture in ("topk", "batchtopk", "matryoshka"))
        assert ends[1]["loss"] == pytest.approx(ends[0]["loss"], rel=1e-3)
        assert ends[1]["l0"] == pytest.approx(ends[0]["l0"], rel=1e-2)


def test_an_sae_becomes_sparse_when_its_codes_are(run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trainee, "SPARSE_SHARE", 0.3)
    settings = SETTINGS.model_copy(update={"log_every_steps": 1})
    one = task(run, L1Config(expansion_factor=2, l1_coefficient=2.0), settings)  # begins with half of them active
    fit(one, QUIET, nothing)
    rows = [json.loads(line) for line in (one.folder / "history.jsonl").read_text().splitlines()]
    d_sae = json.loads((one.folder / "cfg.json").read_text())["d_sae"]
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert {row["is_sparse"] for row in rows[:10]} == {0}
    assert {row["is_sparse"] for row in rows[-10:]} == {1}
    for before, after in pairwise(rows):
        assert after["is_sparse"] == (0 < before["codes_per_token"] <= trainee.SPARSE_SHARE * d_sae)


def test_a_checkpoint_of_other_settings_is_refused(run: Path):
    one, other = task(run, CONFIGS[0]), task(run, CONFIGS[0], SETTINGS.model_copy(update={"lr": 1e-4}))
    with pytest.raises(Killed):
        fit(one, QUIET, killer(32 * 30))
    other.folder.mkdir(parents=True)
    shutil.copy(one.folder / "training_state.safetensors", other.folder)
    with pytest.raises(UserError, match=r"is of a training with other settings \(key .*\), expected key"):
        fit(other, QUIET, nothing)


def test_tokens_are_not_repeated_where_that_is_refused(run: Path):
    settings = SETTINGS.model_copy(update={"repeat": False, "n_tokens": 10**9})
    with pytest.raises(UserError, match=r"training.n_tokens is 1,000,000,000, but the store has [\d,]+ rows"):
        fit(task(run, CONFIGS[1], settings), QUIET, nothing)


def test_too_little_memory_is_said_before_the_start(run: Path, monkeypatch: pytest.MonkeyPatch):
    class Memory(NamedTuple):
        available: int

    tasks = [task(run, TopKConfig(expansion_factor=64, k=k)) for k in range(1, 9)]
    some = need_bytes(tasks[:3], Store.open(run / "acts").hook_points)
    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory(some))
    with pytest.raises(
        UserError, match=r"8 SAEs at blocks.1.hook_resid_post need about .* Set training.saes_at_once=3\."
    ):
        fit_together(tasks, QUIET, nothing)
    monkeypatch.setattr(
        "psutil.virtual_memory",
        lambda: Memory(need_bytes([task(run, TopKConfig(expansion_factor=8))], {"blocks.1.hook_resid_post": 16})),
    )
    with pytest.raises(UserError, match=r"Lower expansion_factor to \d+, or training.shuffle_tokens"):
        fit_together(tasks[:1], QUIET, nothing)


def test_workers_that_fit_alone_but_not_together_are_refused(run: Path, monkeypatch: pytest.MonkeyPatch):
    class Memory(NamedTuple):
        available: int

    widths = Store.open(run / "acts").hook_points
    groups = [[task(run, TopKConfig(expansion_factor=8, k=k))] for k in range(1, 5)]
    one = need_bytes(groups[-1], widths)  # the largest k needs a little more than the others
    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory(2 * one + 1))
    refuse_too_many(groups, widths, 2)
    with pytest.raises(UserError, match=r"3 jobs of training at once need about .* Set engine.workers=2, or lower"):
        refuse_too_many(groups, widths, 3)
    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory(one - 1))
    with pytest.raises(UserError, match=r"1 SAEs at blocks.1.hook_resid_post need about .* Lower expansion_factor to"):
        refuse_too_many(groups, widths, 1)


def test_what_a_container_or_a_job_leaves_of_the_machine_is_what_counts(run: Path, monkeypatch: pytest.MonkeyPatch):
    widths = Store.open(run / "acts").hook_points
    groups = [[task(run, TopKConfig(expansion_factor=8, k=k))] for k in (2, 1)]  # the first needs the more
    need = need_bytes(groups[0], widths)
    monkeypatch.setattr("training.memory.available_bytes", lambda: need)
    refuse_too_large(groups[0], widths, "cpu")
    with pytest.raises(UserError, match=r"2 jobs of training at once need about .* Set engine.workers=1, or lower"):
        refuse_too_many(groups, widths, 2)
    monkeypatch.setattr("training.memory.available_bytes", lambda: need - 1)
    with pytest.raises(UserError, match=r"1 SAEs at blocks.1.hook_resid_post need about"):
        refuse_too_large(groups[0], widths, "cpu")


def test_activations_that_are_no_numbers_are_named_by_shard_and_row(run: Path, monkeypatch: pytest.MonkeyPatch):
    norm = ShardReader.norm

    def damaged(self: ShardReader, hook_point: str):
        found = norm(self, hook_point).copy()
        found[5] = float("nan")
        return found

    monkeypatch.setattr(ShardReader, "norm", damaged)
    with pytest.raises(
        UserError, match=r"shard-\d+\.h5 has a value that is no number at blocks.1.hook_resid_post, row 5"
    ):
        fit(task(run, CONFIGS[1]), QUIET, nothing)


def test_a_kill_between_training_and_saving_loses_nothing(run: Path, monkeypatch: pytest.MonkeyPatch):
    cfg = CONFIGS[1]
    with monkeypatch.context() as patch:
        patch.setattr(Trainee, "finish", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            fit(task(run, cfg), QUIET, nothing)
    stepped: list[int] = []
    fit(task(run, cfg), QUIET, stepped.append)
    assert stepped == [32 * 60]  # all of it was done before
    assert task(run, cfg).is_complete


def test_a_complete_fit_does_nothing(run: Path):
    fit(task(run, CONFIGS[0]), QUIET, nothing)
    before = contents(task(run, CONFIGS[0]).folder)
    fit(task(run, CONFIGS[0]), QUIET, lambda _: pytest.fail("it trained again"))
    assert contents(task(run, CONFIGS[0]).folder) == before


def test_the_saved_sae_reconstructs_raw_activations(run: Path):
    cfg = CONFIGS[1]
    fit(task(run, cfg), QUIET, nothing)
    sae = saelens_format.load(task(run, cfg).folder)
    shard = Store.open(run / "acts").shards("train")[0]
    x = shard.acts("blocks.1.hook_resid_post", 0, shard.n_tokens)[torch.from_numpy(~shard.is_special)]
    left = (x - sae(x).reconstruction).square().sum() / (x - x.mean(0)).square().sum()
    assert float(left) < 0.5


def test_every_setting_that_decides_the_result_is_in_its_name(run: Path):
    first = task(run, CONFIGS[1])
    assert first.key != task(run, TopKConfig(expansion_factor=2, k=7)).key
    assert first.key != task(run, CONFIGS[1], SETTINGS.model_copy(update={"lr": 1e-3})).key
    assert first.key != Fit(run, "blocks.2.hook_resid_post", CONFIGS[1], SETTINGS, 0, first.store_id, 1).key
    assert first.sae_id.startswith("topk-x2-k6-")


def test_a_loss_that_is_no_number_stops_with_a_sentence(run: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(self, x, dead, sparsity_weight, engine, average):
        return Losses(torch.tensor(torch.nan), {}, x, dead.long(), 0)

    from sae.base import Losses
    from sae.topk import TopKSAE

    monkeypatch.setattr(TopKSAE, "sparse_losses", broken)
    with pytest.raises(UserError, match=r"is nan at step 1, expected a number. Lower training.lr"):
        fit(task(run, CONFIGS[1]), QUIET, nothing)


def test_a_loss_that_is_no_number_leaves_the_last_checkpoint(run: Path, monkeypatch: pytest.MonkeyPatch):
    from training.trainee import Trainee

    losses = Trainee.losses

    def broken_later(self, x, dead, weight):
        found = losses(self, x, dead, weight)
        return found._replace(total=found.total * torch.nan) if self.progress.step == 14 else found

    monkeypatch.setattr(Trainee, "losses", broken_later)
    with pytest.raises(UserError, match=r"is nan at step 15, expected a number. .* its last checkpoint stays"):
        fit(task(run, CONFIGS[1]), QUIET, nothing)
    monkeypatch.undo()
    fit(task(run, CONFIGS[1]), QUIET, nothing)
    assert task(run, CONFIGS[1]).is_complete


def test_weights_that_are_no_numbers_are_never_written(run: Path, monkeypatch: pytest.MonkeyPatch):
    descend, steps = trainee.descend, [0]

    def breaking(sae, *rest):
        descend(sae, *rest)
        steps[0] += 1
        if steps[0] == 16:
            sae.b_enc.data[3] = (
                torch.nan
            )  # a feature that no sparse step of L1 chooses any more: its loss stays a number

    monkeypatch.setattr(trainee, "descend", breaking)
    settings = SETTINGS.model_copy(update={"kernels": "torch"})
    monkeypatch.setattr(trainee, "is_worth_sparse", lambda *_: True)
    with pytest.raises(
        UserError, match=r"weights of .* \(.*b_enc.*\) are no numbers after step 22, .* last checkpoint stays"
    ):
        fit(task(run, CONFIGS[0], settings), QUIET, nothing)
    monkeypatch.undo()
    fit(task(run, CONFIGS[0], settings), QUIET, nothing)
    assert task(run, CONFIGS[0], settings).is_complete


def test_a_damaged_store_is_named_by_shard_and_row(run: Path, tmp_path: Path):
    import h5py

    shutil.copytree(run / "acts", tmp_path / "acts")
    path = Store.open(tmp_path / "acts").shards("train")[0].path
    with h5py.File(path, "r+") as file:
        dataset = file["acts/blocks.1.hook_resid_post"]
        assert isinstance(dataset, h5py.Dataset)
        dataset[3:60] = torch.nan
    with pytest.raises(
        UserError, match=rf"{path.name} has a value that is no number at .*, row 3, where none was captured"
    ):
        fit(task(tmp_path, CONFIGS[1]), QUIET, nothing)


def test_the_learning_rate_rises_stays_and_falls():
    cfg = TrainingConfig(n_tokens=1000, batch_tokens=10, lr_warmup=0.1, lr_decay=0.2, sparsity_warmup=0.5)
    factors = [lr_factor(step, cfg) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[50] == factors[80] == 1.0
    assert factors[99] == pytest.approx(0.05)
    assert sparsity_weight(24, cfg) == pytest.approx(0.5)
    assert sparsity_weight(60, cfg) == 1.0


@pytest.mark.parametrize("key", ["a" * 40, ""], ids=["no server", "no key"])
def test_wandb_online_without_a_network_is_one_sentence(key: str, tmp_path: Path):
    program = (  # in a process of its own: W&B's service does not get over it
        "from pathlib import Path; from training import tracking; from training.config import TrackingConfig\n"
        "tracking.CONNECT_S = 2.0\n"
        "tracker = tracking.Tracker(Path('history.jsonl'), 0)\n"
        "try: tracker.open_wandb(TrackingConfig(wandb='online'), Path(), 'name', 'group', {})\n"
        "except tracking.UserError as error: print(error)\n"
    )
    nowhere = {"WANDB_API_KEY": key, "WANDB_BASE_URL": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    environment = os.environ | nowhere | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.startswith("W&B could not start in mode 'online' (")
    assert "Check the network and log in, or set tracking.wandb=offline; what is trained is kept" in done.stdout


def test_densities_stand_beside_the_log_row_by_row_also_after_a_kill(run: Path):
    made = task(run, CONFIGS[1])
    with pytest.raises(Killed):
        fit(made, QUIET, killer(32 * 32))
    fit(made, QUIET, nothing)
    rows, densities = (
        [json.loads(line) for line in (made.folder / name).read_text().splitlines()]
        for name in ("history.jsonl", "density.jsonl")
    )
    assert [row["step"] for row in rows] == [row["step"] for row in densities]
    assert len(rows) == 60 // 7 + 1
    assert {sum(row["counts"]) for row in densities} == {64}, "every feature once"


def test_offline_training_leaves_the_writing_of_wandb_files_to_the_end(run: Path):
    fit(task(run, CONFIGS[1]), TrackingConfig(wandb="offline"), nothing)
    assert not (run / "wandb").exists()


def test_saes_trained_together_have_a_live_run_each(run: Path, monkeypatch: pytest.MonkeyPatch):
    runs: list[Any] = []
    started = tracking.started

    def offline(cfg: TrackingConfig, *arguments: Any, **options: Any) -> Any:
        runs.append(started(cfg.model_copy(update={"wandb": "offline"}), *arguments, **options))
        return runs[-1]

    monkeypatch.setattr(tracking, "started", offline)
    fit_together([task(run, CONFIGS[0]), task(run, CONFIGS[1])], TrackingConfig(wandb="online"), nothing)
    assert [one.id for one in runs] == [task(run, cfg).log_name.replace("/", "-") for cfg in CONFIGS[:2]]
    assert wandb.run is None
