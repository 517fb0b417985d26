"""`clinlens screen` from the command line: search, review, sign-off, redaction, and the gate before every stage."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from clinlens import config as configs
from clinlens.__main__ import cli
from clinlens.pipeline import Run
from clinlens.screening import review, screen
from hooks import capture, corpus
from hooks.config import ScreeningConfig
from hooks.corpus import Document
from hooks.detectors import Account, Finding
from sae.errors import UserError

NOTES = [
    {"key": "n0", "who": "p1", "note": "Ann wrote from ann@example.com about <b>fever</b> today .", "marks": ["fever"]},
    {"key": "n1", "who": "p2", "note": "no cough and no pain at all", "marks": ["cough"]},
]
ACCOUNT = Account(("EMAIL_ADDRESS",), ("names of people",), None, {"presidio-analyzer": "2", "spacy": "3"})


class Mails:
    """Finds e-mail addresses, in the place of Presidio's detectors."""

    account = ACCOUNT

    def __init__(self, cfg: ScreeningConfig) -> None:
        pass

    def find(self, doc: Document) -> list[Finding]:
        return [Finding(doc.index, *hit.span(), "EMAIL_ADDRESS", 1.0) for hit in re.finditer(r"\S+@\S+", doc.text)]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config whose corpus has one address, and detectors that need no Presidio."""
    monkeypatch.setattr(screen, "Detectors", Mails)
    rows = [note | {"marks": [span(note["note"], word) for word in note["marks"]]} for note in NOTES]
    (tmp_path / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    columns = {"text_column": "note", "id_column": "key", "group_column": "who", "span_column": "marks"}
    cfg = {
        "folder": str(tmp_path / "run"),
        "corpus": {"name": str(tmp_path / "notes.jsonl"), "deidentification": "sign_off", **columns},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(cfg))
    return tmp_path / "run.yaml"


def span(text: str, word: str) -> dict[str, Any]:
    return {"start": text.index(word), "end": text.index(word) + len(word), "label": word}


def asked(path: Path, *options: str) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["screen", str(path), "--json", *options], catch_exceptions=False)
    return json.loads(done.stdout.splitlines()[-1])


def run_of(path: Path, *overrides: str) -> Run:
    return Run(configs.read(path, overrides))


def mode(path: str | Path) -> int:
    return Path(path).stat().st_mode & 0o777


def test_a_screening_says_what_it_found_and_what_it_did_not_look_for(path: Path, caplog: pytest.LogCaptureFixture):
    result = asked(path)
    assert result["by_type"] == {"EMAIL_ADDRESS": 1}
    assert result["names_and_places"] == "NAMES AND PLACES WERE NOT LOOKED FOR: no spaCy model is installed."
    assert f"screen: {result['names_and_places']}" in caplog.messages
    assert "ann@" not in json.dumps(result) + caplog.text
    finding = json.loads(Path(result["findings"]).read_text())
    assert finding == {"document": 0, "start": 15, "end": 30, "type": "EMAIL_ADDRESS", "score": 1.0}


def test_the_review_page_shows_findings_escaped_to_its_owner_alone(path: Path):
    page = Path(asked(path)["review"])
    text = page.read_text()
    assert mode(page) == 0o600
    assert "<mark>ann@example.com<small>EMAIL_ADDRESS</small></mark>" in text
    assert "&lt;b&gt;fever&lt;/b&gt;" in text
    assert "<b>fever" not in text
    assert "NAMES AND PLACES WERE NOT LOOKED FOR" in text
    assert "No promise." in text
    assert text.index("Row 0") < text.index("A sample of documents without findings") < text.index("Row 1")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src &#39;none&#39;; style-src &#39;sha256-")
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_findings_that_are_not_shown_are_counted_on_the_page():
    docs = [Document(row, str(row), "a@b " * 4) for row in range(3)]
    findings = [Finding(row, at, at + 3, "EMAIL_ADDRESS", 1.0) for row in range(3) for at in (0, 4, 8, 12)]
    page = review.render(docs, findings, ACCOUNT, ScreeningConfig(review_findings=6), "x")
    assert "Only 6 of 12 passages are shown." in page
    assert page.count("<mark>") == 6
    assert "passages are shown" not in review.render(docs, findings, ACCOUNT, ScreeningConfig(), "x")


def test_a_passage_is_cut_at_words_and_says_so():
    text = "one " * 100 + "ann@example.com" + " two" * 100
    (shown,) = review.with_findings([Document(0, "0", text)], {0: review.regions([Finding(0, 400, 415, "E", 1)])}, 9)
    (passage,) = shown.passages
    assert passage.starts_inside
    assert passage.ends_inside
    before, found, after = passage.pieces
    assert found == review.Piece("ann@example.com", "E")
    assert set(before.text.split()) == {"one"}
    assert set(after.text.split()) == {"two"}
    assert 80 < len(before.text) < 115


def test_no_stage_reads_the_corpus_before_a_person_has_signed(path: Path):
    with pytest.raises(UserError, match=r"sign_off.json does not exist, expected a person's sign-off"):
        _ = run_of(path).documents
    with pytest.raises(UserError, match=r"sign_off.json does not exist, expected a person's sign-off"):
        run_of(path, "model.name=./nowhere").stages(("capture",))
    asked(path)
    signed = asked(path, "--sign-off", "Dr. N. Name", "--note", "invented")
    assert (signed["signed_by"], signed["n_findings_accepted"]) == ("Dr. N. Name", 1)
    assert [doc.id for doc in run_of(path).documents] == ["n0", "n1"]
    with pytest.raises(UserError, match=r"is for other texts, expected a sign-off for this corpus as it is now"):
        _ = run_of(path, "corpus.max_documents=1").documents


def test_the_gate_is_open_unless_it_is_asked_for(path: Path):
    assert len(run_of(path, "corpus.deidentification=off").documents) == 2


def test_the_gate_changes_no_stores_name(path: Path, tiny_model: Path):
    names = set()
    for gate in ("off", "sign_off"):
        run = run_of(path, f"corpus.deidentification={gate}", f"model.name={tiny_model}", "screening.min_score=0.5")
        names.add(capture.store_id(run.job.origin(run.unscreened_documents)))
    assert len(names) == 1


def test_a_redacted_copy_is_a_corpus_with_the_same_columns(path: Path, tmp_path: Path):
    asked(path)
    result = asked(path, "--redact-to", str(tmp_path / "redacted.jsonl"))
    assert mode(result["redacted"]) == 0o600
    assert (result["n_documents"], result["n_replaced"]) == (2, 1)
    assert result["not_redacted"] == ["key", "who", "marks"]
    run = run_of(path, f"corpus.name={result['redacted']}")
    docs = corpus.read(run.corpus)
    assert docs[0].text == "Ann wrote from <EMAIL_ADDRESS> about <b>fever</b> today ."
    assert [(doc.id, doc.group) for doc in docs] == [("n0", "p1"), ("n1", "p2")]
    for doc in docs:
        assert [doc.text[each["start"] : each["end"]] for each in doc.spans] == [each["label"] for each in doc.spans]
    with pytest.raises(UserError, match=r"sign_off.json does not exist"):
        _ = run.documents


def test_a_signed_corpus_does_not_open_the_gate_for_its_redacted_copy(path: Path, tmp_path: Path):
    asked(path)
    asked(path, "--sign-off", "Dr. N")
    copy = asked(path, "--redact-to", str(tmp_path / "redacted.jsonl"))["redacted"]
    with pytest.raises(UserError, match=r"is for other texts"):
        _ = run_of(path, f"corpus.name={copy}").documents


MISTAKES: dict[str, tuple[Callable[[Path], tuple[str, ...]], str]] = {
    "signing unseen": (lambda _: ("--sign-off", "Dr. N"), "holds no finished screening, expected one of this corpus"),
    "redacting unseen": (
        lambda folder: ("--redact-to", str(folder / "new.jsonl")),
        "holds no finished screening, expected one of this corpus",
    ),
    "two things at once": (
        lambda folder: ("--sign-off", "Dr. N", "--redact-to", str(folder / "new.jsonl")),
        "--sign-off and --redact-to were both given, expected one",
    ),
    "a note alone": (lambda _: ("--note", "x"), "--note was given without --sign-off, expected both."),
    "another ending": (
        lambda folder: ("--redact-to", str(folder / "new.csv")),
        "new.csv, expected a name that ends in .jsonl.",
    ),
    "the corpus itself": (
        lambda folder: ("--redact-to", str(folder / "notes.jsonl")),
        "notes.jsonl exists already, expected a new file. Choose another name or remove it.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_and_writes_nothing(name: str, path: Path, tmp_path: Path):
    options, sentence = MISTAKES[name]
    with pytest.raises(UserError) as error:
        asked(path, *options(tmp_path))
    assert sentence in str(error.value)
    assert {file.name for file in tmp_path.iterdir()} <= {"notes.jsonl", "run.yaml", "run"}
    assert not (tmp_path / "run" / "deidentification").exists()


def test_presidio_and_the_verb_work_together(path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("presidio_analyzer", reason="needs the extra `deidentification`: presidio-analyzer")
    monkeypatch.undo()
    result = asked(path)
    assert result["by_type"]["EMAIL_ADDRESS"] == 1
    assert set(result["versions"]) == {"presidio-analyzer", "spacy"}
    asked(path, "--sign-off", "Dr. N")
    assert len(run_of(path).documents) == 2
