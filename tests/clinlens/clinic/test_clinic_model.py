"""The packaged decoder: it is whole, it loads as any model does, and it knows the clinic."""

import hashlib
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from clinlens.clinic import model_folder
from clinlens.clinic.decoder import batches, greedy_is_right
from clinlens.clinic.diagnoses import DIAGNOSES
from clinlens.clinic.knowledge import HELD_OUT, Share, main, measure
from clinlens.clinic.model_card import figure_rows
from clinlens.clinic.notes import ClinicConfig, generate
from clinlens.clinic.shortcut import measure_shortcut
from clinlens.clinic.vocabulary import BOS_ID, EOS_ID, PAD_ID, first_answer_tokens

pytestmark = pytest.mark.usefixtures("one_thread")

UNSEEN = ClinicConfig(n_notes=500, seed=77_000_001)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(model_folder(), local_files_only=True)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(model_folder(), local_files_only=True).eval()


@pytest.fixture(scope="module")
def figures():
    last_line = (model_folder() / "training_log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    return json.loads(last_line)["figures"]


def test_the_folder_is_at_most_eight_megabytes_and_holds_no_pickle():
    files = [path for path in model_folder().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jsonl", ".md"}


def test_loads_as_a_float32_llama_with_tied_embeddings(model):
    assert model.config.model_type == "llama"
    assert model.config.num_hidden_layers == 4
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()


def test_the_weights_are_those_that_the_card_and_the_log_name(figures):
    digest = hashlib.sha256((model_folder() / "model.safetensors").read_bytes()).hexdigest()
    assert figures["weights_sha256"] == digest
    assert digest in (model_folder() / "README.md").read_text(encoding="utf-8")


def test_the_card_shows_the_figures_of_the_log(figures):
    assert figure_rows(figures) in (model_folder() / "README.md").read_text(encoding="utf-8")


def test_no_held_out_text_was_trained_on(figures):
    assert figures["held_out"] == HELD_OUT.model_dump()
    assert figures["config"]["seed"] not in (HELD_OUT.seed, UNSEEN.seed)
    assert figures["n_held_out_texts_in_training"] == 0


def test_the_recorded_figures_reach_the_targets(figures):
    assert figures["accuracy"]["value"] >= 0.95
    assert figures["twins_flipped"]["value"] >= 0.90


def test_knows_the_diagnoses_of_unseen_notes_and_follows_the_evidence_in_twins(model, tokenizer):
    knowledge = measure(model, tokenizer, list(generate(UNSEEN)))
    assert knowledge.accuracy.n == 500
    assert knowledge.twins_flipped.n > 80
    assert knowledge.accuracy.value >= 0.95
    assert knowledge.twins_flipped.value >= 0.90


def test_one_pass_tells_the_same_as_generating_token_by_token(model, tokenizer):
    notes = list(generate(ClinicConfig(n_notes=16, seed=77_000_002)))
    told = {}
    for batch in batches(notes, tokenizer, 16):
        told |= zip((note.id for note in batch.notes), greedy_is_right(model, batch), strict=True)
    for note in notes:
        prompt = tokenizer(note.prompt, return_tensors="pt")
        written = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt.input_ids.shape[1] :]
        first_line = tokenizer.decode(written).split("\n")[0]
        assert (first_line == f" {note.diagnosis}") == told[note.id]


def test_padding_changes_no_answer(model, tokenizer):
    notes = list(generate(ClinicConfig(n_notes=12, seed=77_000_003)))
    with torch.inference_mode():
        for batch in batches(notes, tokenizer, 12):
            together = model(batch.token_ids, attention_mask=batch.mask.long()).logits
            for row, n_tokens in enumerate(batch.mask.sum(1).tolist()):
                alone = model(batch.token_ids[row : row + 1, :n_tokens]).logits[0]
                # float32 sums in another order; 1e-3 is far below any difference between two diagnoses
                torch.testing.assert_close(together[row, :n_tokens], alone, atol=1e-3, rtol=1e-3)


def test_every_text_goes_through_the_tokenizer_and_back(tokenizer, notes):
    assert tokenizer.all_special_ids == [BOS_ID, EOS_ID, PAD_ID]
    for text in [notes[0].text, "naïve café ☃ 3.14\n\ttab", "", "   spaces  "]:
        encoded = tokenizer(text, return_offsets_mapping=True)
        assert encoded.input_ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(encoded.input_ids[1:]) == text


def test_offsets_cover_the_note_without_gaps_and_digits_stand_alone(tokenizer, notes):
    for note in notes[:50]:
        encoded = tokenizer(note.text, return_offsets_mapping=True)
        pieces = [note.text[start:end] for start, end in encoded.offset_mapping[1:]]
        assert "".join(pieces) == note.text
        assert not any(sum(char.isdigit() for char in piece) > 1 for piece in pieces)


def test_every_diagnosis_begins_with_a_token_of_its_own(tokenizer):
    assert len(set(first_answer_tokens(tokenizer).values())) == len(DIAGNOSES)


def test_keywords_alone_fall_far_short_of_the_decoder():
    training = list(generate(ClinicConfig(n_notes=2000, seed=77_000_004)))
    knowledge = measure_shortcut(training, list(generate(UNSEEN)))
    assert 0.2 < knowledge.accuracy.value < 0.75  # a fair part of the notes can be guessed, many cannot
    assert knowledge.twins_flipped.value < 0.5


def test_intervals_are_wilsons():
    # Worked by hand: p = 0.9, n = 100, z = 1.959964 gives centre 0.88520 and half-width 0.05957.
    low, high = Share(90, 100).interval
    assert low == pytest.approx(0.8256, abs=1e-4)
    assert high == pytest.approx(0.9448, abs=1e-4)
    assert Share(0, 0).interval == (0.0, 1.0)
    assert Share(5, 5).interval[1] == 1.0


def test_the_command_prints_one_json_object(capsys):
    assert main(["--json", "--n-notes", "60"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["accuracy"]["n"] == 60
    assert set(printed["by_diagnosis"]) == set(DIAGNOSES)


def test_a_missing_model_folder_is_named(tmp_path, capsys):
    assert main(["--model", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.startswith(f"no model folder at {tmp_path / 'nowhere'}. Give a folder")
