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
from sae.config import TopKConfig
from training.config import EvaluationConfig, TrackingConfig, TrainingConfig
from training.evaluation import Evaluate, Reconstruction, held_out_batches, rows
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

    def losses(self, x, dead, sparsity_weight, average=whole):
        raise AssertionError("not trained")

    def sparse_losses(self, x, dead, sparsity_weight, engine, average=whole):
        raise AssertionError("not trained")


def figures_of(x: torch.Tensor, sae: SAE, parts: int = 1) -> dict[str, float]:
    sums = Reconstruction(sae.d_in, sae.d_sae)
    with torch.inference_mode():
        for part in x.chunk(parts):
            sums.add(part, sae)
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
    splice = Splice(lm, parse(POINT), {"perfect": perfect}, exclude_special=True)
    with torch.inference_mode():
        for batch in held_out_batches(store, lm, 200):
            splice.add(batch)
    found = splice.figures("perfect")
    assert found["ce_loss_score"] == pytest.approx(1.0, abs=0.01)
    assert found["kl"] == pytest.approx(0.0, abs=1e-4)


def test_rows_left_out_of_training_for_their_norm_are_left_out_of_evaluation(store: Store):
    every = torch.cat(list(rows(store, POINT, "held_out", 10**9, True)))
    limit = float(every.norm(dim=1).median())
    kept = torch.cat(list(rows(store, POINT, "held_out", 10**9, True, limit)))
    assert 0 < len(kept) < len(every)
    assert float(kept.norm(dim=1).max()) <= limit * (1 + 1e-3)
    edit = replacement(Halver(32), torch.ones(1, len(every), dtype=torch.bool), limit)
    changed = (edit(every[None])[0] != every).any(dim=1)
    assert changed.tolist() == (every.norm(dim=1) <= limit).tolist()


def test_cross_entropy_is_that_of_the_plain_model(trained: tuple[Fit, ModelConfig], store: Store):
    lm = load(trained[1])
    splice = Splice(lm, parse(POINT), {"any": Halver(32)}, exclude_special=True)
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
    ]
    for number, (a, b) in enumerate(pairs):
        # both see the same windows; theirs come from float32 activations, ours from the float16 store
        assert math.isclose(a, b, rel_tol=5e-3, abs_tol=2e-3), (number, a, b)


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
