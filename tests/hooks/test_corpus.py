"""Reading every kind of file, splitting without leaks, windows that know where they stand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hooks import corpus, windows
from hooks.config import CaptureConfig, CorpusConfig, ModelConfig
from hooks.corpus import Document
from hooks.model import load
from sae.errors import UserError

TEXTS = ["first note", "second note", "third note"]


def write(folder: Path, ending: str) -> Path:
    path = folder / f"notes.{ending}"
    frame = pd.DataFrame({"text": TEXTS, "patient": ["a", "b", "a"]})
    match ending:
        case "jsonl":
            path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))
        case "csv":
            frame.to_csv(path, index=False)
        case "tsv":
            frame.to_csv(path, index=False, sep="\t")
        case "parquet":
            frame.to_parquet(path)
        case "txt":
            path.write_text("\n".join(TEXTS))
    return path


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "parquet"])
def test_every_kind_of_table_gives_the_same_documents(ending: str, tmp_path: Path):
    docs = corpus.read(CorpusConfig(name=str(write(tmp_path, ending)), group_column="patient"))
    assert [doc.text for doc in docs] == TEXTS
    assert [doc.group for doc in docs] == ["a", "b", "a"]
    assert [doc.id for doc in docs] == ["0", "1", "2"]


def test_a_text_file_is_documents_or_lines_as_asked(tmp_path: Path):
    path = write(tmp_path, "txt")
    assert [doc.text for doc in corpus.read(CorpusConfig(name=str(path), text_unit="line"))] == TEXTS
    assert len(corpus.read(CorpusConfig(name=str(path)))) == 1


def test_a_folder_of_text_files_is_a_document_each(tmp_path: Path):
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.txt").write_text(text)
    assert [doc.text for doc in corpus.read(CorpusConfig(name=str(tmp_path)))] == TEXTS


def test_reading_a_local_file_leaves_no_copy_in_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = tmp_path / "cache"
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
    corpus.read(CorpusConfig(name=str(write(tmp_path, "jsonl"))))
    leaked = [path for path in cache.rglob("*") if path.is_file() and b"note" in path.read_bytes()]
    assert leaked == []


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 8)), min_size=4, max_size=40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_equal_texts_and_one_patients_documents_stay_on_one_side(pairs: list[tuple[int, int]], seed: int):
    docs = [Document(i, str(i), f"text {text}", group=f"p{group}") for i, (text, group) in enumerate(pairs)]
    sides = corpus.split(docs, 0.3, seed)
    for key in ("text", "group"):
        seen: dict[str, set[str]] = {}
        for doc, side in zip(docs, sides, strict=True):
            seen.setdefault(getattr(doc, key), set()).add(side)
        assert all(len(found) == 1 for found in seen.values())


def test_texts_that_differ_in_case_and_white_space_count_as_equal():
    docs = [Document(0, "0", "Chest  pain"), Document(1, "1", "chest pain\n"), Document(2, "2", "other")]
    assert corpus.bundles(docs) == [0, 0, 2]


def test_the_split_has_the_asked_share_and_follows_the_seed():
    docs = [Document(i, str(i), f"text {i}") for i in range(200)]
    sides = corpus.split(docs, 0.1, 0)
    assert sides.count("held_out") == 20
    assert corpus.split(docs, 0.1, 0) == sides
    assert corpus.split(docs, 0.1, 1) != sides


@pytest.fixture
def docs() -> list[Document]:
    return [Document(0, "0", "patient has fever and pain . no cough"), Document(1, "1", "drug given today")]


def test_windows_hold_every_token_once_with_its_characters(tiny_model: Path, docs: list[Document]):
    lm = load(ModelConfig(name=str(tiny_model)))
    capture = CaptureConfig(context_tokens=5)
    found = windows.tokenise(docs, lm, CorpusConfig(), capture)
    for doc, tokens in zip(docs, found, strict=True):
        words = [doc.text[a:b] for a, b in zip(tokens.char_start, tokens.char_end, strict=True) if a >= 0]
        assert words == doc.text.split()
        special = np.flatnonzero(tokens.is_special)
        assert special.tolist() == list(range(0, len(tokens.token_id), 5))  # BOS before each window
        assert (tokens.token_id[special] == lm.tokenizer.bos_token_id).all()


def test_batches_are_right_padded_and_cover_each_row_once(tiny_model: Path, docs: list[Document]):
    lm = load(ModelConfig(name=str(tiny_model)))
    tokens = windows.tokenise(docs, lm, CorpusConfig(), CaptureConfig(context_tokens=5))
    everything = np.concatenate([doc.token_id for doc in tokens])
    rows: list[int] = []
    for batch in windows.batches(tokens, windows.Frame(5, 0, (1,), ()), batch_tokens=10, pad_id=3):
        assert batch.input_ids.numel() <= 10
        for ids, mask, place in zip(batch.input_ids, batch.attention_mask, batch.rows, strict=True):
            n = int(mask.sum())
            assert mask[:n].all()
            assert ids[:n].tolist() == everything[place].tolist()
            rows += range(place.start, place.stop)
    assert sorted(rows) == list(range(len(everything)))


def test_sorted_batches_waste_little_on_padding():
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(4, 0.8, 900).astype(int), 2, 255)
    zeros = [np.zeros(n, np.int32) for n in lengths]
    tokens = [windows.Tokens(i, ids, ids, ids, ids.astype(bool)) for i, ids in enumerate(zeros)]
    padded = sum(batch.input_ids.numel() for batch in windows.batches(tokens, windows.Frame(256, 0, (), ()), 4096, 0))
    assert lengths.sum() / padded >= 0.9


def test_an_encoders_windows_stand_between_cls_and_sep(tiny_model: Path, docs: list[Document]):
    lm = load(ModelConfig(name=str(tiny_model)))
    encoder = type(lm)(lm.name, lm.model, lm.tokenizer, "encoder", lm.family, lm.folder)
    (first, _) = windows.tokenise(docs, encoder, CorpusConfig(), CaptureConfig(context_tokens=6))
    assert first.token_id[[0, 5, 6, -1]].tolist() == [1, 2, 1, 2]
    assert first.is_special.sum() == 4


MISTAKES = {
    "a number for a text": ("notes.jsonl", '{"text": "secret"}\n{"text": 7}\n', {}, "Row 1 of"),
    "a table without header": ("notes.csv", "7,secret patient has fever\n8,other\n", {}, "is there a header line?"),
    "a text with commas": ("notes.csv", "text,id\nsecret, patient, has fever,3\n", {}, "cannot be read as csv"),
    "an empty table": ("notes.csv", "", {}, "cannot be read as csv"),
    "a table with a header only": ("notes.csv", "text,id\n", {}, "has no documents, expected at least one"),
    "spans as a string": (
        "notes.csv",
        "text,spans\nsecret,\"[{'start': 1}]\"\n",
        {"span_column": "spans"},
        "has no list of spans in column 'spans', expected [{start, end, label}, …]",
    ),
    "spans with other keys": (
        "notes.jsonl",
        '{"text": "secret", "spans": [{"from": 1, "to": 2}]}\n',
        {"span_column": "spans"},
        "has no list of spans in column 'spans', expected [{start, end, label}, …]",
    ),
    "an unknown ending": ("notes.docx", "secret", {}, "has .docx, expected files of one kind of"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_corpus_that_cannot_be_read_is_a_sentence_without_its_text(name: str, tmp_path: Path):
    file, content, settings_, sentence = MISTAKES[name]
    (tmp_path / file).write_text(content)
    with pytest.raises(UserError) as error:
        corpus.read(CorpusConfig(name=str(tmp_path / file), **settings_))
    assert sentence in str(error.value)
    assert "secret" not in str(error.value)


def test_a_file_in_another_encoding_is_named(tmp_path: Path):
    (tmp_path / "a.txt").write_text("note")
    (tmp_path / "b.txt").write_bytes("fièvre".encode("latin-1"))
    with pytest.raises(
        UserError, match=r"b.txt is no UTF-8 text, expected that encoding. Convert it, e.g. with iconv."
    ):
        corpus.read(CorpusConfig(name=str(tmp_path)))


def test_identifiers_in_a_table_stay_as_they_are_written(tmp_path: Path):
    path = tmp_path / "notes.csv"
    path.write_text("text,patient\nfirst,007\nsecond,7\nthird,\nfourth,7.0\nfifth,\n")
    docs = corpus.read(CorpusConfig(name=str(path), group_column="patient"))
    assert [doc.group for doc in docs] == ["007", "7", None, "7.0", None]
    assert corpus.bundles(docs) == [0, 1, 2, 3, 4]


def test_a_missing_text_is_a_short_document(tmp_path: Path):
    path = tmp_path / "notes.jsonl"
    path.write_text('{"text": "fever"}\n{"text": null}\n')
    assert [doc.text for doc in corpus.read(CorpusConfig(name=str(path)))] == ["fever", ""]


def test_endings_in_capitals_are_read_too(tmp_path: Path):
    (tmp_path / "A.TXT").write_text("first")
    (tmp_path / "b.txt").write_text("second")
    assert [doc.text for doc in corpus.read(CorpusConfig(name=str(tmp_path)))] == ["first", "second"]
