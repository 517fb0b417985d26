"""Cohorts: read from JSONL with errors that name lines and never text; made of the clinic's notes with true swaps."""

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.audits.expected import read_expected
from clinlens.audit.clinic_cohort import VALUES, clinic_cohort
from clinlens.audit.cohort_file import read_cohort
from clinlens.clinic.concepts import CONCEPTS
from clinlens.clinic.diagnoses import DIAGNOSES
from sae.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_a_cohort_of_a_file_has_bands_of_age_and_its_own_value_among_the_swaps(tmp_path: Path):
    rows = [
        {"prompt": "a secret", "answer": "x", "attributes": {"age": 71, "race": "A"}, "swaps": {"race": {"B": "b"}}},
        {"prompt": "c", "answer": "y", "patient": "p"},
    ]
    found = read_cohort(written(tmp_path / "c.jsonl", rows))
    assert found.answers == ("x", "y")
    assert found.subjects[0].attributes == {"age": "65+", "race": "A"}
    assert found.subjects[0].swaps == {"race": {"B": "b", "A": "a secret"}}
    assert found.patients == ["1", "p"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "secret", "answer": "x", "sexx": "f"}, "sexx: is no key; expected prompt, answer"),
        ({"prompt": "secret"}, "answer: field required"),
        ({"prompt": "secret", "answer": "x", "spans": [{"start": -1, "end": 2, "label": "l"}]}, r"spans\.0\.start"),
    ],
)
def test_a_line_that_is_wrong_is_named_without_its_text(tmp_path: Path, row: dict[str, Any], message: str):
    with pytest.raises(UserError, match=f"Line 1 of the cohort, {message}") as error:
        read_cohort(written(tmp_path / "c.jsonl", [row]))
    assert "secret" not in str(error.value)


def test_one_answer_alone_is_an_error(tmp_path: Path):
    with pytest.raises(UserError, match="1 different answers in 1 lines, expected at least two"):
        read_cohort(written(tmp_path / "c.jsonl", [{"prompt": "a", "answer": "x"}]))


def test_a_swap_changes_only_the_words_of_the_attribute_and_not_the_right_answer():
    for one in clinic_cohort(20, 3).subjects:
        for attribute, values in VALUES.items():
            assert one.swaps[attribute][one.attributes[attribute]] == one.prompt
            for value in values:
                a, b = one.prompt, one.swaps[attribute][value]
                start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), 0)
                assert start < 60  # the opener
                assert a.partition("\n")[2] == b.partition("\n")[2]


def test_swapping_there_and_back_gives_a_patient_of_the_other_group():
    texts = [one.swaps["sex"]["male"] for one in clinic_cohort(30, 4).subjects]
    words = set(CONCEPTS["female"].forms)
    assert not any(word in words for text in texts for word in text.split("\n")[0].replace(",", " ").split())


def test_the_clinics_expected_findings_are_those_of_its_rules():
    expected = read_expected(ROOT / "configs" / "audits" / "clinic-process.yaml")
    assert set(expected.diagnoses) == set(DIAGNOSES)
    for diagnosis, names in expected.diagnoses.items():
        rule = DIAGNOSES[diagnosis]
        labels = {label for name in names for label in expected.findings[name].spans}
        assert set(rule.all_of) <= labels <= {*rule.all_of, *rule.any_of}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("findings: {a: {span: [x]}}\ndiagnoses: {D: [a]}", r"findings\.a\.span is no key, did you mean 'spans'"),
        ("findings: {a: {spans: [x]}}\ndiagnosis: {D: [a]}", "diagnosis is no key, did you mean 'diagnoses'"),
        (
            "findings: {fever: {spans: [x]}}\ndiagnoses: {D: [fevr]}",
            "D expects 'fevr', which is no finding, did you mean 'fever'",
        ),
        ("findings: {a: {}}\ndiagnoses: {D: [a]}", "a finding has nothing, expected spans, words or features"),
        ("findings: [", "is no YAML at line"),
        ("3", "holds int, expected findings and diagnoses"),
    ],
)
def test_expected_findings_with_a_mistake_are_refused_with_the_nearest(tmp_path: Path, text: str, message: str):
    path = tmp_path / "e.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_expected(path)
