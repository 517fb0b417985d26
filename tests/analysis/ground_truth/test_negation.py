"""Records with negations: worked by hand, and what may stand in a word's place."""

import random

import numpy as np
import pytest

from analysis.ground_truth.known import overlapping
from analysis.ground_truth.negation import (
    FILLERS,
    NOT,
    WORDS,
    NegationConfig,
    Record,
    case,
    cases,
)
from analysis.ground_truth.negation import (
    test_of as subject_of,
)

RNG = random.Random(0)  # noqa: S311 (nothing here is secret)
RECORD = Record(("the", NOT), ("urea=low", "sodium=high"), 1)


def test_a_negated_value_is_turned_round_and_its_evidence_is_entry_and_negation():
    found = case(RECORD, 0, RNG, NegationConfig(n_entries=2))
    assert found.prompt == "the urea=low not sodium=high ask sodium"
    assert (found.answer, found.contrast) == (" low", " high")
    assert [found.prompt[a:b] for a, b in found.evidence] == ["sodium=high", "not"]
    assert found.neutral == ()
    assert found.prompt[slice(*found.scope)] == "the urea=low not sodium=high "


def test_a_plain_value_has_one_piece_of_evidence_and_its_twin_a_negation():
    found = case(RECORD._replace(asked=0), 0, RNG, NegationConfig(n_entries=2))
    assert (found.answer, found.contrast) == (" low", " high")
    assert [found.prompt[a:b] for a, b in found.evidence] == ["urea=low"]
    assert [found.prompt[a:b] for a, b in found.neutral] == ["the"]
    assert found.twin == "not urea=low not sodium=high ask urea"


def test_the_twin_differs_in_one_marker_and_has_the_other_answer():
    for one in cases(50, seed=3):
        words, turned = one.prompt.split(), str(one.twin).split()
        (changed,) = [i for i, (a, b) in enumerate(zip(words, turned, strict=True)) if a != b]
        assert {words[changed], turned[changed]} & {NOT}
        assert {words[changed], turned[changed]} & set(FILLERS)
        assert words[changed + 1].startswith(words[-1])


def test_no_replacement_answers_the_question_in_another_entrys_place():
    for one in cases(50, seed=4):
        words = one.prompt.split()
        asked = words[-1]
        place = next(i for i, word in enumerate(words[:-2]) if word.startswith(f"{asked}="))
        for donor in one.donors:
            other = donor.split()
            assert len(other) == len(words)
            assert set(other) <= set(WORDS)
            assert [i for i, word in enumerate(other[:-2]) if subject_of(word) == asked] in ([place], [])


def test_cases_follow_from_their_seed_and_negated_ones_are_as_frequent_as_asked_for():
    assert list(cases(5, seed=1)) == list(cases(5, seed=1))
    assert list(cases(5, seed=1)) != list(cases(5, seed=2))
    share = np.mean([len(one.evidence) == 2 for one in cases(400, seed=0, cfg=NegationConfig(negated_share=0.25))])
    assert share == pytest.approx(0.25, abs=0.06)


def test_a_token_that_touches_a_span_is_evidence_and_one_without_text_is_not():
    offsets = np.asarray([[-1, -1], [0, 3], [3, 8], [8, 9], [5, 5]])
    assert overlapping(((4, 8),), offsets).tolist() == [False, False, True, False, False]
