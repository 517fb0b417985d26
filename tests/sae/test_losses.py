"""Losses worked by hand, gradients against numerical and other implementations."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.base import squared_error, variance
from sae.build import build
from sae.config import JumpReLUConfig, L1Config, SAEConfig, TopKConfig
from sae.errors import UserError
from sae.jumprelu import JumpAndCount
from sae.topk import TopKSAE, auxiliary_loss, keep_top

CONFIGS: list[SAEConfig] = [
    L1Config(expansion_factor=4),
    TopKConfig(expansion_factor=4, k=3),
    JumpReLUConfig(expansion_factor=4, target_l0=3),
]
NONE_DEAD = torch.zeros(32, dtype=torch.bool)


def fresh(cfg: SAEConfig, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 8, generator=generator) + 2
    sae = build(cfg, 8)
    sae.initialise(x, generator, 0.5)
    return sae, x


def test_l1_loss_equals_the_sum_worked_by_hand():
    sae = build(L1Config(expansion_factor=1, l1_coefficient=0.5), 2)
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(2))
        sae.W_dec.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    losses = sae.losses(torch.tensor([[1.0, -3.0]]), torch.zeros(2, dtype=torch.bool), 1.0)
    # f = (1, 0); x̂ = (2, 0); error (1−2)² + (−3)² = 10; penalty 0.5 · 1 · ‖(2, 0)‖ = 1
    assert losses.terms["mse"].item() == pytest.approx(10)
    assert losses.terms["l1"].item() == pytest.approx(1)
    assert losses.total.item() == pytest.approx(11)


def test_l1_penalty_does_not_change_when_features_shrink_and_decoder_rows_grow():
    sae, x = fresh(L1Config(expansion_factor=4))
    before = sae.losses(x, NONE_DEAD, 1.0)
    with torch.no_grad():
        sae.W_enc *= 0.1
        sae.b_enc *= 0.1
        sae.W_dec *= 10
    after = sae.losses(x, NONE_DEAD, 1.0)
    assert after.total.item() == pytest.approx(before.total.item(), rel=1e-5)


def test_topk_loss_is_the_share_of_variance_left_times_the_width():
    sae, x = fresh(TopKConfig(expansion_factor=4, k=3))
    losses = sae.losses(x, NONE_DEAD, 1.0)
    x_hat = losses.reconstruction
    expected = 8 * ((x - x_hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert losses.terms["mse"].item() == pytest.approx(expected.item(), rel=1e-5)


@given(st.integers(1, 32), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_keeps_exactly_k_features(k: int, seed: int):
    pre_acts = torch.rand(5, 32, generator=torch.Generator().manual_seed(seed)) + 0.1
    kept = keep_top(pre_acts, k)
    assert (kept > 0).sum(dim=1).tolist() == [k] * 5
    smallest_kept = torch.where(kept > 0, kept, torch.inf).min(dim=1).values
    largest_left = torch.where(kept > 0, -torch.inf, pre_acts).max(dim=1).values
    assert (smallest_kept >= largest_left).all()


def test_auxk_reaches_encoder_and_decoder_of_dead_features_and_no_other():
    sae, x = fresh(TopKConfig(expansion_factor=4, k=3))
    assert isinstance(sae, TopKSAE)
    dead = torch.zeros(32, dtype=torch.bool)
    dead[:10] = True
    error = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        sae.b_enc[:10] = 5.0
    auxiliary_loss(sae, x, error, dead, sae.aux_k).backward()
    assert sae.W_enc.grad is not None
    assert sae.W_dec.grad is not None
    assert sae.W_enc.grad[:, dead].abs().sum() > 0
    assert sae.W_dec.grad[dead].abs().sum() > 0
    assert sae.W_enc.grad[:, ~dead].abs().sum() == 0
    assert sae.W_dec.grad[~dead].abs().sum() == 0


def test_auxk_vanishes_without_dead_features():
    sae, x = fresh(TopKConfig(expansion_factor=4, k=3))
    assert sae.losses(x, NONE_DEAD, 1.0).terms["auxk"].item() == 0


def test_auxk_by_hand_is_the_normalised_error_of_the_strongest_dead_features():
    sae = TopKSAE(TopKConfig(expansion_factor=2, k=1, aux_k=1), 2, 4)
    with torch.no_grad():
        sae.W_dec.copy_(torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]]))
        sae.W_enc.copy_(sae.W_dec.T)
    error = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    x = torch.tensor([[0.5, 0.1], [0.2, -1.0]])
    dead = torch.tensor([False, False, True, True])
    # ê = (0.5, 0) and (0.2, 0); squared errors 0.25 and 1.44, mean 0.845; variance of the errors 1, width 2
    assert auxiliary_loss(sae, x, error, dead, sae.aux_k).item() == pytest.approx(2 * 0.845)


def test_jumprelu_gradients_follow_the_papers_estimator():
    pre_acts = torch.tensor([[0.95, 1.2, 3.0], [1.04, 0.2, 2.0]], requires_grad=True)
    threshold = torch.tensor([1.0, 1.0, 1.0], requires_grad=True)
    bandwidth = 0.5
    acts, l0 = JumpAndCount.apply(pre_acts, threshold.expand_as(pre_acts), bandwidth)  # pyright: ignore
    grad_acts = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    ((acts * grad_acts).sum() + 7 * l0 / 2).backward()  # the mean over two tokens
    assert acts.tolist() == [[0.0, pytest.approx(1.2), 3.0], [pytest.approx(1.04), 0.0, 2.0]]
    assert l0.item() == 4.0
    # equations 11 and 12: within ε/2 = .25 of θ are (0,0), (1,0) and (0,1)
    expected = [-(1 / 0.5) * (1 + 4) - 7 / 0.5 * 2 / 2, -(1 / 0.5) * 2 - 7 / 0.5 * 1 / 2, 0.0]
    assert threshold.grad is not None
    assert threshold.grad.tolist() == pytest.approx(expected)
    assert pre_acts.grad is not None
    assert pre_acts.grad.tolist() == [[0, 2, 3], [4, 0, 6]]


def test_jumprelu_threshold_gradient_equals_sae_lens():
    from sae_lens.saes.jumprelu_sae import JumpReLU, Step

    generator = torch.Generator().manual_seed(0)
    pre_acts, weights = torch.randn(50, 6, generator=generator), torch.randn(50, 6, generator=generator)
    ours, theirs = (torch.full((6,), 0.3, requires_grad=True) for _ in range(2))
    acts, l0 = JumpAndCount.apply(pre_acts, ours.expand_as(pre_acts), 0.2)  # pyright: ignore
    ((acts * weights).sum() + l0 / 50).backward()
    their_acts, step = JumpReLU.apply(pre_acts, theirs, 0.2, False), Step.apply(pre_acts, theirs, 0.2, False)  # pyright: ignore
    ((their_acts * weights).sum() + step.sum(dim=-1).mean()).backward()  # pyright: ignore
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-5)


def test_jumprelu_penalty_vanishes_at_its_target():
    sae, x = fresh(JumpReLUConfig(expansion_factor=4, target_l0=3))
    l0 = (sae.encode(x) > 0).float().sum(1).mean().item()
    at_target = build(JumpReLUConfig(expansion_factor=4, target_l0=l0), 8)
    at_target.load_state_dict(sae.state_dict())
    assert at_target.losses(x, NONE_DEAD, 1.0).terms["l0_penalty"].item() == pytest.approx(0, abs=1e-6)


def test_jumprelu_starts_at_its_target():
    cfg = JumpReLUConfig(expansion_factor=4, target_l0=3, initial_threshold=1e-6)
    sae, x = fresh(cfg)
    assert (sae.encode(x) > 0).float().sum(1).mean().item() == pytest.approx(3, abs=0.6)


def test_dead_jumprelu_features_are_pulled_towards_their_thresholds():
    sae, x = fresh(JumpReLUConfig(expansion_factor=4, target_l0=3))
    with torch.no_grad():
        sae.b_enc[:5] = -50.0
    dead = torch.zeros(32, dtype=torch.bool)
    dead[:5] = True
    losses = sae.losses(x, dead, 1.0)
    losses.total.backward()
    assert sae.b_enc.grad is not None
    assert (sae.b_enc.grad[:5] < 0).all()  # a step against the gradient raises them


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg.architecture)
def test_a_folded_sae_reconstructs_raw_inputs_as_the_trained_one_did_scaled_ones(cfg: SAEConfig):
    sae, x = fresh(cfg)
    with torch.no_grad():
        if not sae.decoder_has_unit_norm:
            sae.W_dec *= torch.linspace(0.5, 2, 32)[:, None]
        sae.b_enc += 0.1
        before = sae(x)
        scale = 0.37
        sae.fold(scale)
        after = sae(x / scale)
    assert torch.equal(before.feature_acts > 0, after.feature_acts > 0)
    assert torch.allclose(before.reconstruction / scale, after.reconstruction, rtol=1e-4, atol=1e-4)
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(32), atol=1e-5)


@pytest.mark.parametrize("cfg", CONFIGS[1:], ids=lambda cfg: cfg.architecture)
def test_a_step_keeps_decoder_rows_at_norm_one(cfg: SAEConfig):
    sae, x = fresh(cfg)
    optimiser = torch.optim.Adam(sae.parameters(), lr=0.1)
    sae.losses(x, NONE_DEAD, 1.0).total.backward()
    sae.project_gradients()
    assert sae.W_dec.grad is not None
    assert (sae.W_dec.grad * sae.W_dec).sum(1).abs().max() < 1e-5
    optimiser.step()
    sae.constrain()
    assert torch.allclose(sae.W_dec.norm(dim=1), torch.ones(32), atol=1e-6)


def test_topk_loss_equals_sae_lens_on_copied_weights():
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    sae, x = fresh(TopKConfig(expansion_factor=4, k=3))
    theirs = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=8, d_sae=32, k=3, rescale_acts_by_decoder_norm=False))
    theirs.load_state_dict(sae.state_dict())
    acts, _ = theirs.encode_with_hidden_pre(x)
    their_mse = (theirs.decode(acts) - x).square().sum(-1).mean()
    ours = sae.losses(x, NONE_DEAD, 1.0)
    assert (ours.terms["mse"] * variance(x) / 8).item() == pytest.approx(their_mse.item(), rel=1e-5)


def test_k_larger_than_the_sae_is_refused_in_one_sentence():
    with pytest.raises(UserError) as error:
        build(TopKConfig(expansion_factor=2, k=64), 4)
    assert str(error.value) == (
        "k=64 features per token, but the SAE has only d_sae=8 (d_in=4 × expansion_factor=2). "
        "Lower k or raise expansion_factor."
    )


def test_variance_ignores_a_large_mean():
    x = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    assert variance(x + 1000).item() == pytest.approx(variance(x).item(), rel=1e-3)
    assert squared_error(x, x).item() == 0
    assert not math.isnan(variance(x[:1]).item())
