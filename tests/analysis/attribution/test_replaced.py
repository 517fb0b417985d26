"""Modules that compute otherwise for a while."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers.activations import FastGELUActivation, NewGELUActivation

from analysis.attribution.replaced import forward_replaced, fused_activations
from tests.analysis.attribution.worlds import opened, problem


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_gradients_with_fused_activations_are_those_of_the_model_as_it_is(kind: str):
    found = problem(kind, answer=" acute")
    leaf = found.embeds[None].clone().requires_grad_()
    plain = torch.autograd.grad(found.score(leaf)[0, 0], leaf)[0]
    _, ours = found.gradients(found.embeds[None], lambda gradient: gradient)
    np.testing.assert_allclose(ours[0].numpy(), plain.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [NewGELUActivation, FastGELUActivation])
def test_a_fused_activation_is_the_same_and_keeps_its_input_alone(kind: type[nn.Module]):
    lm = opened("gpt2")
    written_out = kind()
    x = torch.linspace(-6, 6, 1001, requires_grad=True)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.numel()) or one, lambda one: one):
        lm.model.further = written_out
        try:
            with fused_activations(lm):
                found = written_out(x)
        finally:
            del lm.model.further
        assert kept == [1001]
        expected = written_out(x)
        assert len(kept) > 2  # it has several of its own
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    (ours,), (theirs,) = torch.autograd.grad(found.sum(), x), torch.autograd.grad(expected.sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_contexts_within_each_other_are_taken_away_one_by_one():
    module, one = nn.Tanh(), torch.ones(1)
    with forward_replaced(module, lambda x, original, by: original(x) + by, 1):
        with forward_replaced(module, lambda x, original, by: original(x) + by, 10):
            assert float(module(one)) == pytest.approx(11 + np.tanh(1))
        assert float(module(one)) == pytest.approx(1 + np.tanh(1))
    assert float(module(one)) == pytest.approx(np.tanh(1))
    assert "forward" not in vars(module)
