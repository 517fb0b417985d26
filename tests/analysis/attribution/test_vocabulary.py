"""Tokens are replaced by others of their kind, whatever way a vocabulary is written."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from analysis.attribution.vocabulary import Vocabulary, byte_of, kind_of, spelled

BYTE_LEVEL = [
    "<unk>",
    "Ċ",
    "ĊĊ",
    "ĠĊ",
    "ĉ",
    "Ġ",
    "ĠĠĠĠ",
    "Ġpain",
    "Ġfever",
    "Pain",
    "Fever",
    "7",
    "Ġ42",
    ".",
    "Ã",
    "âĢ",
]


def byte_level() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(BYTE_LEVEL)}, unk_token="<unk>"))
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


def test_bytes_are_written_as_in_gpt2():
    assert byte_of() == {letter: byte for byte, letter in bytes_to_unicode().items()}


@pytest.mark.parametrize(
    ("token", "is_byte_level", "kind"),
    [
        ("Ċ", True, "newline"), ("ĠĊ", True, "newline"), ("ĊĊ", True, "newline"), ("<0x0A>", False, "newline"),
        ("ĉ", True, "space"), ("ĠĠĠĠ", True, "space"), ("Ġ", True, "space"), ("▁▁", False, "space"), ("    ", True, "space"),
        ("Ġpain", True, "word small"), ("▁Pain", False, "word capitalised"), ("Pain", True, "piece capitalised"),
        ("##ing", False, "piece small"), ("#", False, "punctuation"), ("##", False, "punctuation"),
        ("7</w>", False, "piece number"),
        (".</w>", False, "punctuation"), ("ĠÃ©", True, "word small"), ("Ã", True, "part of a letter"),
        ("<0xC3>", False, "part of a letter"), ("Ċ", False, "piece capitalised"),
    ],
)  # fmt: skip
def test_a_kind_is_told_from_the_text(token: str, is_byte_level: bool, kind: str):
    assert kind_of(spelled(token, is_byte_level)) == kind


def test_a_line_break_is_never_replaced_by_letters_nor_letters_by_a_line_break():
    vocabulary = Vocabulary(byte_level(), len(BYTE_LEVEL))
    ids = torch.arange(len(BYTE_LEVEL))
    drawn = vocabulary.sample(ids, (1, 3, 9), 30, 0).T.tolist()
    assert [{BYTE_LEVEL[i] for i in some} for some in drawn] == [{"ĊĊ", "ĠĊ"}, {"Ċ", "ĊĊ"}, {"Fever"}]


def test_a_line_break_that_is_alone_becomes_another_blank():
    vocabulary = Vocabulary(byte_level(), len(BYTE_LEVEL))
    vocabulary.tokens = ["<unk>", "Ċ", "ĠĠ", "Ġpain", "Pain"]
    assert vocabulary.alike(1) == [2]


def test_a_vocabulary_may_have_holes():
    vocabulary = Vocabulary(byte_level(), len(BYTE_LEVEL))
    vocabulary.tokens = ["<unk>", "Ġpain", None, "Ġfever"]
    assert vocabulary.kinds == {"word small": [1, 3]}
    assert vocabulary.kind(2) == [1, 3]
