"""Training: the schedule, the same weights from the same seed, and errors before any work is done."""

import json

import pytest
import torch

from clinlens.clinic import model_folder, train_model
from clinlens.clinic.decoder import load_decoder
from clinlens.clinic.knowledge import HELD_OUT
from clinlens.clinic.notes import ClinicConfig, generate
from clinlens.clinic.train_model import ClinicTrainingConfig, digest, learning_rate, main, train
from clinlens.clinic.vocabulary import learn_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer():
    return load_decoder(model_folder())[1]


def test_the_same_seed_gives_the_same_weights_and_a_log(tmp_path, tokenizer):
    cfg = ClinicTrainingConfig(n_steps=3, batch_notes=4)
    runs = [train(cfg, tokenizer, tmp_path / f"{run}.jsonl", seen := set()).state_dict() for run in range(2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    last_line = json.loads((tmp_path / "0.jsonl").read_text().splitlines()[-1])
    assert last_line["step"] == 3
    assert {"lm_loss", "answer_loss", "answer_accuracy", "lr"} <= set(last_line)
    first = next(generate(ClinicConfig(seed=cfg.seed, twin_fraction=cfg.twin_fraction)))
    assert digest(first.text) in seen


def test_the_learning_rate_rises_and_then_falls_to_almost_nothing():
    cfg = ClinicTrainingConfig(n_steps=100, warmup_steps=10, lr=1e-3)
    rates = [learning_rate(step, cfg) for step in range(100)]
    assert rates.index(max(rates)) == 10
    assert rates[0] < 1.1e-4
    assert rates[-1] < 3e-5


def test_the_seed_of_the_test_notes_is_refused(capsys):
    assert main(["--seed", str(HELD_OUT.seed)]) == 2
    assert capsys.readouterr().err == (
        f"seed={HELD_OUT.seed} writes the notes that the model is tested on. Choose another seed.\n"
    )


def test_a_wrong_setting_is_named(capsys):
    assert main(["--n-steps", "0"]) == 2
    assert capsys.readouterr().err == "n_steps=0: Input should be greater than or equal to 1.\n"


def test_torch_without_the_optimiser_is_named(capsys, monkeypatch):
    monkeypatch.delattr(train_model.torch.optim, "Muon")
    assert main([]) == 2
    assert capsys.readouterr().err.endswith("has no Muon optimiser. Install torch 2.9 or newer to train.\n")


def test_a_vocabulary_too_small_to_tell_the_diagnoses_apart_is_refused():
    texts = [note.text for note in generate(ClinicConfig(n_notes=200))]
    with pytest.raises(ValueError, match="different first tokens for 16 diagnoses with vocab_size=270"):
        learn_tokenizer(texts, vocab_size=270)


def test_every_setting_has_one_sentence():
    assert all((field.description or "").endswith(".") for field in ClinicTrainingConfig.model_fields.values())


def test_one_command_replaces_a_folder_by_a_complete_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_model, "HELD_OUT", ClinicConfig(n_notes=20, seed=HELD_OUT.seed))
    monkeypatch.setattr(train_model, "_TOKENIZER_NOTES", 800)
    folder = tmp_path / "clinic"
    for leftover in (folder, tmp_path / "clinic.partial"):
        leftover.mkdir()
        (leftover / "leftover").touch()
    options = ["--n-steps", "2", "--batch-notes", "4", "--bias", "0.5"]
    assert main(["--folder", str(folder), *options]) == 0
    figures = json.loads(capsys.readouterr().out)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert figures["weights_sha256"] in card
    assert "--n-steps 2 --batch-notes 4 --bias 0.5" in card
    assert [path.name for path in tmp_path.iterdir()] == ["clinic"]
    assert not (folder / "leftover").exists()
    assert load_decoder(folder)[0].num_parameters() == figures["n_parameters"]
