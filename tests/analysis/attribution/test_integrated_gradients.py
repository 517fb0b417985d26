"""Integrated gradients by hand, by invariants, and beside Captum."""

import numpy as np
import pytest
import torch

from analysis.attribution.baseline import baseline_embeds
from analysis.attribution.config import IntegratedGradientsConfig
from analysis.attribution.integrated_gradients import Path, equal_variation, integrated_gradients
from analysis.attribution.problem import Problem
from sae.errors import UserError
from tests.analysis.attribution.worlds import gradient_by_hand, linear_problem, problem

GL = IntegratedGradientsConfig(nodes="gauss_legendre", n_steps=8, baseline="zero")


def test_of_a_linear_model_it_is_gradient_times_difference():
    found = linear_problem()
    model, token_id = found.lm.model, found.target.token_ids[0]  # type: ignore[union-attr]
    difference = found.embeds - baseline_embeds(found, "vocabulary_mean")
    expected = (gradient_by_hand(found.case, model, token_id) * difference).sum(-1)  # type: ignore[arg-type]
    for cfg in (IntegratedGradientsConfig(), IntegratedGradientsConfig(nodes="midpoint", n_steps=1)):
        scores = integrated_gradients(found, cfg, 0)
        np.testing.assert_allclose(scores.raw[:, 0], expected.numpy(), atol=1e-5)
        assert scores.completeness[0].gap < 1e-5


@pytest.mark.parametrize("baseline", ["zero", "vocabulary_mean", "kind_mean", "token"])
def test_scores_add_up_to_the_change_and_special_tokens_have_none(baseline: str):
    cfg = IntegratedGradientsConfig(baseline=baseline, baseline_token=5)  # type: ignore[arg-type]
    scores = integrated_gradients(problem("gpt2"), cfg, 0)
    assert (scores.raw[0] == 0).all()
    assert max(one.gap for one in scores.corrected) < 1e-6
    np.testing.assert_allclose(scores.raw.sum(0), [one.total for one in scores.corrected], atol=1e-5)


def test_the_gap_before_the_correction_is_reported_beside_it():
    scores = integrated_gradients(problem("llama"), IntegratedGradientsConfig(n_steps=2, baseline="zero"), 0)
    assert min(one.gap for one in scores.completeness) > 1e-3 > max(one.gap for one in scores.corrected)


def test_batches_of_nodes_change_nothing():
    one, many = problem("llama"), problem("llama")
    one.batch_tokens = 1
    np.testing.assert_allclose(integrated_gradients(one, GL, 0).raw, integrated_gradients(many, GL, 0).raw, atol=1e-6)


def test_a_span_total_is_the_sum_over_its_tokens_in_one_backward_per_node():
    apart, summed = problem("llama"), problem("llama", is_total=True)
    expected = integrated_gradients(apart, GL, 0).raw.sum(1)
    np.testing.assert_allclose(integrated_gradients(summed, GL, 0).raw[:, 0], expected, atol=1e-6)
    assert (apart.cost.n_backwards, summed.cost.n_backwards) == (24, 8)


def test_refining_ends_below_the_gap_or_says_that_it_did_not():
    cfg = IntegratedGradientsConfig(n_steps=2, refine_until=0.02, baseline="zero")
    scores = integrated_gradients(problem("llama"), cfg, 0)
    assert scores.diagnostics["is_converged"]
    assert max(one.gap for one in scores.completeness) <= 0.02
    assert scores.diagnostics["gaps"][0] > 0.02
    never = cfg.model_copy(update={"refine_until": 1e-12, "max_steps": 8})
    assert integrated_gradients(problem("llama"), never, 0).diagnostics["is_converged"] is False


def test_adaptive_edges_gather_where_the_score_changes():
    probes = np.linspace(0, 1, 101)
    edges = equal_variation(probes, (probes > 0.9).astype(float)[:, None], 10)
    assert ((edges > 0.89) & (edges < 0.92)).sum() >= 8
    assert edges[0] == 0
    assert edges[-1] == 1
    assert (np.diff(edges) > 0).all()


def test_tokens_held_fixed_have_no_score():
    whole = problem("llama")
    held = Problem(whole.lm, whole.case, whole.target, fixed=(3, 4))
    scores = integrated_gradients(held, IntegratedGradientsConfig(), 0)
    assert (scores.raw[[0, 3, 4]] == 0).all()
    assert (scores.raw[[1, 2, 5]] != 0).all()


def test_a_baseline_token_outside_the_vocabulary_is_refused():
    with pytest.raises(UserError, match="baseline_token is None, expected a number from 0 to"):
        integrated_gradients(problem("llama"), IntegratedGradientsConfig(baseline="token"), 0)


def test_equals_captum_where_both_compute_the_same():
    captum = pytest.importorskip("captum.attr")
    found = problem("llama", answer=" acute", measure="log_prob")
    found.case.is_special[:] = False  # Captum knows none
    embedding = found.lm.base.get_submodule("embed_tokens")
    forward = lambda ids: found.lm.model(ids).logits[:, -1].log_softmax(-1)  # noqa: E731
    reference = captum.LayerIntegratedGradients(forward, embedding).attribute(
        found.case.input_ids[None], torch.full((1, found.n_tokens), 5), n_steps=8,
        target=found.target.token_ids[0],  # type: ignore[union-attr]
    )  # fmt: skip
    cfg = GL.model_copy(update={"baseline": "token", "baseline_token": 5})
    np.testing.assert_allclose(
        integrated_gradients(found, cfg, 0).raw[:, 0], reference[0].sum(-1).detach().numpy(), atol=1e-5
    )


def test_the_points_of_a_path_in_bfloat16_are_those_of_float32_rounded_once():
    start, end = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    places = (np.arange(256) + 0.5) / 256
    found = Path.between(start, end).at(places)
    wide = torch.from_numpy(places).float()[:, None, None]
    expected = start.float() + wide * (end.float() - start.float())
    assert torch.equal(found, expected.bfloat16())
    assert torch.equal(Path.between(start, end).at(np.array([0.0, 1.0])), torch.stack([start, end]))
