"""What is explained: tokens, contrasts, answers, features; and clear refusals."""

import pytest
import torch

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.problem import Problem
from sae.build import build
from sae.config import JumpReLUConfig, TopKConfig
from sae.errors import UserError
from tests.analysis.attribution.worlds import TEXT, opened

POINT = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def lm():
    return opened("llama")


@pytest.fixture(scope="module")
def case(lm):
    return cases.read(TEXT, lm)


def test_log_odds_are_p_against_all_others(lm, case):
    logits = torch.randn(2, 1, 50)
    p = logits.softmax(-1)[:, 0, 7]
    expected = (p / (1 - p)).log()
    torch.testing.assert_close(targets.measured(logits, torch.tensor([7]), None, "log_odds")[:, 0], expected)


def test_log_odds_keep_a_gradient_where_the_model_is_sure():
    logits = torch.zeros(1, 1, 5)
    logits[..., 2] = 60.0
    for measure, least in (("log_odds", 0.99), ("log_prob", 0.0)):
        leaf = logits.clone().requires_grad_()
        targets.measured(leaf, torch.tensor([2]), None, measure).sum().backward()
        assert leaf.grad is not None
        assert float(leaf.grad[0, 0, 2]) == pytest.approx(least, abs=0.02)


def test_two_targets_that_agree_have_contrast_scores_of_exactly_0(lm, case):
    target = targets.next_token(case, lm, " acute", contrast=" acute")
    found = Problem(lm, case, target)
    _, gradients = found.gradients(found.embeds[None], lambda gradient: gradient.norm(dim=-1))
    assert float(found.clean_scores.abs().max()) == 0
    assert float(gradients.abs().max()) == 0


def test_a_target_of_two_tokens_says_which(lm, case):
    with pytest.raises(
        UserError, match=r"The target is 2 tokens \('acute' \+ 'pain'\), expected one. .*--continuation"
    ):
        targets.next_token(case, lm, " acute pain")


def test_a_target_outside_the_vocabulary_is_refused(lm, case):
    with pytest.raises(UserError, match="' zebra' is not in the vocabulary of 'llama'"):
        targets.next_token(case, lm, " zebra")


def test_a_contrast_of_another_length_is_refused(lm, case):
    with pytest.raises(UserError, match="expected as many tokens in both"):
        targets.continuation(case, lm, " acute pain", contrast=" chronic")


def test_an_encoder_has_no_next_token():
    lm = opened("bert")
    with pytest.raises(UserError, match="encoder without next tokens, expected a decoder"):
        targets.next_token(cases.read(TEXT, lm), lm, " acute")


def test_the_generated_answer_is_what_greedy_decoding_says(lm, case):
    target = targets.generated(case, lm, 4)
    ids = lm.model.generate(case.input_ids[None], max_new_tokens=4, do_sample=False, pad_token_id=3)[0, case.n_tokens :]
    assert list(target.token_ids) == [int(one) for one in ids if int(one) != 2]
    assert target.answer_ids == target.token_ids[:-1]


def test_a_feature_is_explained_where_it_is_strongest(lm, case):
    sae = random_sae()
    acts = targets.activations(case, lm, sae, targets.HookPoint(1, "hook_resid_post"))
    acts[0] = 0
    feature = int(acts.max(0).values.argmax())
    target = targets.features_of(case, lm, sae, POINT, [feature])
    assert target.positions == (int(acts[:, feature].argmax()),)
    found = Problem(lm, case, target, sae)
    expected = acts[target.positions[0], [feature]]
    torch.testing.assert_close(found.clean_scores, expected)  # a JumpReLU passes on what is above its threshold


def random_sae():
    sae = build(JumpReLUConfig(), 32, 64)
    torch.manual_seed(0)
    for parameter in sae.parameters():
        parameter.data.normal_(std=0.3)
    return sae.requires_grad_(False)


def test_a_silent_feature_is_refused(lm, case):
    sae = build(TopKConfig(k=4), 32, 64)
    sae.b_enc.data[7] = -1e3
    with pytest.raises(UserError, match="Feature 7 does not fire on any of the text's 13 tokens"):
        targets.features_of(case, lm, sae, POINT, [7])


def test_a_feature_that_the_sae_has_not_is_refused(lm, case):
    with pytest.raises(UserError, match="Feature 64 was asked for, but the SAE has features 0 to 63"):
        targets.features_of(case, lm, random_sae(), POINT, [64])
