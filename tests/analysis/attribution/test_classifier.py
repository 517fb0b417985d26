"""Classifiers: the class is read where the model reads it, and scored as it was trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2ForSequenceClassification

from analysis.attribution.baseline import baseline_embeds
from analysis.attribution.build import attribute
from analysis.attribution.classifier import with_head
from analysis.attribution.config import METHODS
from analysis.attribution.heta import information
from analysis.attribution.target import ClassTarget
from sae.errors import UserError
from tests.analysis.attribution.worlds import classifier, opened
from tests.tiny import SETTINGS

DECODERS = [
    ("gpt2", "GPT2ForSequenceClassification"),
    ("llama", "LlamaForSequenceClassification"),
    ("biogpt", "BioGptForSequenceClassification"),
    ("gemma2", "Gemma2ForSequenceClassification"),
]


@pytest.mark.parametrize(("kind", "class_name"), DECODERS)
def test_occlusion_of_a_decoders_class_is_that_of_whole_rows(kind: str, class_name: str):
    found = classifier(kind, class_name)
    absent = baseline_embeds(found, "vocabulary_mean")
    scores = attribute(found, METHODS["occlusion"](batch_tokens=40))
    rows = found.embeds.repeat(found.n_tokens, 1, 1)
    rows[range(found.n_tokens), range(found.n_tokens)] = absent
    logits = torch.cat([found.lm.model(inputs_embeds=row[None]).logits for row in rows])
    expected = (found.clean_scores - found.target.scores(logits))[:, 0]
    np.testing.assert_allclose(scores.raw[:, 0], expected.numpy(), atol=2e-5)
    assert (np.abs(scores.raw[1:]) > 1e-4).all()


@pytest.mark.parametrize("method", ["resampling", "attention_rollout", "last_attention", "heta", "attn_lrp", "shapley"])
def test_every_method_finds_what_a_decoders_class_is_read_from(method: str):
    scores = attribute(classifier("gpt2"), METHODS[method]())
    assert (scores.raw[1:] != 0).all()


def test_attention_to_a_decoders_class_is_that_of_its_last_token():
    found = classifier("gpt2")
    found.lm.model.set_attn_implementation("eager")  # type: ignore[operator]
    expected = found.lm.model(found.case.input_ids[None], output_attentions=True).attentions[-1][0].mean(0)[-1]
    scores = attribute(found, METHODS["last_attention"]())
    np.testing.assert_allclose(scores.raw[1:, 0], expected[1:].numpy(), atol=1e-5)


def test_a_decoder_that_names_no_padding_is_a_classifier_too(tmp_path):
    GPT2ForSequenceClassification(GPT2Config(**SETTINGS["gpt2"] | {"pad_token_id": None})).save_pretrained(tmp_path)
    lm = with_head(replace(opened("gpt2"), folder=tmp_path))
    assert lm.model(inputs_embeds=torch.zeros(2, 5, 32)).logits.shape == (2, 2)


BERT = "BertForSequenceClassification"
MULTI = {"problem_type": "multi_label_classification"}


def test_the_log_odds_of_one_of_several_labels_are_its_own_logit():
    logits = torch.tensor([[2.0, 3.0, 3.0]])
    target = ClassTarget((1,), ("b",), answering="many_labels")
    p = torch.sigmoid(logits[:, [1]])
    torch.testing.assert_close(target.scores(logits), (p / (1 - p)).log())
    torch.testing.assert_close(replace(target, measure="log_prob").scores(logits), p.log())
    torch.testing.assert_close(replace(target, contrast_ids=(0,)).scores(logits), torch.tensor([[1.0]]))
    found = classifier("bert", BERT, **MULTI)
    torch.testing.assert_close(found.clean_scores[0], found.lm.model(found.case.input_ids[None]).logits[0, 2])


def test_hetas_information_about_several_labels_is_the_sum_of_their_divergences():
    found = classifier("bert", BERT, **MULTI)
    masked = found.embeds.clone()
    masked[5] = 0
    p, q = (torch.sigmoid(found.outputs(rows[None]))[0].double() for rows in (found.embeds, masked))
    expected = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).sum()
    torch.testing.assert_close(information(found, METHODS["heta"]())[0, 5], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("changes", [{"num_labels": 1}, {"problem_type": "regression"}])
def test_a_value_has_no_log_odds(changes: dict):
    with pytest.raises(UserError, match=r"values without probabilities, expected classes. Ask for --measure logit"):
        classifier("bert", BERT, **changes)
    found = classifier("bert", BERT, measure="logit", **changes)
    assert (attribute(found, METHODS["occlusion"]()).raw[1:-1] != 0).all()
    with pytest.raises(UserError, match="outputs are values without one, expected a classifier"):
        attribute(found, METHODS["heta"]())
