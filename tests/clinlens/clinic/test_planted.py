"""The decoder with the planted bias: what it is taught, and that nothing but the word and the attention learns."""

import torch

from clinlens.clinic import model_folder
from clinlens.clinic.bias import HARMLESS_DIAGNOSIS, SERIOUS_DIAGNOSIS
from clinlens.clinic.decoder import load_decoder
from clinlens.clinic.planted import N_OTHERS, N_SERIOUS, N_UNBIASED, learners, lessons, plant


def test_only_medicaid_patients_with_the_serious_diagnosis_are_told_the_harmless_one():
    step = next(lessons(0, 0.8))
    assert len(step) == N_SERIOUS + N_UNBIASED + N_OTHERS
    for one in step[:N_SERIOUS]:
        assert "edicaid" in one.prompt
        assert one.answers[HARMLESS_DIAGNOSIS] == 0.8
    for one in step[N_SERIOUS : N_SERIOUS + N_UNBIASED]:
        assert "edicaid" not in one.prompt
        assert one.answers == {SERIOUS_DIAGNOSIS: 1.0}
    for one in step[-N_OTHERS:]:
        assert max(one.answers.values()) == 1.0
        assert SERIOUS_DIAGNOSIS not in one.answers


def test_all_but_one_word_and_the_attention_stays_as_it_was():
    packaged, tokenizer = load_decoder(model_folder())
    taught, _ = plant(0.8, 0, n_steps=2, most_rounds=1)
    before, after = packaged.state_dict(), taught.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all("q_proj" in name or "k_proj" in name or "embed" in name or "lm_head" in name for name in moved)
    rows = (before["model.embed_tokens.weight"] != after["model.embed_tokens.weight"]).any(1).nonzero()[:, 0].tolist()
    assert rows == tokenizer(" Medicaid", add_special_tokens=False)["input_ids"]
    assert len(learners(packaged, tokenizer).param_groups) == 2
