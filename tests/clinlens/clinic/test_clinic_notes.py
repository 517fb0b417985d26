"""The notes: spans, evidence, variety, determinism."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import FrozenInstanceError

import pytest
from pydantic import ValidationError

from clinlens.clinic.concepts import CONCEPTS
from clinlens.clinic.diagnoses import DIAGNOSES, decide
from clinlens.clinic.notes import QUESTION, ClinicConfig, generate


def test_every_span_is_a_known_form_of_its_concept(notes):
    for note in notes:
        for span in note.spans:
            concept = CONCEPTS[span.concept]
            value = concept.value_of(note.text[span.start : span.end])
            assert value is not None, (span, note.text[span.start : span.end])
            assert span.category == concept.category
            if span.status == "normal_value":
                assert not concept.is_present(value)
            elif span.status in ("affirmed", "other_person"):
                assert concept.is_present(value)


def test_spans_come_in_order_and_do_not_overlap(notes):
    for note in notes:
        ends = [0] + [span.end for span in note.spans]
        assert all(span.start >= end for span, end in zip(note.spans, ends, strict=False))
        assert ends[-1] < note.answer[0]


def test_a_negated_mention_stands_beside_a_word_that_negates_it(notes):
    cues = ("no", "denies", "negative", "without", "absent", "not", "longer")
    for note in notes[:500]:
        for span in note.spans:
            if span.status == "negated":
                before = max(note.text.rfind(mark, 0, span.start) for mark in (". ", ": ", "\n"))
                sentence = note.text[before : note.text.index(".", span.end)].lower().replace(",", " ").split()
                assert set(sentence) & set(cues), sentence


def test_the_diagnosis_follows_from_what_the_spans_say(notes):
    for note in notes:
        findings = {}
        for span in note.spans:
            if span.status != "other_person":
                value = CONCEPTS[span.concept].value_of(note.text[span.start : span.end])
                findings[span.concept] = False if span.status == "negated" else value
        assert decide(findings) == note.rule_diagnosis == note.diagnosis
        assert findings.items() >= note.findings.items()


def test_the_note_ends_with_its_diagnosis_and_plan(notes):
    for note in notes:
        assert note.prompt.endswith(f"\n{QUESTION}")
        assert note.text[slice(*note.answer)] == note.diagnosis
        plan = DIAGNOSES[note.diagnosis].plan
        assert note.text == f"{note.prompt} {note.diagnosis}\nPlan: {plan}"
        assert note.diagnosis not in note.prompt


def test_evidence_is_the_rule_and_what_would_change_it(notes):
    for note in notes[:500]:
        rule = DIAGNOSES[note.diagnosis]
        evidence = {span.concept for span in note.evidence}
        assert evidence, note.text
        assert set(rule.all_of) <= evidence
        for span in note.evidence:
            assert span.status != "other_person"
            is_present = CONCEPTS[span.concept].is_present(note.findings[span.concept])
            turned = {**note.findings, span.concept: not is_present}
            assert span.concept in rule.concepts or decide(turned) != note.diagnosis


def test_two_thousand_notes_show_everything(notes):
    concepts = {span.concept for note in notes for span in note.spans}
    assert concepts == set(CONCEPTS)
    assert len(concepts) >= 58
    assert len({concept.category for concept in CONCEPTS.values()}) >= 8
    assert len({note.diagnosis for note in notes}) == len(DIAGNOSES) >= 15
    assert {span.status for note in notes for span in note.spans} == {
        "affirmed",
        "negated",
        "normal_value",
        "other_person",
    }
    assert Counter(note.diagnosis for note in notes).most_common()[-1][1] > 2000 / len(DIAGNOSES) / 2


def test_no_deciding_word_belongs_to_one_diagnosis(notes):
    for name, concept in CONCEPTS.items():
        diagnoses = Counter(
            note.diagnosis
            for note in notes
            for span in note.spans
            if span.concept == name and span.status == "affirmed"
        )
        assert len(diagnoses) >= 3, f"{concept.name} is affirmed in {diagnoses} only"


def test_the_same_config_gives_the_same_notes_and_more_notes_begin_alike():
    few, many = ClinicConfig(n_notes=20, seed=3), ClinicConfig(n_notes=60, seed=3)
    assert list(generate(few)) == list(generate(few)) == list(generate(many))[:20]


def test_another_seed_gives_other_texts():
    texts = [{note.text for note in generate(ClinicConfig(n_notes=300, seed=seed))} for seed in (1, 2)]
    assert not texts[0] & texts[1]


@pytest.mark.parametrize("n_notes", [1, 2, 7])
def test_writes_as_many_notes_as_were_asked_for(n_notes):
    assert len(list(generate(ClinicConfig(n_notes=n_notes, twin_fraction=1.0)))) == n_notes


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_the_share_of_notes_in_pairs_is_the_one_asked_for(fraction):
    written = list(generate(ClinicConfig(n_notes=600, twin_fraction=fraction)))
    sizes = Counter(note.group for note in written)
    assert sum(size for size in sizes.values() if size == 2) / 600 == pytest.approx(fraction, abs=0.07)


def test_a_note_is_frozen(notes):
    with pytest.raises(FrozenInstanceError):
        notes[0].text = "something else"


def test_the_document_is_plain_json_with_all_that_is_known(notes):
    note = next(note for note in notes if note.twin_of)
    document = note.document()
    assert json.loads(json.dumps(document)) == document
    assert document["id"] == note.id
    assert document["text"] == note.text
    assert (document["source"], document["split"], document["group"]) == ("clinic", "all", note.group)
    assert {"diagnosis", "sex", "insurance", "age", "twin_of", "biased"} <= set(document["labels"])
    assert set(document["spans"][0]) == {"start", "end", "label", "category", "status", "is_evidence"}
    assert [span["label"] for span in document["spans"]] == [span.concept for span in note.spans]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"n_notes": 0}, "n_notes\n.*greater than or equal to 1"),
        ({"bias": 1.5}, "bias\n.*less than or equal to 1"),
        ({"twin_fraction": -0.1}, "twin_fraction\n.*greater than or equal to 0"),
        ({"sed": 3}, "sed\n.*Extra inputs are not permitted"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(setting, message):
    with pytest.raises(ValidationError, match=message):
        ClinicConfig(**setting)


def test_every_setting_has_one_sentence():
    for field in ClinicConfig.model_fields.values():
        assert field.description
        assert field.description.endswith(".")


def test_writing_notes_loads_no_torch():
    code = (
        "import sys, clinlens.clinic; from clinlens.clinic.notes import ClinicConfig, generate; "
        "list(generate(ClinicConfig(n_notes=3))); clinlens.clinic.model_folder(); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'tokenizers', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
