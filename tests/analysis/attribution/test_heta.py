"""HETA's terms against a dense Hessian and by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.attribution import heta as module
from analysis.attribution.attention_function import attending, plain
from analysis.attribution.build import attribute
from analysis.attribution.config import HETAConfig
from sae.errors import UserError
from tests.analysis.attribution.test_problem import feature_problem
from tests.analysis.attribution.worlds import opened, problem

CFG = HETAConfig(n_probes=2, batch_products=5)


def dense_hessian(found) -> torch.Tensor:
    """[n, d, n, d]"""
    with attending(found.lm.model, plain):
        return torch.autograd.functional.hessian(lambda x: found.score(x[None])[0, 0], found.embeds)  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_curvature_is_that_of_the_dense_hessian(kind: str):
    found = problem(kind, answer=" acute", text="patient has fever")
    hessian, signs = dense_hessian(found), module.rademacher(found, 2, 7)
    blocks = torch.einsum("idie,kie->kid", hessian, signs).abs().sum(-1).mean(0)
    rows = torch.einsum("idje,kje->kid", hessian, signs * found.is_free[:, None]).abs().sum(-1).mean(0)
    by_block = module.curvature(found, CFG, 7)[0, 1:]
    np.testing.assert_allclose(by_block.numpy(), blocks[1:].numpy(), rtol=1e-3, atol=1e-6)
    by_row = module.curvature(found, CFG.model_copy(update={"curvature": "row"}), 7)[0, 1:]
    np.testing.assert_allclose(by_row.numpy(), rows[1:].numpy(), rtol=1e-3, atol=1e-6)


def test_batches_of_products_are_products_one_by_one():
    found = problem("llama", answer=" acute")
    one = module.curvature(found, CFG.model_copy(update={"batch_products": 1}), 0)
    np.testing.assert_allclose(module.curvature(found, CFG, 0).numpy(), one.numpy(), rtol=1e-5)


def test_row_probes_take_as_many_products_as_there_are_probes():
    found = problem("llama", answer=" acute")
    attribute(found, CFG.model_copy(update={"curvature": "row"}))
    assert found.cost.n_backwards == 2
    attribute(found, CFG)
    assert found.cost.n_backwards == 2 * 12


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_graphs_that_begin_at_a_token_give_what_one_over_the_whole_text_does(
    kind: str, monkeypatch: pytest.MonkeyPatch
):
    found = problem(kind, answer=" acute pain")
    late = module.curvature(found, CFG, 3)
    assert {start for start, _ in module.graphs(found, CFG)} == {1, 3, 6, 8, 11}  # 12 free tokens, two probes each
    cut = module.graphs(found, CFG)
    monkeypatch.setattr(module, "graphs", lambda *_: [(0, [batch for _, [batch] in cut])])
    np.testing.assert_allclose(late.numpy(), module.curvature(found, CFG, 3).numpy(), rtol=1e-4, atol=1e-7)
    assert late.shape == (2, 13)
    assert (late[:, 1:] > 0).all()


def test_tokens_that_no_target_hears_have_no_curvature():
    found = feature_problem("llama")
    found.target = replace(found.target, positions=(4,))
    curved = module.curvature(found, CFG, 0)
    assert (curved[0, 1:5] > 0).all()
    assert not curved[0, 5:].any()


def test_information_is_the_divergence_under_masking():
    found = problem("llama", answer=" acute")
    lost = module.information(found, HETAConfig())
    row = found.embeds.clone()
    row[5] = 0
    p, q = (found.outputs(one[None])[0, 0].log_softmax(-1) for one in (found.embeds, row))
    assert float(lost[0, 5]) == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-5)
    assert float(lost[0, 0]) == 0


def test_the_gate_sums_to_at_most_1_and_scores_are_its_product():
    scores = attribute(problem("llama"), CFG)
    product = scores.terms["gate"] * (0.5 * scores.terms["curvature"] + 0.5 * scores.terms["information"])
    np.testing.assert_allclose(scores.raw, product, rtol=1e-6)
    assert (scores.terms["gate"].sum(0) <= 1 + 1e-9).all()
    assert (scores.raw >= 0).all()


def test_a_feature_is_refused():
    with pytest.raises(UserError, match="HETA compares distributions of the next token, and a feature has none"):
        attribute(feature_problem("llama"), CFG)


def test_attention_is_put_back():
    lm = opened("llama")
    before = lm.config._attn_implementation
    with attending(lm.model, plain):
        assert lm.config._attn_implementation != before
    assert lm.config._attn_implementation == before
