"""Folders that are no whole model are refused in a sentence."""

import shutil
from pathlib import Path

import pytest
from transformers import AutoModel

from hooks.config import ModelConfig
from hooks.model import load
from sae.errors import UserError
from tests.tiny import write_tiny_model


def refused(folder: Path, **settings: str) -> str:
    with pytest.raises(UserError) as error:
        load(ModelConfig.model_validate({"name": str(folder), **settings}))
    return str(error.value)


def test_weights_that_are_missing_are_an_error_not_random_numbers(tiny_model: Path, tmp_path: Path):
    AutoModel.from_pretrained(tiny_model).save_pretrained(tmp_path)  # without its head
    shutil.copy(tiny_model / "tokenizer.json", tmp_path)
    assert "lacks 1 weights of a ForCausalLM model (the first is lm_head.weight), expected all." in refused(tmp_path)


def test_a_truncated_file_is_an_error(tiny_model: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "cannot be read (SafetensorError), expected whole *.safetensors files of this model." in refused(folder)


def test_pickled_weights_are_refused(tiny_model: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "has no *.safetensors weights, expected that format because pickled weights can execute code." in refused(
        folder
    )


def test_a_folder_without_tokenizer_is_refused(tiny_model: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "holds no tokenizer, expected tokenizer.json." in refused(folder)


def test_a_gpu_that_is_not_there_is_a_sentence(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert (
        refused(tiny_model, device="cuda")
        == "model.device is 'cuda', but torch sees no GPU here. Set it to auto or cpu."
    )


def test_a_roberta_reads_less_than_it_has_positions(tmp_path: Path):
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=99, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=34, pad_token_id=1,
    )  # fmt: skip
    write_tiny_model(tmp_path, "bert")
    RobertaModel(config).save_pretrained(tmp_path)
    assert load(ModelConfig(name=str(tmp_path))).max_context_tokens == 32
