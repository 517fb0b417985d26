"""A feature's direct effect on the logits, against the model's own head."""

from pathlib import Path

import pytest
import torch

from analysis.gather import vocabulary
from analysis.logit_lens import logit_effects
from hooks.architecture import family_of
from hooks.model import LanguageModel
from tests.tiny import tiny_model, tiny_tokenizer


def opened(kind: str) -> LanguageModel:
    model = tiny_model(kind)
    for name, parameter in model.named_parameters():
        if "norm" in name or "ln_f" in name:
            parameter.data += torch.rand_like(parameter)
    role = "encoder" if kind == "bert" else "decoder"
    return LanguageModel(kind, model, tiny_tokenizer(), role, family_of(kind, model.config), Path())


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "gpt_neox"])
def test_the_effect_is_the_derivative_of_the_logits_at_a_stream_of_norm_one(kind: str):
    lm = opened(kind)
    rows = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    found = logit_effects(lm, "blocks.1.hook_resid_post", rows, 5)
    assert found is not None
    assert lm.family.final_norm is not None
    norm, head = lm.base.get_submodule(lm.family.final_norm), lm.model.get_output_embeddings()
    # RMS and layer norm divide by a scale that a direction with equal entries everywhere leaves alone to first order
    # only where the direction is orthogonal to the stream; so take a huge, fixed scale out of the comparison
    stream = torch.randn(32, generator=torch.Generator().manual_seed(1)) * 1e3
    for row, ids in zip(rows, found.top_id, strict=True):
        centred = row - row.mean() if isinstance(norm, torch.nn.LayerNorm) else row
        base = stream - stream.mean() if isinstance(norm, torch.nn.LayerNorm) else stream
        orthogonal = base - (base @ centred) / (centred @ centred) * centred
        with torch.no_grad():
            change = head(norm((orthogonal + centred)[None, None])) - head(norm(orthogonal[None, None]))
        effect = (change - change.mean())[0, 0]
        assert effect.topk(5).indices.tolist() == ids.tolist()


def test_an_encoder_has_no_logits():
    assert logit_effects(opened("bert"), "blocks.1.hook_resid_post", torch.randn(2, 32), 3) is None


@pytest.mark.parametrize("kind", ["attn.hook_z", "mlp.hook_post"])
def test_rows_outside_the_residual_stream_have_no_direct_effect_though_they_be_as_wide(kind: str):
    assert logit_effects(opened("llama"), f"blocks.1.{kind}", torch.randn(2, 32), 3) is None


def test_the_vocabulary_keeps_spaces_before_words(materials: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(materials / "lm" / "stories260k")
    words = vocabulary(tokenizer)
    ids = tokenizer("the patient was", add_special_tokens=False)["input_ids"]
    assert "".join(words[i] for i in ids).strip() == "the patient was"
    assert any(word.startswith(" ") for word in words)
