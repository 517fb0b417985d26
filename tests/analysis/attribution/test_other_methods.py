"""Hidden states, attention, and the way through the answer."""

import numpy as np
import pytest
import torch

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.build import attribute
from analysis.attribution.config import (
    AttentionRolloutConfig,
    AttnLRPConfig,
    HiddenStateConfig,
    LastAttentionConfig,
    ThroughAnswerConfig,
)
from analysis.attribution.hidden_state import layer_of
from analysis.attribution.problem import Problem
from analysis.attribution.through_answer import handed_on
from hooks.hook_points import HookPoint
from sae.errors import UserError
from tests.analysis.attribution.test_problem import feature_problem
from tests.analysis.attribution.test_target import random_sae
from tests.analysis.attribution.worlds import TEXT, opened, problem


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_strength_is_the_length_of_the_hidden_state(kind: str):
    found = problem(kind) if kind != "bert" else feature_problem(kind)
    scores = attribute(found, HiddenStateConfig())
    ids = found.case.input_ids[None]
    states = found.lm.base(ids, output_hidden_states=True).hidden_states[2][0]
    free = found.is_free.numpy()
    np.testing.assert_allclose(scores.raw[free, 0], states.norm(dim=-1).numpy()[free], rtol=1e-5)
    high = np.array(scores.diagnostics["is_high"])
    assert high.sum() == (scores.raw[free, 0] >= np.quantile(scores.raw[free, 0], 0.75)).sum()
    assert not high[~free].any()
    assert len(scores.diagnostics["flow"]) == 3


def test_the_layer_is_8_of_12_and_two_thirds_elsewhere():
    assert [layer_of(None, n) for n in (12, 6, 3, 1)] == [8, 4, 2, 1]
    with pytest.raises(UserError, match="layer is 4, but the model has layers 1 to 3"):
        layer_of(4, 3)


def test_the_last_layers_attention_is_the_models():
    found = problem("gpt2", answer=" acute")
    found.lm.model.set_attn_implementation("eager")  # type: ignore[operator]
    expected = found.lm.model(found.case.input_ids[None], output_attentions=True).attentions[-1][0].mean(0)[-1]
    scores = attribute(found, LastAttentionConfig())
    np.testing.assert_allclose(scores.raw[1:, 0], expected[1:].numpy(), atol=1e-5)


def test_rollout_follows_every_layer():
    found = problem("llama", answer=" acute")
    found.lm.model.set_attn_implementation("eager")  # type: ignore[operator]
    layers = found.lm.model(found.case.input_ids[None], output_attentions=True).attentions
    expected = torch.eye(13)
    for layer in layers:
        expected = (0.5 * layer[0].mean(0) + 0.5 * torch.eye(13)) @ expected
    np.testing.assert_allclose(attribute(found, AttentionRolloutConfig()).raw[1:, 0], expected[-1, 1:], atol=1e-5)


def test_one_hop_hands_on_what_lies_on_the_answer():
    prompt, answer = np.array([[3.0, 1.0], [1.0, 0.0]]), np.array([[0.0, 2.0]])
    found, left = handed_on(prompt, answer, 1)
    # the second target owes 2 to the first answer token, which owes itself to the text by 3/4 and 1/4
    np.testing.assert_allclose(found, [[3.0, 1.0 + 2 * 3 / 4], [1.0, 2 * 1 / 4]])
    np.testing.assert_allclose(left, [0, 0])


def test_mass_that_is_not_handed_on_yet_is_reported():
    prompt, answer = np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    one, left = handed_on(prompt, answer, 1)
    assert one.tolist() == [[1, 1, 0]]
    assert left.tolist() == [0, 0, 1]
    two, left = handed_on(prompt, answer, 2)
    assert two.tolist() == [[1, 1, 1]]
    assert left.tolist() == [0, 0, 0]


def test_the_first_answer_token_owes_nothing_to_the_answer():
    scores, direct = (attribute(problem("llama"), cfg) for cfg in (ThroughAnswerConfig(), AttnLRPConfig()))
    np.testing.assert_allclose(scores.raw[:, 0], direct.raw[:, 0], rtol=1e-6)
    np.testing.assert_allclose(scores.terms["direct"], direct.raw, rtol=1e-5, atol=1e-7)
    assert not np.allclose(scores.raw[:, 2], direct.raw[:, 2])


@pytest.mark.parametrize("cfg", [AttentionRolloutConfig(), LastAttentionConfig()])
def test_a_feature_before_the_first_attention_has_none_to_look_at(cfg: AttentionRolloutConfig | LastAttentionConfig):
    lm, sae = opened("llama"), random_sae()
    case = cases.read(TEXT, lm)
    feature = int(targets.activations(case, lm, sae, HookPoint(0, "hook_resid_pre"))[8].argmax())
    target = targets.features_of(case, lm, sae, "blocks.0.hook_resid_pre", [feature], position=8)
    with pytest.raises(
        UserError, match=r"No attention layer lies before blocks.0.hook_resid_pre, expected at least one"
    ):
        attribute(Problem(lm, case, target, sae), cfg)
