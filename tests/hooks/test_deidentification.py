"""The gate: closed without a sign-off, open with one, closed again when the texts or the screening change."""

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from hooks import deidentification
from hooks.config import ScreeningConfig
from hooks.corpus import Document
from hooks.deidentification import FOLDER
from hooks.detectors import Account, Detectors, Finding
from sae.errors import UserError

DOCS = [Document(0, "0", "Ann Lee has fever"), Document(1, "1", "no cough"), Document(2, "2", "Bo Ek coughs")]
ACCOUNT = Account(("PERSON",), ("places",), None, {"presidio-analyzer": "2"})


class Names:
    """Finds two words at the beginning that are capitalised."""

    account = ACCOUNT

    def find(self, doc: Document) -> list[Finding]:
        first, second, *_ = doc.text.split()
        is_name = first.istitle() and second.istitle()
        return [Finding(doc.index, 0, len(first) + 1 + len(second), "PERSON", 0.85)] if is_name else []


def screened(run: Path, docs: list[Document]) -> dict:
    done: list[int] = []
    findings = deidentification.scan(docs, cast(Detectors, Names()), done.append)
    assert len(done) == len(docs)
    return deidentification.conclude(run, docs, findings, ACCOUNT, ScreeningConfig())


def test_a_scan_is_read_back_as_it_was_written(tmp_path: Path):
    summary = screened(tmp_path, DOCS)
    found = deidentification.read_scan(tmp_path, DOCS)
    assert found.findings == [Finding(0, 0, 7, "PERSON", 0.85), Finding(2, 0, 5, "PERSON", 0.85)]
    assert found.summary == summary
    assert summary["by_type"] == {"PERSON": 2}
    assert (summary["n_documents"], summary["n_documents_with_findings"]) == (3, 2)
    assert "PLACES WERE NOT LOOKED FOR" in summary["names_and_places"]


def test_the_same_texts_give_the_same_bytes(tmp_path: Path):
    for name in "ab":
        screened(tmp_path / name, DOCS)
    for file in (deidentification.FINDINGS, deidentification.SUMMARY):
        assert (tmp_path / "a" / FOLDER / file).read_bytes() == (tmp_path / "b" / FOLDER / file).read_bytes()


def test_no_record_holds_text(tmp_path: Path):
    screened(tmp_path, DOCS)
    deidentification.sign(tmp_path, DOCS, "Dr. N", "")
    for path in (tmp_path / FOLDER).iterdir():
        assert not any(word in path.read_text() for word in ("Ann", "Lee", "Ek", "fever"))


def test_the_gate_opens_with_a_sign_off_and_closes_when_the_texts_change(tmp_path: Path):
    with pytest.raises(UserError) as error:
        deidentification.refuse_unsigned(DOCS, tmp_path)
    path = tmp_path / FOLDER / "sign_off.json"
    assert str(error.value) == (
        f"corpus.deidentification is 'sign_off', but {path} does not exist, expected a person's sign-off. "
        "Run `clinlens screen` with this config, read its review.html, then run it with --sign-off NAME."
    )
    screened(tmp_path, DOCS)
    with pytest.raises(UserError, match=r"does not exist, expected a person's sign-off"):
        deidentification.refuse_unsigned(DOCS, tmp_path)
    deidentification.sign(tmp_path, DOCS, "Dr. N", "")
    deidentification.refuse_unsigned(DOCS, tmp_path)
    for changed in (
        DOCS[:2],
        [*DOCS[:2], replace(DOCS[2], text="Bo Ek slept")],
        [replace(DOCS[0], group="p"), *DOCS[1:]],
    ):
        with pytest.raises(UserError, match=r"is for other texts, expected a sign-off for this corpus as it is now"):
            deidentification.refuse_unsigned(changed, tmp_path)


def test_the_gate_closes_when_a_later_screening_finds_something_else(tmp_path: Path):
    screened(tmp_path, DOCS)
    deidentification.sign(tmp_path, DOCS, "Dr. N", "")
    screened(tmp_path, DOCS)
    deidentification.refuse_unsigned(DOCS, tmp_path)  # found the same: what was signed still holds
    deidentification.conclude(tmp_path, DOCS, [Finding(1, 0, 2, "PERSON", 0.4)], ACCOUNT, ScreeningConfig())
    with pytest.raises(UserError, match=r"is for an earlier screening, expected a sign-off for the last one"):
        deidentification.refuse_unsigned(DOCS, tmp_path)


def test_a_sign_off_says_who_signed_for_what(tmp_path: Path):
    summary = screened(tmp_path, DOCS)
    signed = deidentification.sign(tmp_path, DOCS, " Dr. N. Name ", "names are invented")
    assert signed == json.loads((tmp_path / FOLDER / "sign_off.json").read_text())
    assert (signed["signed_by"], signed["note"]) == ("Dr. N. Name", "names are invented")
    assert signed["n_findings_accepted"] == 2
    assert signed["signed_at"].endswith("+00:00")
    for key in ("corpus_hash", "findings_hash", "looked_for", "not_looked_for", "names_and_places", "versions"):
        assert signed[key] == summary[key]


def test_nobody_signs_without_a_screening_of_these_texts(tmp_path: Path):
    with pytest.raises(UserError, match=r"holds no finished screening, expected one of this corpus"):
        deidentification.sign(tmp_path, DOCS, "Dr. N", "")
    screened(tmp_path, DOCS)
    with pytest.raises(UserError, match=r"holds the screening of other texts"):
        deidentification.sign(tmp_path, DOCS[:2], "Dr. N", "")
    with pytest.raises(UserError, match=r"^--sign-off is empty"):
        deidentification.sign(tmp_path, DOCS, "  ", "")
    with (tmp_path / FOLDER / "findings.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(UserError, match=r"findings.jsonl is not what the screening wrote, expected it untouched"):
        deidentification.sign(tmp_path, DOCS, "Dr. N", "")
    assert not (tmp_path / FOLDER / "sign_off.json").exists()
