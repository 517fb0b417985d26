"""Dialogues are read as their model's template writes them; what is wrong with one is said without its words."""

import json
from pathlib import Path

import pytest

from clinlens.config import RunConfig
from clinlens.pipeline import Run
from hooks import chat, corpus, windows
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.model import load, load_tokenizer
from sae.errors import UserError
from tests.tiny import ROLES, chat_tokenizer, write_tiny_model

TURNS = [{"role": "user", "content": "has fever and pain"}, {"role": "assistant", "content": "no cough"}]
TEXT = "<s> <|user|> has fever and pain <|end|> <|assistant|> no cough <|end|>"


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tiny_model(tmp_path_factory.mktemp("chat") / "decoder", "qwen2")
    chat_tokenizer().save_pretrained(folder)
    return folder


def write(folder: Path, *dialogues: object) -> CorpusConfig:
    path = folder / "dialogues.jsonl"
    path.write_text("\n".join(json.dumps({"messages": messages, "patient": "p"}) for messages in dialogues))
    return CorpusConfig(name=str(path), messages_column="messages")


def read(model: Path, cfg: CorpusConfig) -> list[corpus.Document]:
    return corpus.read(cfg, chat.renderer(ModelConfig(name=str(model)), cfg))


def test_the_tokenizer_keeps_its_chat_template(chat_model: Path, tiny_model: Path):
    assert load_tokenizer(chat_model).chat_template == chat_tokenizer().chat_template
    assert load_tokenizer(tiny_model).chat_template is None


def test_a_dialogue_is_the_text_its_template_writes(chat_model: Path, tmp_path: Path):
    docs = read(chat_model, write(tmp_path, TURNS, TURNS[:1], []))
    assert [doc.text for doc in docs] == [TEXT, TEXT[: TEXT.index(" <|assistant|>")], ""]


def test_a_parquet_holds_dialogues_too_and_its_empty_keys_are_left_out(chat_model: Path, tmp_path: Path):
    import pandas as pd

    pd.DataFrame({"messages": [[TURNS[0] | {"name": None}, TURNS[1] | {"name": "x"}]]}).to_parquet(
        tmp_path / "d.parquet"
    )
    (doc,) = read(chat_model, CorpusConfig(name=str(tmp_path / "d.parquet"), messages_column="messages"))
    assert doc.text == TEXT


def test_markers_are_special_and_words_stand_where_the_written_text_has_them(chat_model: Path, tmp_path: Path):
    docs = read(chat_model, write(tmp_path, TURNS))
    (tokens,) = windows.tokenise(
        docs, load(ModelConfig(name=str(chat_model))), CorpusConfig(), CaptureConfig(context_tokens=64)
    )
    words = ~tokens.is_special
    places = zip(tokens.char_start[words], tokens.char_end[words], strict=True)
    assert [TEXT[a:b] for a, b in places] == "has fever and pain no cough".split()
    markers = chat_tokenizer().convert_tokens_to_ids(["<s>", ROLES[0], ROLES[2], ROLES[1], ROLES[2]])
    assert tokens.token_id[tokens.is_special].tolist() == markers


@pytest.mark.parametrize("prepend_bos", [True, False])
def test_a_leading_bos_is_there_once(chat_model: Path, tmp_path: Path, prepend_bos: bool):
    docs, lm = read(chat_model, write(tmp_path, TURNS)), load(ModelConfig(name=str(chat_model)))
    capture = CaptureConfig(context_tokens=8, prepend_bos=prepend_bos)
    (tokens,) = windows.tokenise(docs, lm, CorpusConfig(), capture)
    bos = (tokens.token_id == lm.tokenizer.bos_token_id).nonzero()[0].tolist()
    assert bos == ([0, 8] if prepend_bos else [0])
    assert tokens.char_start[0] == (-1 if prepend_bos else 0)
    assert len(tokens.token_id) == 11 + len(bos) - 1


def test_markers_alone_are_no_words(chat_model: Path, tmp_path: Path):
    docs = read(chat_model, write(tmp_path, TURNS, [{"role": "user", "content": ""}]))
    with pytest.raises(UserError, match=r"1 of 2 documents have fewer than 2 tokens \(the first is row 1\)"):
        windows.tokenise(
            docs, load(ModelConfig(name=str(chat_model))), CorpusConfig(), CaptureConfig(context_tokens=64)
        )


def test_a_run_renders_without_loading_the_model(chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hooks.model.load_weights", lambda *_: pytest.fail("the model was loaded"))
    cfg = RunConfig(folder=tmp_path / "run", model=ModelConfig(name=str(chat_model)), corpus=write(tmp_path, TURNS))
    assert [doc.text for doc in Run(cfg).documents] == [TEXT]


def test_a_tokenizer_without_a_template_is_a_sentence(tiny_model: Path, tmp_path: Path):
    with pytest.raises(
        UserError, match=r"'messages', but the tokenizer of .* has no chat template. Choose a chat model"
    ):
        read(tiny_model, write(tmp_path, TURNS))


MISTAKES = {
    "a text": ("secret", "Row 1 of"),
    "other keys": (
        [{"from": "user", "value": "secret"}],
        "has no list of messages in column 'messages', expected [{role",
    ),
    "parts for a text": ([{"role": "user", "content": [{"text": "secret"}]}], "has no list of messages"),
    "a role the template has not": ([{"role": "secret", "content": "secret"}], "the messages of row 1 of"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_messages_that_are_none_are_a_sentence_without_their_words(chat_model: Path, tmp_path: Path, name: str):
    messages, sentence = MISTAKES[name]
    render = chat.renderer(ModelConfig(name=str(chat_model)), write(tmp_path, TURNS))
    assert render is not None
    with pytest.raises(UserError) as error:
        corpus.documents([{"messages": TURNS}, {"messages": messages}], write(tmp_path, TURNS), render)
    assert sentence in str(error.value)
    assert "secret" not in str(error.value)
    assert "secret" not in repr(error.value.__cause__)


def test_a_missing_column_of_messages_is_named(chat_model: Path, tmp_path: Path):
    cfg = write(tmp_path, TURNS).model_copy(update={"messages_column": "turns"})
    with pytest.raises(
        UserError, match=r"has no column 'turns', expected one of messages, patient. Correct corpus.messages_c"
    ):
        read(chat_model, cfg)
