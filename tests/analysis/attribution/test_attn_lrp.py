"""The rules leave the forward pass alone, find every part, and conserve relevance."""

import numpy as np
import pytest
import torch
from torch import nn

from analysis.attribution.attn_lrp import attn_lrp, gim
from analysis.attribution.config import AttnLRPConfig, GIMConfig
from analysis.attribution.parts import Counts, norm_shape, parts_of
from analysis.attribution.rules import ConstantRatio, FrozenNorm, Ledger, Rules, SoftmaxAt, changed_backward
from sae.errors import UserError
from tests.analysis.attribution.worlds import classifier, opened, problem
from tests.tiny import SETTINGS

WITHOUT_BIASES = ("llama", "gpt_neox", "gpt_neox-sequential", "gemma", "gemma3_text")


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_every_norm_activation_gate_and_attention_is_found(kind: str):
    counts = parts_of(opened(kind)).counts
    norms = {"gemma2": 13, "gemma3_text": 19}.get(kind, 7)
    gates = 3 if kind in ("llama", "qwen2", "gemma", "gemma2", "gemma3_text", "modernbert") else 0
    assert counts == Counts(norms, 3, gates, 3)


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_the_forward_pass_stays_and_everything_is_put_back(kind: str):
    lm = opened(kind)
    ids = torch.arange(4, 16)[None]
    before = lm.base(ids).last_hidden_state
    with changed_backward(lm, Rules()):
        torch.testing.assert_close(lm.base(ids).last_hidden_state, before, atol=1e-5, rtol=0)
    assert torch.equal(lm.base(ids).last_hidden_state, before)
    assert all("forward" not in vars(module) for module in lm.model.modules())


@pytest.mark.parametrize("kind", WITHOUT_BIASES)
def test_relevance_that_no_softmax_kept_arrives_whole_where_there_are_no_biases(kind: str):
    scores = attn_lrp(problem(kind), AttnLRPConfig(), 0)
    assert max(one.gap_of_mass for one in scores.corrected) < 1e-5


def test_biases_and_positions_keep_relevance_and_that_is_reported():
    scores = attn_lrp(problem("gpt2"), AttnLRPConfig(), 0)
    assert min(one.gap_of_mass for one in scores.corrected) > 1e-3


def test_a_norms_backward_is_that_of_its_linear_part():
    for norm in (nn.LayerNorm(6), nn.RMSNorm(6)):
        nn.init.normal_(norm.weight)
        shape = norm_shape(norm)
        assert shape is not None
        x, g = torch.randn(5, 6, requires_grad=True), torch.randn(5, 6)
        (found,) = torch.autograd.grad(FrozenNorm.apply(x, norm.forward, shape), x, g)  # type: ignore[arg-type]
        centred = x - x.mean(-1, keepdim=True) if shape.is_centred else x
        scale = (centred.square().mean(-1, keepdim=True) + (norm.eps or 1e-7)).sqrt().detach()
        (expected,) = torch.autograd.grad(centred / scale * norm.weight, x, g)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_an_activation_hands_on_its_ratio():
    x = torch.tensor([-2.0, 0.0, 1e-9, 3.0], requires_grad=True)
    silu = nn.SiLU()
    (found,) = torch.autograd.grad(ConstantRatio.apply(x, silu.forward, silu).sum(), x)  # type: ignore[union-attr]
    torch.testing.assert_close(found, torch.sigmoid(x).detach())


def test_a_softmax_at_temperature_1_is_the_usual_one_and_at_2_a_flatter_one():
    scores, g = torch.randn(3, 5, dtype=torch.float32, requires_grad=True), torch.randn(3, 5)
    ledger = Ledger(Counts(0, 0, 0, 0))
    (usual,) = torch.autograd.grad(scores.softmax(-1), scores, g)
    (found,) = torch.autograd.grad(SoftmaxAt.apply(scores, 1.0, ledger), scores, g)  # type: ignore[arg-type]
    torch.testing.assert_close(found, usual)
    (flat,) = torch.autograd.grad(SoftmaxAt.apply(scores, 2.0, ledger), scores, g)  # type: ignore[arg-type]
    halved = (scores.detach() / 2).requires_grad_()
    (expected,) = torch.autograd.grad(halved.softmax(-1), halved, g)
    torch.testing.assert_close(flat, expected)


def test_gim_differs_from_attn_lrp_and_keeps_special_tokens_out():
    one, other = attn_lrp(problem("llama"), AttnLRPConfig(), 0), gim(problem("llama"), GIMConfig(), 0)
    assert (one.raw[0] == 0).all()
    assert (other.raw[0] == 0).all()
    assert not np.allclose(one.raw, other.raw)


def test_targets_together_are_targets_alone():
    together = attn_lrp(problem("qwen2"), AttnLRPConfig(), 0)
    summed = attn_lrp(problem("qwen2", is_total=True), AttnLRPConfig(), 0)
    np.testing.assert_allclose(together.importance, summed.importance, atol=1e-5)


def test_a_model_whose_parts_are_not_all_found_is_refused():
    lm = opened("llama")
    lm.base.layers[1].mlp.act_fn = nn.Sequential(nn.Sigmoid())  # type: ignore[index, union-attr]
    with pytest.raises(
        UserError, match=r"3 attentions, 7 norms, 2 activations and 3 gates were found, expected each in every"
    ):
        parts_of(lm)


HEADS = [
    ("bert", "BertForSequenceClassification", 0), ("roberta", "RobertaForSequenceClassification", 1),
    ("xlm-roberta", "XLMRobertaForSequenceClassification", 1), ("electra", "ElectraForSequenceClassification", 0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "class_name", "n_functions"), HEADS)
def test_a_classifiers_head_conserves_relevance_however_it_calls_its_activation(
    kind: str, class_name: str, n_functions: int
):
    found = classifier(kind, class_name, max_position_embeddings=80, embedding_size=32)
    for name, parameter in found.lm.model.named_parameters():
        if "bias" in name or "position_embeddings" in name or "token_type" in name:
            parameter.data.zero_()
    assert parts_of(found.lm).counts.head_functions == n_functions
    assert max(one.gap_of_mass for one in attn_lrp(found, AttnLRPConfig(), 0).corrected) < 1e-5
    assert all("forward" not in vars(module) for module in found.lm.model.modules())


def test_a_head_with_a_function_that_no_rule_is_written_for_is_refused():
    class Head(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(super().forward(x))

    found = classifier("bert", "BertForSequenceClassification")
    found.lm.model.classifier = Head(nn.Linear(32, 3))
    with pytest.raises(UserError, match="The head of 'bert' calls sigmoid, which no rule is written for"):
        parts_of(found.lm)
