"""Scores are the model's own, whichever way they are computed."""

from dataclasses import replace

import pytest
import torch

from analysis.attribution import case as cases
from analysis.attribution import target as targets
from analysis.attribution.build import attribute
from analysis.attribution.config import METHODS
from analysis.attribution.problem import Problem
from sae.errors import UserError
from tests.analysis.attribution.test_target import POINT, random_sae
from tests.analysis.attribution.worlds import TEXT, opened, problem
from tests.tiny import SETTINGS

DECODERS = [kind for kind in SETTINGS if kind not in ("bert", "modernbert")]


@pytest.mark.parametrize("kind", DECODERS)
def test_scores_are_those_of_the_whole_model_on_token_ids(kind: str):
    found = problem(kind, measure="log_prob")
    ids = torch.cat([found.case.input_ids, torch.tensor(found.target.answer_ids)])[None]
    logits = found.lm.model(ids).logits[0, list(found.target.positions)].log_softmax(-1)
    expected = logits[range(3), found.target.token_ids]  # type: ignore[union-attr]
    torch.testing.assert_close(found.clean_scores, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", [*DECODERS, "bert", "modernbert"])
def test_scores_from_the_first_change_on_are_those_of_the_whole_text(kind: str):
    found = problem(kind) if kind in DECODERS else feature_problem(kind)
    others = found.case.input_ids[None].repeat(4, 1)
    others[0, 5], others[1, 5:11], others[2, 7] = 9, 8, 10
    whole = [
        Problem(found.lm, replace(found.case, input_ids=row), found.target, found.sae).clean_scores for row in others
    ]
    torch.testing.assert_close(found.score_ids(others), torch.stack(whole), atol=5e-6, rtol=0)
    assert torch.equal(found.score_ids(others[3:]), found.clean_scores[None])


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text"])
def test_a_sliding_window_is_kept_when_keys_are_reused(kind: str):
    lm = opened(kind, sliding_window=4)
    case = cases.read(TEXT, lm)
    found = Problem(lm, case, targets.next_token(case, lm, " acute"))
    others = case.input_ids[None].repeat(2, 1)
    others[0, 9], others[1, 11] = 9, 8
    whole = [Problem(lm, replace(case, input_ids=row), found.target).clean_scores for row in others]
    torch.testing.assert_close(found.score_ids(others), torch.stack(whole), atol=5e-6, rtol=0)


def feature_problem(kind: str) -> Problem:
    lm, sae = opened(kind), random_sae()
    case = cases.read(TEXT, lm)
    acts = targets.activations(case, lm, sae, targets.HookPoint(1, "hook_resid_post"))[1:-1]
    return Problem(lm, case, targets.features_of(case, lm, sae, POINT, [int(acts.max(0).values.argmax())]), sae)


def test_a_pass_for_a_feature_ends_at_its_layer_and_position():
    found = feature_problem("llama")
    later = found.lm.base.layers[2]  # type: ignore[index]
    later.register_forward_pre_hook(lambda *_: pytest.fail("a layer behind the hook point was run"))
    assert float(found.clean_scores[0]) > 0
    assert len(found.sequence_ids) == found.target.positions[0] + 1


def test_the_sum_of_targets_is_one_target():
    apart, summed = problem("llama"), problem("llama", is_total=True)
    torch.testing.assert_close(summed.clean_scores[0], apart.clean_scores.sum())
    assert summed.n_targets == len(summed.labels) == 1


def test_an_extended_problem_attributes_the_answer_too():
    found = problem("gpt2")
    longer = found.extended()
    assert longer.n_tokens == found.n_tokens + 2
    torch.testing.assert_close(longer.clean_scores, found.clean_scores)
    _, gradients = longer.gradients(longer.embeds[None], lambda gradient: gradient.norm(dim=-1))
    assert bool((gradients[0, 0, 13:] == 0).all())  # the first answer token sees none of the later ones
    assert bool((gradients[2, 0, 13:] > 0).all())


def test_a_quantised_model_is_refused_with_the_methods_that_can_answer(monkeypatch: pytest.MonkeyPatch):
    found = problem("llama")
    monkeypatch.setattr(found.lm.model, "is_quantized", True, raising=False)
    with pytest.raises(UserError, match=r"quantised and has no exact gradients. Choose one .*occlusion"):
        found.gradients(found.embeds[None], lambda gradient: gradient)


def test_a_classifier_is_scored_by_class(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    from analysis.attribution.classifier import with_head
    from tests.tiny import SHAPE

    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig(**SHAPE, num_labels=3, id2label={0: "none", 1: "acute", 2: "chronic"}))\
        .save_pretrained(tmp_path)  # fmt: skip
    lm = with_head(replace(opened("bert"), folder=tmp_path))
    case = cases.read(TEXT, lm)
    found = Problem(lm, case, targets.class_of(lm.model, "chronic", contrast="acute"))
    logits = lm.model(case.input_ids[None]).logits[0]
    torch.testing.assert_close(found.clean_scores[0], logits[2] - logits[1])
    with pytest.raises(UserError, match="The class 'severe' was asked for, but the model has none, acute, chronic"):
        targets.class_of(lm.model, "severe")


def test_a_folder_without_a_head_is_no_classifier(tmp_path):
    from analysis.attribution.classifier import with_head

    lm = opened("bert")
    lm.model.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no weights for a classification head"):
        with_head(replace(lm, folder=tmp_path))


@pytest.mark.parametrize("method", ["occlusion", "resampling", "integrated_gradients", "hidden_state", "shapley"])
def test_tokens_that_went_through_the_model_are_counted_where_they_are_embedded(method: str):
    found = problem("llama")
    n_run = 0

    def count(_module: object, _given: object, outputs: torch.Tensor) -> None:
        nonlocal n_run
        n_run += outputs.shape[0] * outputs.shape[1]

    with found.lm.model.model.layers[0].mlp.register_forward_hook(count):
        scores = attribute(found, METHODS[method]())
    assert scores.n_tokens == n_run > 0
