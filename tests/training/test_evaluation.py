"""Figures worked by hand, and beside sae-lens' own on the same tokens."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hooks.config import ModelConfig
from hooks.hook_points import parse
from hooks.model import load
from hooks.store import Store
from sae import artefact
from sae.base import SAE, whole
from sae.build import build
from sae.config import L1Config, SAEConfig, TopKConfig
from sae.errors import UserError
from sae.sparse.engine import SparseEngine
from sae.sparse.kernels import choose
from training import evaluation
from training.config import EvaluationConfig, TrackingConfig, TrainingConfig
from training.evaluation import Evaluate, Passes, Reconstruction, held_out_batches, mean_of, rows
from training.fit import fit
from training.spec import Fit
from training.splice import Splice, replacement

POINT = "blocks.1.hook_resid_post"


class Halver(SAE):
    """Reconstructs half of its positive inputs: easy to work out by hand."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width)
        with torch.no_grad():
            self.W_enc.copy_(torch.eye(width))
            self.W_dec.copy_(torch.eye(width) / 2)

    def activate(self, pre_acts):
        return torch.relu(pre_acts)

    def codes(self, x, engine):
        return engine.above(x, self.encoder, torch.zeros(self.d_sae))

    def losses(self, x, dead, sparsity_weight, average=whole):
        raise AssertionError("not trained")

    def sparse_losses(self, x, dead, sparsity_weight, engine, average=whole):
        raise AssertionError("not trained")


def figures_of(x: torch.Tensor, sae: SAE, parts: int = 1) -> dict[str, float]:
    sums, passes = Reconstruction(mean_of(x.chunk(parts)), sae.d_sae), Passes(sae, SparseEngine(choose("auto")))
    with torch.inference_mode():
        for part in x.chunk(parts):
            sums.add(part, passes(part))
    return sums.figures()


def test_reconstruction_figures_equal_those_worked_by_hand():
    found = figures_of(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), Halver(2))
    # errors 1 and 4; mean (1, 2); squared distances from it 5 and 5
    assert found["mse"] == pytest.approx(2.5)
    assert found["explained_variance"] == pytest.approx(1 - 5 / 10)
    assert found["l0"] == 1.0
    assert found["cosine"] == pytest.approx(1.0)
    assert found["norm_ratio"] == pytest.approx(0.5)
    assert found["dead_fraction"] == 0.0
    assert found["legacy_explained_variance"] == pytest.approx(((1 - 1 / 5) + (1 - 4 / 5)) / 2)
    # ‖x̂‖²: 1 and 4; x·x̂: 2 and 8
    assert found["relative_reconstruction_bias"] == pytest.approx(5 / 10)
    assert found["dense_fraction"] == 1.0


@given(st.floats(-1000, 1000), st.floats(0.01, 100), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_explained_variance_is_right_for_a_large_mean_any_scale_and_any_batching(mean: float, scale: float, parts: int):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, generator=generator) * scale + mean
    sae = build(TopKConfig(expansion_factor=2, k=3), 4)
    sae.initialise(x, generator, 1.0)
    with torch.no_grad():
        x64, x_hat = x.double(), sae(x).reconstruction.double()
    expected = 1 - float((x64 - x_hat).square().sum() / (x64 - x64.mean(0)).square().sum())
    assert figures_of(x, sae, parts)["explained_variance"] == pytest.approx(expected, abs=1e-3)


def test_the_two_explained_variances_differ_where_rows_near_the_mean_are_badly_met():
    x = torch.tensor([[0.0, 9.0], [0.0, -9.0], [1.0, 0.0], [-1.0, 0.0]])
    identity = Halver(2)
    with torch.no_grad():
        identity.W_dec.copy_(torch.eye(2))
    found = figures_of(x, identity)
    # a ReLU without bias loses what is negative: errors 0, 81, 0, 1; squared distances from the mean 0: 81, 81, 1, 1
    assert found["explained_variance"] == pytest.approx(1 - 82 / 164)
    assert found["legacy_explained_variance"] == pytest.approx((1 + 0 + 1 + 0) / 4)
    with torch.no_grad():
        identity.W_enc[0, 0] = 0.0  # the small direction is lost as well: errors 0, 81, 1, 1
    found = figures_of(x, identity)
    assert found["explained_variance"] == pytest.approx(1 - 83 / 164)
    assert found["legacy_explained_variance"] == pytest.approx((1 + 0 + 0 + 0) / 4)


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["dense", "sparse"])
@pytest.mark.parametrize("cfg", [TopKConfig(expansion_factor=4, k=3), L1Config(expansion_factor=4)], ids=["topk", "l1"])
def test_sparse_passes_see_what_dense_ones_do(cfg: SAEConfig, share: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(evaluation, "SPARSE_SHARE", share)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 8, generator=generator)
    sae = build(cfg, 8)
    sae.initialise(x, generator, 1.0)
    passes = Passes(sae, SparseEngine(choose("torch")))
    with torch.inference_mode():
        for part in x.split(20):
            found, expected = passes(part), sae(part)
            assert torch.equal(found.fired, (expected.feature_acts > 0).sum(dim=0))
            torch.testing.assert_close(found.reconstruction, expected.reconstruction)
            assert passes.is_sparse == bool(share)


def test_a_row_at_the_mean_has_no_share_of_its_own():
    found = figures_of(torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 0.0]]), Halver(2))
    # errors .25, 2.25, 1; squared distances 1, 1, 0
    assert found["legacy_explained_variance"] == pytest.approx((0.75 - 1.25) / 2)
    assert found["explained_variance"] == pytest.approx(1 - 3.5 / 2)


UNMOVED = {"l0", "explained_variance", "fvu", "legacy_explained_variance", "mse", "dead_fraction", "dense_fraction"}
UNSCALED = {
    "l0", "explained_variance", "fvu", "legacy_explained_variance", "cosine", "norm_ratio", "relative_reconstruction_bias",
    "dead_fraction", "dense_fraction",
}  # fmt: skip


@pytest.mark.parametrize("cfg", [TopKConfig(expansion_factor=2, k=3), L1Config(expansion_factor=2)], ids=["topk", "l1"])
@pytest.mark.parametrize(("offset", "scale"), [(0.0, 64.0), (0.0, 1 / 64), (100.0, 1.0), (-4.0, 0.25)])
def test_figures_stay_the_same_where_activations_and_sae_move_or_are_scaled_together(
    cfg: SAEConfig, offset: float, scale: float
):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(300, 6, generator=generator) + 0.5
    sae = build(cfg, 6)
    sae.initialise(x, generator, 1.0)
    before = figures_of(x, sae)
    with torch.no_grad():
        sae.b_dec.mul_(scale).add_(offset)
        sae.b_enc.mul_(scale)  # features grow with x
    after = figures_of(x * scale + offset, sae)
    assert after["mse"] == pytest.approx(before["mse"] * scale**2, rel=1e-3)
    for name in (UNMOVED if offset else UNSCALED) - {"mse"}:
        assert after[name] == pytest.approx(before[name], rel=1e-3), name
    if offset == 100:
        assert after["cosine"] > 0.999, "and that is why a cosine says little of activations with a large mean"


def test_dense_features_fire_on_more_than_a_tenth_of_the_rows():
    x = torch.full((20, 3), -1.0)
    x[:2, 0] = 1.0  # a tenth: not dense
    x[:3, 1] = 1.0
    found = figures_of(x, Halver(3))
    assert found["dense_fraction"] == pytest.approx(1 / 3)
    assert found["dead_fraction"] == pytest.approx(1 / 3)


def test_a_feature_that_never_fires_is_dead():
    assert figures_of(torch.tensor([[1.0, -1.0], [2.0, -2.0]]), Halver(2))["dead_fraction"] == 0.5


@pytest.fixture(scope="module")
def trained(run_folder: Path, tiny_model: Path) -> tuple[Fit, ModelConfig]:
    settings = TrainingConfig(n_tokens=32 * 80, batch_tokens=32, lr=5e-3)
    task = Fit(
        run_folder, POINT, TopKConfig(expansion_factor=2, k=8), settings, 0, Store.open(run_folder / "acts").id, 1
    )
    fit(task, TrackingConfig(wandb="disabled"), lambda _: None)
    return task, ModelConfig(name=str(tiny_model))


def test_a_perfect_reconstruction_loses_nothing(trained: tuple[Fit, ModelConfig], store: Store):
    lm = load(trained[1])
    perfect = Halver(32)
    with torch.no_grad():
        perfect.W_enc.copy_(torch.eye(32))
        perfect.W_dec.copy_(torch.eye(32))
        perfect.b_dec.fill_(-1e4)  # (x + 10⁴) − 10⁴ through a ReLU that never closes
    splice = Splice(lm, parse(POINT), {"perfect": perfect}, torch.zeros(32), exclude_special=True)
    with torch.inference_mode():
        for batch in held_out_batches(store, lm, 200):
            splice.add(batch)
    found = splice.figures("perfect")
    assert found["ce_loss_score"] == pytest.approx(1.0, abs=0.01)
    assert found["kl"] == pytest.approx(0.0, abs=1e-4)


def test_mean_ablation_is_the_splice_of_an_sae_that_knows_only_the_mean(trained: tuple[Fit, ModelConfig], store: Store):
    lm = load(trained[1])
    mean = mean_of(rows(store, POINT, "held_out", 10**9, True))
    limit = float(torch.cat(list(rows(store, POINT, "held_out", 10**9, True))).norm(dim=1).quantile(0.9))
    constant = Halver(32)
    with torch.no_grad():
        constant.W_enc.zero_()
        constant.b_dec.copy_(mean)
    splice = Splice(lm, parse(POINT), {"constant": constant}, mean.float(), True, limit)
    with torch.inference_mode():
        for batch in held_out_batches(store, lm, 10_000):
            splice.add(batch)
    found = splice.figures("constant")
    assert found["ce_mean"] == pytest.approx(found["ce_spliced"], rel=1e-6)
    assert found["kl_mean"] == pytest.approx(found["kl"], rel=1e-6)
    assert found["kl_zero"] > found["kl_mean"] > 0


def test_the_mean_of_the_rows_is_that_of_all_of_them(store: Store):
    every = torch.cat(list(rows(store, POINT, "held_out", 10**9, True)))
    assert torch.allclose(mean_of(every.split(7)), every.double().mean(dim=0))
    with pytest.raises(UserError, match="no row to measure at, expected some"):
        mean_of([])


def test_rows_left_out_of_training_for_their_norm_are_left_out_of_evaluation(store: Store):
    every = torch.cat(list(rows(store, POINT, "held_out", 10**9, True)))
    limit = float(every.norm(dim=1).median())
    kept = torch.cat(list(rows(store, POINT, "held_out", 10**9, True, limit)))
    assert 0 < len(kept) < len(every)
    assert float(kept.norm(dim=1).max()) <= limit * (1 + 1e-3)
    edit = replacement(lambda value: value / 2, torch.ones(1, len(every), dtype=torch.bool), limit)
    changed = (edit(every[None])[0] != every).any(dim=1)
    assert changed.tolist() == (every.norm(dim=1) <= limit).tolist()


def test_cross_entropy_is_that_of_the_plain_model(trained: tuple[Fit, ModelConfig], store: Store):
    lm = load(trained[1])
    splice = Splice(lm, parse(POINT), {"any": Halver(32)}, torch.zeros(32), exclude_special=True)
    total, n = 0.0, 0
    with torch.inference_mode():
        for batch in held_out_batches(store, lm, 10_000):
            splice.add(batch)
            for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True):
                ids = ids[: int(mask.sum())][None]  # noqa: PLW2901
                logits = lm.model(input_ids=ids).logits
                loss = torch.nn.functional.cross_entropy(logits[0, 1:-1], ids[0, 2:], reduction="sum")
                total, n = total + float(loss), n + ids.shape[1] - 2  # BOS is no scored position
    assert splice.figures("any")["n_tokens"] == n
    assert splice.figures("any")["ce_clean"] == pytest.approx(total / n, rel=1e-5)


def test_figures_agree_with_sae_lens_run_evals(trained: tuple[Fit, ModelConfig], store: Store, tmp_path: Path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, theirs = evaluated(trained), sae_lens_evals(trained, store)
    ours, splice = found["reconstruction"], found["splice"]
    pairs = [
        (splice["ce_clean"], theirs["model_performance_preservation"]["ce_loss_without_sae"]),
        (splice["ce_spliced"], theirs["model_performance_preservation"]["ce_loss_with_sae"]),
        (splice["ce_zero"], theirs["model_performance_preservation"]["ce_loss_with_ablation"]),
        (splice["ce_loss_score"], theirs["model_performance_preservation"]["ce_loss_score"]),
        (splice["kl"], theirs["model_behavior_preservation"]["kl_div_with_sae"]),
        (ours["l0"], theirs["sparsity"]["l0"]),
        (ours["explained_variance"], theirs["reconstruction_quality"]["explained_variance"]),
        (ours["mse"], theirs["reconstruction_quality"]["mse"]),
        (ours["cosine"], theirs["reconstruction_quality"]["cossim"]),
        (ours["legacy_explained_variance"], theirs["reconstruction_quality"]["explained_variance_legacy"]),
        (ours["norm_ratio"], theirs["shrinkage"]["l2_ratio"]),
        (ours["relative_reconstruction_bias"], theirs["shrinkage"]["relative_reconstruction_bias"]),
    ]
    for number, (a, b) in enumerate(pairs):
        # both see the same windows; theirs come from float32 activations, ours from the float16 store
        assert math.isclose(a, b, rel_tol=5e-3, abs_tol=2e-3), (number, a, b)


def test_the_histogram_counts_every_feature_once(trained: tuple[Fit, ModelConfig]):
    found = evaluated(trained)
    histogram = found["density_histogram"]
    assert sum(histogram["counts"]) == len(found["density"]) == 64
    assert (histogram["log10_edges"][0], histogram["log10_edges"][-1]) == (-8.0, 0.0)
    dense = sum(density >= 0.1 for density in found["density"])
    assert sum(histogram["counts"][28:]) == dense, "four bins a decade: a tenth and more fill the last four"
    above = sum(density > 0.1 for density in found["density"])
    assert found["reconstruction"]["dense_fraction"] == pytest.approx(above / 64)


def evaluated(trained: tuple[Fit, ModelConfig]) -> dict:
    task, model = trained
    Evaluate(task.run, POINT, (task.sae_id,), model, EvaluationConfig(), True).run(lambda _: None)
    return artefact.read_json(task.folder / "evaluation.json")


def sae_lens_evals(trained: tuple[Fit, ModelConfig], store: Store) -> dict:
    from sae_lens import SAE as SAELensSAE
    from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge
    from sae_lens.evals import get_eval_everything_config, run_evals
    from sae_lens.training.activation_scaler import ActivationScaler

    task, model = trained
    sae = SAELensSAE.load_from_disk(task.folder)
    sae.cfg.metadata.hook_name = "blocks.1.hook_out"  # the bridge's run_with_hooks passes over its own older names
    bridge = SAETransformerBridge.boot_transformers(str(load(model).folder), device="cpu")
    windows = [
        ids[: int(mask.sum())]
        for batch in held_out_batches(store, load(model), 10**9)
        for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
    ]
    length = min(len(ids) for ids in windows)
    assert length == max(len(ids) for ids in windows), "one length, so that theirs needs no padding"

    class Tokens:
        """The part of sae-lens' activation store that run_evals asks for."""

        context_size = length

        def reset_input_dataset(self) -> None: ...

        def get_batch_tokens(self, batch_size: int | None = None) -> torch.Tensor:
            return torch.stack(windows)

    config = get_eval_everything_config(
        batch_size_prompts=len(windows), n_eval_reconstruction_batches=1, n_eval_sparsity_variance_batches=1
    )
    found, _ = run_evals(sae, Tokens(), bridge, ActivationScaler(), config, exclude_special_tokens=[1, 2, 3])  # type: ignore[arg-type]
    return found
