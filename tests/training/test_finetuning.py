"""End-to-end fine-tuning: the loss beside plain torch, better answers for every architecture, the same bytes after a pause."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sae_lens import SAE as SAELensSAE

from hooks.config import ModelConfig
from hooks.hook_points import parse
from hooks.model import load
from hooks.store import Store
from sae import artefact, saelens_format
from sae.config import SAEConfig, TopKConfig
from sae.errors import UserError
from tests.tiny import write_tiny_model
from tests.training.test_fit import CONFIGS, QUIET, SETTINGS, nothing, task
from training.config import EvaluationConfig, FinetuningConfig
from training.end_to_end import EndToEnd, Weights, exchange_rate
from training.evaluation import Evaluate
from training.finetuning import COMPARISON_FILE, Finetune, opened, origin_of
from training.fit import fit
from training.text_stream import TextStream

POINT = "blocks.1.hook_resid_post"
SHORT = FinetuningConfig(n_tokens=64 * 24, batch_tokens=64, lr=1e-3, log_every_steps=5, checkpoint_every_steps=7)


@pytest.fixture(scope="module")
def trained(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of its own with an SAE of every architecture."""
    run = tmp_path_factory.mktemp("trained") / "run"
    shutil.copytree(run_folder / "acts", run / "acts")
    for cfg in CONFIGS:
        fit(task(run, cfg), QUIET, nothing)
    return run


def sae_id(run: Path, cfg: SAEConfig) -> str:
    return task(run, cfg).sae_id


def tuning(run: Path, model: Path, cfg: SAEConfig, settings: FinetuningConfig = SHORT) -> Finetune:
    return Finetune(run, POINT, sae_id(run, cfg), ModelConfig(name=str(model)), settings, EvaluationConfig(), 0, 1)


def loss_of(run: Path, model: Path, cfg: SAEConfig) -> EndToEnd:
    folder = run / "saes" / POINT / sae_id(run, cfg)
    origin = origin_of(folder)
    sae = opened(folder, origin).requires_grad_(True)
    return EndToEnd(load(ModelConfig(name=str(model))), parse(POINT), sae, origin["input_scale"], True, None)


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.architecture)
def test_every_architecture_answers_more_like_the_model_afterwards(cfg: SAEConfig, trained: Path, tiny_model: Path):
    made = tuning(trained, tiny_model, cfg)
    made.run(nothing)
    found = artefact.read_json(made.folder / COMPARISON_FILE)
    untouched = found["before"]["kl"]
    if cfg.architecture in ("batchtopk", "matryoshka"):  # their threshold is settled, which brings L0 back to k
        still = tuning(trained, tiny_model, cfg, SHORT.model_copy(update={"lr": 1e-12}))
        still.run(nothing)
        untouched = artefact.read_json(still.folder / COMPARISON_FILE)["after"]["kl"]
        assert abs(found["after"]["l0"] - cfg.k) < abs(found["before"]["l0"] - cfg.k)  # type: ignore[union-attr]
    assert found["after"]["kl"] < untouched
    assert found["change"]["kl"] == found["after"]["kl"] - found["before"]["kl"]
    origin = artefact.read_json(made.folder / "origin.json")
    assert origin["end_to_end"]["from"] == made.sae_id
    assert origin["sae"]["architecture"] == cfg.architecture
    ours, theirs = saelens_format.load(made.folder), SAELensSAE.load_from_disk(made.folder)
    x = torch.randn(40, ours.d_in) * 3
    assert (ours(x).reconstruction - theirs(x)).abs().max() <= 1e-4
    norms = ours.W_dec.norm(dim=1)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-5)


def test_the_old_one_stays_and_the_comparison_is_the_evaluations(trained: Path, tiny_model: Path):
    cfg = TopKConfig(expansion_factor=2, k=6)
    before = {path.name: path.read_bytes() for path in (trained / "saes" / POINT / sae_id(trained, cfg)).iterdir()}
    made = tuning(trained, tiny_model, cfg, SHORT.model_copy(update={"n_tokens": 128}))
    made.run(nothing)
    after = {path.name: path.read_bytes() for path in made.source.iterdir()}
    assert {name: data for name, data in after.items() if name in before} == before
    found = artefact.read_json(made.folder / COMPARISON_FILE)
    anew = tuning(trained, tiny_model, cfg).source / "evaluation.json"
    assert found["before"]["ce_loss_score"] == artefact.read_json(anew)["splice"]["ce_loss_score"]


def test_the_loss_and_its_gradient_equal_plain_torch(trained: Path, tiny_model: Path):
    loss = loss_of(trained, tiny_model, TopKConfig(expansion_factor=2, k=6))
    batch = next(TextStream(Store.open(trained / "acts"), loss.lm, 128, 0).batches())
    dead = torch.zeros(loss.sae.d_sae, dtype=torch.bool)
    found = loss(batch, dead, Weights(0.5, 0.0, 2.0))
    (ours,) = torch.autograd.grad(found.total, [loss.sae.W_dec])

    model, sae, scale = loss.lm.model, loss.sae, loss.input_scale
    scored = batch.is_row & ~batch.is_special
    kept: list[torch.Tensor] = []

    def hook(_module: object, _args: object, output: torch.Tensor) -> torch.Tensor:
        rows = output * scale
        reconstruction = sae.decode(sae.encode(rows))
        kept.append((rows - reconstruction)[scored].square().sum(-1).mean())
        kept.append((rows[scored] - rows[scored].mean(0)).square().sum(-1).mean())
        return torch.where(scored[..., None], reconstruction / scale, output)

    clean = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    handle = model.model.layers[1].register_forward_hook(hook)
    spliced = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    handle.remove()
    kl = torch.nn.functional.kl_div(
        spliced[scored].log_softmax(-1), clean[scored].log_softmax(-1), log_target=True, reduction="batchmean"
    )
    total = kl + 2.0 * 0.5 * sae.d_in * kept[0] / kept[1]
    (theirs,) = torch.autograd.grad(total, [sae.W_dec])
    assert float(found.kl.detach()) == pytest.approx(float(kl.detach()), rel=1e-5)
    assert float(found.total.detach()) == pytest.approx(float(total.detach()), rel=1e-5)
    assert torch.allclose(ours, theirs, atol=1e-6 * float(theirs.abs().max()) + 1e-8)


def test_a_saved_autoencoder_is_opened_in_the_scale_it_was_trained_in(trained: Path, tiny_model: Path):
    for cfg in CONFIGS:
        loss = loss_of(trained, tiny_model, cfg)
        plain = saelens_format.load(trained / "saes" / POINT / sae_id(trained, cfg))
        x = torch.randn(30, 32)
        with torch.no_grad():
            scaled = loss.sae(x * loss.input_scale).reconstruction / loss.input_scale
        assert torch.allclose(scaled, plain(x).reconstruction, atol=1e-4)


def test_the_exchange_rate_is_the_ratio_of_the_two_losses(trained: Path, tiny_model: Path):
    loss = loss_of(trained, tiny_model, TopKConfig(expansion_factor=2, k=6))
    batch = next(TextStream(Store.open(trained / "acts"), loss.lm, 128, 0).batches())
    found = loss(batch, torch.zeros(64, dtype=torch.bool), Weights(1.0, 0.0, 1.0))
    assert exchange_rate(loss, [batch]) == pytest.approx(
        float(found.kl.detach()) / float(found.terms["mse"].detach()), rel=1e-5
    )


@pytest.mark.parametrize("cfg", CONFIGS[1:3], ids=lambda cfg: cfg.architecture)
def test_a_paused_one_ends_in_the_same_bytes(cfg: SAEConfig, trained: Path, tiny_model: Path, tmp_path: Path):
    settings = SHORT.model_copy(update={"lr": 2e-3})
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        shutil.copytree(trained, folder)
    tuning(whole, tiny_model, cfg, settings).run(nothing)
    paused = tuning(parts, tiny_model, cfg, settings)
    replace(paused, until_step=10).run(nothing)
    assert not paused.is_complete
    paused.run(nothing)
    names = ("sae_weights.safetensors", "cfg.json", "origin.json", "metrics.json", "history.jsonl", COMPARISON_FILE)
    for name in names:
        same = tuning(whole, tiny_model, cfg, settings).folder / name
        assert (paused.folder / name).read_bytes() == same.read_bytes()


def test_a_finished_one_is_passed_over(trained: Path, tiny_model: Path):
    made = tuning(trained, tiny_model, TopKConfig(expansion_factor=2, k=6))
    made.run(nothing)
    before = {path.name: path.stat().st_mtime_ns for path in made.folder.iterdir()}
    made.run(nothing)
    assert {path.name: path.stat().st_mtime_ns for path in made.folder.iterdir()} == before


def test_batches_from_a_number_on_are_those_of_the_whole_stream(trained: Path, tiny_model: Path):
    lm = load(ModelConfig(name=str(tiny_model)))
    stream = TextStream(Store.open(trained / "acts"), lm, 64, 3)
    whole = stream.batches()
    first = [next(whole) for _ in range(30)]  # more than one round
    later = stream.batches(25)
    for batch in first[25:]:
        assert torch.equal(next(later).input_ids, batch.input_ids)
    assert any(not torch.equal(a.input_ids, b.input_ids) for a, b in zip(first[:9], first[10:], strict=False))


def test_another_model_than_the_captured_one_is_refused(trained: Path, tmp_path: Path):
    other = write_tiny_model(tmp_path / "other", "qwen2", seed=5)
    with pytest.raises(UserError, match=r"expected the same\. Give the run the model it was captured from"):
        tuning(trained, other, TopKConfig(expansion_factor=2, k=6), SHORT.model_copy(update={"lr": 3e-3})).run(nothing)


def test_an_encoder_has_no_answers_to_train_on(trained: Path, tmp_path: Path):
    encoder = write_tiny_model(tmp_path / "encoder", "bert")
    with pytest.raises(UserError, match="expected a decoder"):
        tuning(trained, encoder, TopKConfig(expansion_factor=2, k=6), SHORT.model_copy(update={"lr": 4e-3})).run(
            nothing
        )


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(trained: Path, tiny_model: Path):
    made = tuning(trained, tiny_model, TopKConfig(expansion_factor=2, k=6), SHORT.model_copy(update={"lr": 1e30}))
    with pytest.raises(UserError, match=r"expected a number\. Lower finetuning\.lr"):
        made.run(nothing)
    assert not made.is_complete


def test_what_was_evaluated_before_can_still_be_differentiated_through(trained: Path, tiny_model: Path):
    load.cache_clear()
    ids = (sae_id(trained, CONFIGS[0]),)
    fresh = EvaluationConfig(splice_tokens=99)
    Evaluate(trained, POINT, ids, ModelConfig(name=str(tiny_model)), fresh, SETTINGS.exclude_special_tokens).run(
        nothing
    )
    made = tuning(trained, tiny_model, CONFIGS[0], SHORT.model_copy(update={"n_tokens": 64}))
    made.run(nothing)
    assert made.is_complete
