"""A text's tokens know where they stand, and units cover words, sentences and findings."""

import pytest

from analysis.attribution import case as cases
from analysis.attribution.case import MarkedSpan
from sae.errors import UserError
from tests.analysis.attribution.worlds import TEXT, opened


def test_every_token_says_its_own_text_and_special_ones_are_marked():
    case = cases.read(TEXT, opened("llama"))
    assert case.is_special.tolist() == [True] + [False] * 12
    assert list(case.tokens[1:]) == TEXT.split()
    assert all(TEXT[a:b] == token for (a, b), token in zip(case.offsets[1:], case.tokens[1:], strict=True))


def test_encoders_have_special_tokens_on_both_sides():
    case = cases.read(TEXT, opened("bert"))
    assert case.is_special.nonzero().flatten().tolist() == [0, case.n_tokens - 1]


def test_units_hold_every_token_once_and_no_special_one():
    case = cases.read(TEXT, opened("llama"))
    for kind in ("tokens", "words", "sentences"):
        assert sorted(i for unit in case.units(kind) for i in unit.tokens) == list(range(1, 13))
    assert [unit.tokens for unit in case.units("sentences")] == [tuple(range(1, 7)), tuple(range(7, 13))]


def test_marked_findings_are_units():
    start = TEXT.index("no cough")
    case = cases.read(TEXT, opened("llama"), spans=[MarkedSpan(start, start + len("no cough"), "cough, denied")])
    (unit,) = case.units("spans")
    assert (unit.label, [case.tokens[i] for i in unit.tokens]) == ("cough, denied", ["no", "cough"])


def test_no_marked_finding_is_a_clear_error():
    with pytest.raises(UserError, match="no marked span"):
        cases.read(TEXT, opened("llama")).units("spans")


def test_a_text_longer_than_the_context_is_refused_not_cut():
    with pytest.raises(
        UserError, match=r"71 tokens, but the model 'llama' reads at most 64. Shorten it, or .*--window"
    ):
        cases.read("pain " * 70, opened("llama"))


def test_an_empty_text_is_a_clear_error():
    with pytest.raises(UserError, match="The text has no word"):
        cases.read("  ", opened("llama"))
