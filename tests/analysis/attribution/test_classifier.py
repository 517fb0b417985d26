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
