"""HETA's gate: what heads write, attention followed through layers, and both by hand."""

import numpy as np
import pytest
import torch

from analysis.attribution.attention import followed, seen
from analysis.attribution.attention_function import Seen
from analysis.attribution.gate import gates, through, written
from tests.analysis.attribution.test_problem import feature_problem
from tests.analysis.attribution.worlds import problem


@pytest.mark.parametrize("kind", ["qwen2", "gpt2", "bert"])
def test_what_heads_write_adds_up_to_the_attention_output(kind: str):
    """Shared key and value heads are each pushed through their own part of the output matrix."""
    found = problem(kind) if kind != "bert" else feature_problem(kind)
    layer = seen(found.extended())[0]
    place = f"{found.lm.family.layers}.0.{found.lm.family.places['attn.hook_z'].path}"
    out = found.lm.base.get_submodule(place)
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


def test_attention_followed_through_layers_stays_a_distribution():
    for heads in followed([one.weights for one in seen(problem("gpt2").extended())]):
        torch.testing.assert_close(heads.sum(-1), torch.ones(4, heads.shape[-1]))


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
    values[0, 2], values[0, 5] = 3.0, 1.0  # the other tokens and heads write nothing
    (row,) = gates(found, [Seen(weights, values)])
    assert float(row[2]) == pytest.approx(0.25 * 3 / (0.25 * 3 + 0.75))
    assert float(row[5]) == pytest.approx(0.75 / (0.25 * 3 + 0.75))


def test_before_any_attention_a_place_is_reached_by_its_own_token_alone():
    found = problem("llama", answer=" acute")
    (row,) = gates(found, [])
    assert int(row.argmax()) == found.target.positions[0]
    assert float(row.sum()) == 1
