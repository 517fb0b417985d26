"""The default method: half relevance, half gated sensitivity, of one pass."""

import numpy as np
import pytest

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.attention import seen
from analysis.attribution.attn_lrp import traced
from analysis.attribution.build import attribute
from analysis.attribution.config import DEFAULT, METHODS, AttnLRPConfig, GatedLRPConfig
from analysis.attribution.gate import gates
from analysis.attribution.gated_lrp import AGAINST
from analysis.attribution.problem import Problem
from analysis.attribution.rules import Rules
from hooks.hook_points import HookPoint
from tests.analysis.attribution.test_problem import feature_problem
from tests.analysis.attribution.test_target import random_sae
from tests.analysis.attribution.worlds import TEXT, classifier, opened, problem


def before_attention() -> Problem:
    """A feature of the embeddings, which no attention has touched."""
    lm, sae = opened("llama"), random_sae()
    case = cases.read(TEXT, lm)
    feature = int(targets.activations(case, lm, sae, HookPoint(0, "hook_resid_pre"))[8].argmax())
    return Problem(lm, case, targets.features_of(case, lm, sae, "blocks.0.hook_resid_pre", [feature], position=8), sae)


def test_it_is_the_default():
    assert isinstance(METHODS[DEFAULT](), GatedLRPConfig)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_parts_weigh_the_same_and_add_up(kind: str):
    found = attribute(problem(kind), GatedLRPConfig())
    relevance, sensitivity = found.terms["relevance"], found.terms["sensitivity"]
    np.testing.assert_allclose(np.abs(relevance).sum(0), sensitivity.sum(0))
    is_against = relevance <= -AGAINST * sensitivity
    np.testing.assert_allclose(found.raw, np.where(is_against, relevance, relevance + sensitivity))
    assert (sensitivity >= 0).all()
    doubled = attribute(problem(kind), GatedLRPConfig(weight=2))
    np.testing.assert_allclose(doubled.terms["sensitivity"], 2 * sensitivity, rtol=1e-6)


def test_a_lone_token_that_speaks_against_is_not_hidden_by_its_sensitivity():
    """The two parts of a single token are of one size: their sum would be 0."""
    found, plain = (attribute(feature_problem("llama"), cfg) for cfg in (GatedLRPConfig(), AttnLRPConfig()))
    assert plain.raw[1, 0] < 0
    np.testing.assert_allclose(found.raw, plain.raw)


def test_without_weight_it_is_attn_lrp_and_conserves_as_much():
    plain, other = attribute(problem("llama"), AttnLRPConfig()), attribute(problem("llama"), GatedLRPConfig(weight=0))
    np.testing.assert_allclose(other.raw, plain.raw)
    assert other.completeness == plain.completeness
    assert other.corrected == plain.corrected
    assert max(one.gap_of_mass for one in other.corrected) < 1e-5


@pytest.mark.parametrize(("is_total", "power"), [(False, 2.0), (True, 2.0), (False, 3.0)])
def test_sensitivity_is_the_gradients_length_by_the_gates_power(is_total: bool, power: float):
    found = problem("llama", is_total=is_total)
    lengths = traced(found, GatedLRPConfig(), Rules()).gradients.double().norm(dim=-1)
    gate = gates(found, seen(found.extended()))
    for row, place in enumerate(found.target.positions):
        gate[row, place : place + 1] = 0
    gate = gate.mean(0, keepdim=True) if is_total else gate
    expected = (gate**power * lengths).numpy() * found.is_free.numpy()
    term = attribute(found, GatedLRPConfig(power=power)).terms["sensitivity"].T
    np.testing.assert_allclose(term / term.sum(1, keepdims=True), expected / expected.sum(1, keepdims=True), rtol=1e-5)


def test_a_large_power_leaves_the_token_that_is_reached_best():
    found = attribute(problem("llama"), GatedLRPConfig(power=200))
    assert ((found.terms["sensitivity"] > 1e-6).sum(0) == 1).all()


def test_the_token_that_an_answer_is_read_off_has_no_sensitivity():
    """It is reached by itself whatever the text says."""
    found = problem("llama", answer=" acute")
    scores, plain = attribute(found, GatedLRPConfig()), attribute(found, AttnLRPConfig())
    (place,) = found.target.positions
    assert scores.terms["gate"][place] == 0
    assert scores.raw[place] == plain.raw[place] != 0


def test_one_pass_forward_and_one_back():
    found = attribute(problem("llama", is_total=True), GatedLRPConfig())
    plain = attribute(problem("llama", is_total=True), AttnLRPConfig())
    assert (found.n_forwards, found.n_backwards) == (plain.n_forwards, plain.n_backwards) == (1, 1)


def test_the_models_attention_is_put_back_and_special_tokens_get_nothing():
    lm = opened("llama")
    before = lm.config._attn_implementation
    found = attribute(problem("llama"), GatedLRPConfig())
    assert (found.raw[0] == 0).all()
    assert lm.config._attn_implementation == before


@pytest.mark.parametrize("case", ["feature", "before attention", "encoder's class", "decoder's class"])
def test_every_kind_of_target_is_answered(case: str):
    found = {
        "feature": lambda: feature_problem("llama"),
        "before attention": before_attention,
        "encoder's class": lambda: classifier("bert", "BertForSequenceClassification"),
        "decoder's class": lambda: classifier("gpt2"),
    }[case]()
    scores = attribute(found, GatedLRPConfig())
    assert np.isfinite([scores.raw, *scores.terms.values()]).all()
    assert np.abs(scores.raw).sum() > 0
    if case == "before attention":
        assert np.flatnonzero(scores.raw).tolist() == list(found.target.positions)
