"""The rules: worked by hand, and as a whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinlens.clinic.concepts import CONCEPTS
from clinlens.clinic.diagnoses import DECIDING_CONCEPTS, DIAGNOSES, decide, present_concepts


@pytest.mark.parametrize(
    ("findings", "diagnosis"),
    [
        ({"chest_pain": True, "raised_troponin": 2.4}, "Myocardial infarction"),
        ({"chest_pain": True, "raised_troponin": 0.3, "heartburn": True}, "Reflux disease"),
        ({"chest_pain": False, "raised_troponin": 2.4}, None),
        ({"fever": 38.4, "neck_stiffness": True, "headache": True, "photophobia": True}, "Meningitis"),
        ({"fever": 37.0, "neck_stiffness": False, "headache": True, "photophobia": True}, "Migraine"),
        ({"dyspnoea": True, "wheeze": True, "smoking": True}, "COPD exacerbation"),
        ({"dyspnoea": True, "wheeze": True, "smoking": False}, "Asthma attack"),
        ({"dyspnoea": True, "wheeze": True, "smoking": True, "raised_d_dimer": 700.0}, "Pulmonary embolism"),
        ({"abdominal_pain": True, "gallstones": True, "fever": True}, "Cholecystitis"),
        ({"abdominal_pain": True, "gallstones": True, "fever": 37.2}, "Biliary colic"),
        ({"abdominal_pain": True, "rebound_tenderness": True, "appendectomy": True}, None),
        ({"dysuria": True, "flank_pain": True}, "Pyelonephritis"),
        ({"dysuria": True}, "Cystitis"),
        ({}, None),
    ],
)
def test_decides_as_the_rules_say(findings, diagnosis):
    assert decide(findings) == diagnosis


def test_a_number_at_the_threshold_is_normal():
    assert decide({"chest_pain": True, "raised_troponin": 0.4}) is None


@given(st.dictionaries(st.sampled_from(sorted(DECIDING_CONCEPTS)), st.booleans()))
def test_gives_the_first_diagnosis_whose_rule_holds(findings):
    present = present_concepts(findings)
    holding = [diagnosis.name for diagnosis in DIAGNOSES.values() if diagnosis.holds(present)]
    assert decide(findings) == (holding[0] if holding else None)


def test_an_unknown_concept_is_an_error():
    with pytest.raises(KeyError, match="hangnail"):
        decide({"hangnail": True})


def test_a_number_for_a_concept_without_a_measure_is_an_error():
    with pytest.raises(ValueError, match="cough is not measured, but its value is the number 3"):
        decide({"cough": 3.0})


def test_every_rule_uses_two_or_three_known_concepts():
    for diagnosis in DIAGNOSES.values():
        assert 2 <= len(diagnosis.concepts) <= 3
        assert set(diagnosis.concepts) <= set(CONCEPTS)


def test_most_deciding_concepts_serve_no_diagnosis_alone():
    for concept in DECIDING_CONCEPTS:
        assert decide({concept: True}) in (None, "Cystitis"), (
            "painful urination without anything else is the one exception"
        )


def test_normal_and_abnormal_ranges_lie_on_their_sides_of_the_threshold():
    for concept in CONCEPTS.values():
        if concept.measure is not None:
            assert all(concept.measure.is_abnormal(value) for value in concept.measure.abnormal)
            assert not any(concept.measure.is_abnormal(value) for value in concept.measure.normal)
