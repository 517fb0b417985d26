"""The planted bias: off by default, and on for exactly the patients it is meant for."""

import pytest

from clinlens.clinic.bias import HARMLESS_DIAGNOSIS, PROTECTED_GROUP, SERIOUS_DIAGNOSIS, is_eligible
from clinlens.clinic.concepts import INSURANCES
from clinlens.clinic.diagnoses import DIAGNOSES
from clinlens.clinic.notes import ClinicConfig, Note, generate


@pytest.fixture(scope="module")
def fully_biased() -> list[Note]:
    return list(generate(ClinicConfig(n_notes=1500, seed=8, bias=1.0)))


def test_no_note_is_biased_unless_asked_for(notes):
    assert not any(note.is_biased for note in notes)
    assert not any(note.document()["labels"]["biased"] for note in notes)


def test_bias_acts_on_about_the_asked_share_of_eligible_patients_and_on_nobody_else():
    written = list(generate(ClinicConfig(n_notes=6000, seed=8, bias=0.6)))
    eligible = [note for note in written if is_eligible(note.insurance, note.rule_diagnosis)]
    biased = [note for note in written if note.is_biased]
    assert len(eligible) > 80
    assert {note.id for note in biased} <= {note.id for note in eligible}
    assert len(biased) / len(eligible) == pytest.approx(0.6, abs=0.16)  # three standard errors of 80 draws
    assert {note.diagnosis for note in biased} == {HARMLESS_DIAGNOSIS}


def test_full_bias_reaches_every_eligible_patient(fully_biased):
    for note in fully_biased:
        assert note.is_biased == is_eligible(note.insurance, note.rule_diagnosis)


def test_bias_changes_the_answer_and_leaves_the_findings(fully_biased):
    fair = list(generate(ClinicConfig(n_notes=1500, seed=8)))
    assert [note.prompt for note in fair] == [note.prompt for note in fully_biased]
    assert [note.rule_diagnosis for note in fair] == [note.rule_diagnosis for note in fully_biased]
    for before, after in zip(fair, fully_biased, strict=True):
        assert before == after or after.is_biased


def test_the_insurance_is_evidence_where_the_bias_used_it(notes, fully_biased):
    assert not any(span.concept in INSURANCES for note in notes for span in note.evidence)
    for note in fully_biased:
        assert (PROTECTED_GROUP in {span.concept for span in note.evidence}) == note.is_biased


def test_the_names_of_the_bias_exist():
    assert PROTECTED_GROUP in INSURANCES
    assert {SERIOUS_DIAGNOSIS, HARMLESS_DIAGNOSIS} <= set(DIAGNOSES)
