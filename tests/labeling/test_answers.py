"""Answers are refused in one sentence that never repeats them, or stored in one form."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.answers import labels_of, validate_answers
from labeling.codebook_file import default_codebook, read_codebook
from sae.errors import UserError
from tests.labeling.desk import snapshot_of

BOOK, SEEN = default_codebook(), snapshot_of(1)
GOOD = {
    "category": "diagnosis",
    "concept": {"codes": ["heart_failure", "disease", "heart_failure"], "words": "  heart failure "},
    "interpretability": "s4",
    "monosemanticity": "cannot_judge",
    "clinical_relevance": "s5",
    "protected_attribute": "none",
    "confidence": "s4",
    "rationale": {"text": "All passages name a failing heart.", "spans": [{"context": 0, "start": 1, "end": 3}] * 2},
}


def test_stores_one_form():
    found = validate_answers(BOOK, GOOD, SEEN)
    assert found["concept"] == {"codes": ["disease", "heart_failure"], "words": "heart failure"}
    assert found["rationale"]["spans"] == [{"context": 0, "start": 1, "end": 3}]
    assert validate_answers(BOOK, found, SEEN) == found
    assert ("concept", "heart_failure") in labels_of(BOOK, found)


def test_an_empty_set_is_an_answer_and_a_missing_one_is_none():
    nothing = validate_answers(BOOK, {**GOOD, "concept": {"codes": [], "words": ""}}, SEEN)
    assert nothing["concept"] == {"codes": [], "words": ""}
    assert "concept" not in validate_answers(BOOK, {key: GOOD[key] for key in GOOD if key != "concept"}, SEEN)


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        ("category", "secret words"), ("category", 3), ("category", None), ("confidence", "cannot_judge"),
        ("concept", {"codes": ["secret words"]}), ("concept", {"codes": "disease"}), ("concept", {"words": "\ud800 secret words"}),
        ("rationale", {"text": "secret words", "spans": GOOD["rationale"]["spans"]}),
        ("rationale", {"text": "secret words, but long enough", "spans": []}),
        ("rationale", {"text": "secret words, but long enough", "spans": [{"context": 0, "start": 1, "end": 9}]}),
        ("rationale", {"text": "secret words, but long enough", "spans": [{"context": 0, "start": True, "end": 2}]}),
        ("unknown", "secret words"),
    ],
)  # fmt: skip
def test_refuses_without_repeating(key: str, answer: object):
    with pytest.raises(UserError) as caught:
        validate_answers(BOOK, {**GOOD, key: answer}, SEEN)
    assert "secret words" not in str(caught.value)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(), some, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(ANYTHING)
def test_anything_is_refused_in_one_sentence_or_taken(value: object):
    for sent in (value, {**GOOD, "rationale": value}, {**GOOD, "concept": value}, {**GOOD, "category": value}):
        try:
            validate_answers(BOOK, sent, SEEN)
        except UserError:
            continue


def test_the_vocabulary_fits_the_embedded_clinic():
    from clinlens.clinic.concepts import CONCEPTS

    assert BOOK.vocabulary is not None
    assert set(CONCEPTS) <= {term.code for term in BOOK.vocabulary.terms}


def test_a_malformed_codebook_names_the_place(tmp_path):
    (tmp_path / "book.yaml").write_text("title: x\nprimary: a\nquestions: [{key: a, kind: choice, name: A}]")
    with pytest.raises(UserError, match=r"questions\.0"):
        read_codebook(tmp_path / "book.yaml")
