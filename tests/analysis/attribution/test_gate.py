"""HETA's gate: what heads write, attention followed through layers, and both by hand."""

import numpy as np
import pytest
import torch

from analysis.attribution.attention import followed, seen
from analysis.attribution.attention_function import Seen
from analysis.attribution.gate import gates, through, written
from tests.analysis.attribution.test_problem import feature_problem
from tests.analysis.attribution.worlds import classifier, problem


@pytest.mark.parametrize("kind", ["qwen2", "gpt2", "bert"])
def test_what_heads_write_adds_up_to_the_attention_output(kind: str):
    """Shared key and value heads are each pushed through their own part of the output matrix."""
    found = problem(kind) if kind != "bert" else feature_problem(kind)
    layer = seen(found.extended())[0]
    place = f"{found.lm.family.layers}.0.{found.lm.family.places['attn.hook_z'].path}"
    out = found.lm.base.get_submodule(place)
    if out.bias is not None:
        torch.nn.init.normal_(out.bias)
    z = (layer.weights @ layer.values).transpose(0, 1).flatten(1)
    parts = torch.zeros_like(out(z))
    for head in range(4):
        alone = torch.zeros_like(z)
        alone[:, head * 8 : head * 8 + 8] = z[:, head * 8 : head * 8 + 8]
        parts += out(alone) - out(torch.zeros_like(z))
    torch.testing.assert_close(parts + out(torch.zeros_like(z)), out(z), atol=1e-5, rtol=1e-4)
    alone = torch.zeros_like(z)
    alone[:, 8:16] = layer.values[1]
    expected = (out(alone) - out(torch.zeros_like(z))).abs().sum(-1)
    torch.testing.assert_close(written(found, 0, layer)[1], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(through(out, layer.values, 1), expected, atol=1e-5, rtol=1e-4)


def test_attention_followed_through_layers_stays_a_distribution_and_is_the_product_of_the_layers():
    layers = [one.weights for one in seen(problem("gpt2").extended())]
    n = layers[0].shape[-1]
    found, expected = followed(torch.eye(n)[[3, 9]], layers), torch.eye(n).expand(4, -1, -1)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 3, 4))
    for index, weights in enumerate(layers):
        expected = (0.5 * weights + 0.5 * torch.eye(n)) @ expected
        torch.testing.assert_close(found[:, index], expected[:, [3, 9]].transpose(0, 1))


def test_the_gate_is_the_sum_of_what_was_followed_times_what_heads_write():
    found = problem("llama", is_total=True)
    layers = seen(found.extended())
    unit, paths, expected = torch.eye(layers[0].weights.shape[-1]), None, 0.0
    for index, layer in enumerate(layers):
        step = 0.5 * layer.weights + 0.5 * unit
        paths = step if paths is None else step @ paths
        expected = expected + torch.stack(
            [path * size for path, size in zip(paths, written(found, index, layer), strict=True)]
        ).sum(0)
    rows = expected[list(found.target.positions)]  # type: ignore[index]
    rows = (rows / rows.sum(1, keepdim=True))[:, : found.n_tokens]
    np.testing.assert_allclose(gates(found, layers), rows, atol=1e-6)
    assert (gates(found, layers).sum(1) <= 1 + 1e-9).all()


def test_one_layer_of_one_head_by_hand():
    """Half of what stands at the place stays; the other half comes as the weights say, each as large as the head writes it."""
    found = problem("llama", answer=" acute")
    n, place = found.n_tokens, found.target.positions[0]
    weights = torch.zeros(4, n, n)
    weights[:, range(n), range(n)] = 1
    weights[0, place] = 0
    weights[0, place, 2], weights[0, place, 5] = 0.25, 0.75
    values = torch.zeros(4, n, 8)
    values[0, 2], values[0, 5], values[0, place] = 3.0, 1.0, 2.0  # the other tokens and heads write nothing
    (row,) = gates(found, [Seen(weights, values)])
    whole = 0.5 * (0.25 * 3 + 0.75) + 0.5 * 2
    assert float(row[2]) == pytest.approx(0.5 * 0.25 * 3 / whole)
    assert float(row[5]) == pytest.approx(0.5 * 0.75 / whole)
    assert float(row[place]) == pytest.approx(0.5 * 2 / whole)


def test_before_any_attention_a_place_is_reached_by_its_own_token_alone():
    found = problem("llama")
    rows = gates(found, [])
    assert [row.nonzero().flatten().tolist() for row in rows] == [
        [one] if one < found.n_tokens else [] for one in found.target.positions
    ]


def test_heads_that_write_nothing_leave_a_gate_of_zeros():
    found = problem("llama")
    layers = [one._replace(values=torch.zeros_like(one.values)) for one in seen(found.extended())]
    assert (gates(found, layers) == 0).all()


def test_a_classifier_that_takes_the_mean_of_all_tokens_is_reached_at_all():
    first, mean = (
        classifier("modernbert", "ModernBertForSequenceClassification", classifier_pooling=one)
        for one in ("cls", "mean")
    )
    layers = seen(first.extended())
    assert gates(first, layers)[0].argmax() == 0
    n = layers[0].weights.shape[-1]
    each = followed(torch.eye(n), [one.weights for one in layers]).mean(0)
    sizes = torch.stack([written(mean, index, one) for index, one in enumerate(layers)])
    expected = (each * sizes).sum((0, 1))
    np.testing.assert_allclose(gates(mean, layers)[0], expected / expected.sum(), rtol=1e-4)
