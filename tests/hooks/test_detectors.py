"""What Presidio finds in texts written by hand, what it says it did not look for, and that it stays offline."""

import builtins
import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from hooks.config import ScreeningConfig
from hooks.corpus import Document
from hooks.detectors import Detectors, language_pipeline
from sae.errors import UserError

WHY = "needs the extra `deidentification`: presidio-analyzer"
NOTE = (
    "Mr. Smith, MRN 00123456, seen 03/14/2021. Call (212) 555-0187 or john.smith@example.com. "
    "SSN 536-22-8726, card 4111 1111 1111 1111, from 10.0.0.12."
)
KNOWN = {
    ("MEDICAL_RECORD_NUMBER", "00123456"),
    ("DATE_TIME", "03/14/2021"),
    ("PHONE_NUMBER", "(212) 555-0187"),
    ("EMAIL_ADDRESS", "john.smith@example.com"),
    ("US_SSN", "536-22-8726"),
    ("CREDIT_CARD", "4111 1111 1111 1111"),
    ("IP_ADDRESS", "10.0.0.12"),
}


@pytest.fixture(scope="module")
def blank() -> Detectors:
    """Detectors without a spaCy model, whatever is installed here."""
    pytest.importorskip("presidio_analyzer", reason=WHY)
    spacy = pytest.importorskip("spacy", reason=WHY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spacy.util, "get_installed_models", list)
        return Detectors(ScreeningConfig())


def found(detectors: Detectors, text: str) -> set[tuple[str, str]]:
    return {(each.type, text[each.start : each.end]) for each in detectors.find(Document(0, "0", text))}


def test_what_has_a_form_is_found_where_it_stands(blank: Detectors):
    assert found(blank, NOTE) >= KNOWN
    assert next(each for each in blank.find(Document(7, "7", NOTE)) if each.type == "US_SSN").document == 7


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("MRN: 12345", "12345"),
        ("mrn 12-34-56", "12-34-56"),
        ("Patient ID is AB-998877.", "AB-998877"),
        ("Medical record number: 4455667", "4455667"),
        ("Hospital no. 778899", "778899"),
        ("MR# 55123", "55123"),
        ("chart of the patient, 5551234", "5551234"),
    ],
)
def test_medical_record_numbers_are_found_near_their_words(blank: Detectors, text: str, number: str):
    assert ("MEDICAL_RECORD_NUMBER", number) in found(blank, text)


@pytest.mark.parametrize("text", ["Platelets 250000, BP 120/80.", "Creatinine 1.2, metformin 500 mg.", ""])
def test_values_of_a_note_are_no_record_numbers(blank: Detectors, text: str):
    assert found(blank, text) == set()


def test_without_a_model_names_are_said_not_to_be_looked_for(blank: Detectors):
    assert blank.account.names_and_places == "NAMES AND PLACES WERE NOT LOOKED FOR: no spaCy model is installed."
    assert blank.account.not_looked_for[:2] == ("names of people", "places")
    assert "PERSON" not in blank.account.looked_for
    assert {kind for kind, _ in KNOWN} <= set(blank.account.looked_for)
    assert not any(words == "Smith" for _, words in found(blank, NOTE))


@pytest.fixture(scope="module")
def ruler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spaCy model in a folder that knows one name."""
    spacy = pytest.importorskip("spacy", reason=WHY)
    nlp = spacy.blank("en")
    patterns = [
        {"label": "PERSON", "pattern": "Smith"},
        {"label": "ORG", "pattern": "Mercy"},
        {"label": "DISEASE", "pattern": "flu"},
    ]
    nlp.add_pipe("entity_ruler").add_patterns(patterns)
    folder = tmp_path_factory.mktemp("spacy") / "en_rules"
    nlp.to_disk(folder)
    return folder


def test_a_model_finds_names_and_the_account_names_only_what_it_knows(ruler: Path):
    pytest.importorskip("presidio_analyzer", reason=WHY)
    detectors = Detectors(ScreeningConfig(spacy_model=str(ruler)))
    assert found(detectors, "Smith has the flu at Mercy.") == {("PERSON", "Smith")}
    assert "PERSON" in detectors.account.looked_for
    assert detectors.account.names_and_places == "PLACES WERE NOT LOOKED FOR: en_rules 0.0.0 knows none."
    assert detectors.account.language_model == "en_rules 0.0.0"


def test_the_largest_installed_model_of_the_language_is_taken(monkeypatch: pytest.MonkeyPatch):
    spacy = pytest.importorskip("spacy", reason=WHY)
    models = ["de_core_news_lg", "en_core_web_sm", "en_core_web_md"]
    monkeypatch.setattr(spacy.util, "get_installed_models", lambda: models)
    monkeypatch.setattr(spacy.util, "is_package", lambda name: name in models)
    monkeypatch.setattr(spacy, "load", lambda name: type("Loaded", (), {"meta": {"version": "3.8.0"}}))
    assert language_pipeline(ScreeningConfig())[1] == "en_core_web_md 3.8.0"


def test_nothing_asks_the_network(blank: Detectors, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        asked.append(arguments)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    fresh = Detectors(blank.cfg.model_copy(update={"language": "de"}))
    assert found(fresh, NOTE) >= {("EMAIL_ADDRESS", "john.smith@example.com")}
    assert found(blank, NOTE) >= KNOWN
    assert asked == []


def test_a_document_that_fails_is_a_sentence_without_its_text(blank: Detectors, monkeypatch: pytest.MonkeyPatch):
    def fail(text: str, *_: Any, **__: Any) -> None:
        raise ValueError(f"Did not find word {text!r}")

    monkeypatch.setattr(blank.engine, "analyze", fail)
    with pytest.raises(UserError) as error:
        blank.find(Document(3, "3", "secret"))
    assert str(error.value) == (
        "Row 3 of the corpus cannot be screened (ValueError), expected a text that spaCy and Presidio read in one piece. "
        "Split or remove that document."
    )
    assert error.value.__suppress_context__


def test_a_pattern_that_gave_up_is_an_error(blank: Detectors, monkeypatch: pytest.MonkeyPatch):
    def give_up(*_: Any, **__: Any) -> list[Any]:
        logging.getLogger("presidio-analyzer").warning(
            "Regex pattern '%s' timed out after %s seconds, skipping.", "x", 1
        )
        return []

    monkeypatch.setattr(blank.engine, "analyze", give_up)
    with pytest.raises(UserError, match=r"Row 3 of the corpus cannot be screened \(TimeoutError\)"):
        blank.find(Document(3, "3", "secret"))


def test_no_text_reaches_a_log(blank: Detectors, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        blank.find(Document(0, "0", NOTE))
    assert "00123456" not in caplog.text
    assert "555-0187" not in caplog.text


def test_a_missing_presidio_is_said_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("presidio_analyzer"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError) as error:
        Detectors(ScreeningConfig())
    assert str(error.value) == (
        "presidio-analyzer is not installed, expected it for screening a corpus. "
        "Run `pip install 'clinlens[deidentification]'`."
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"spacy_model": "en_nowhere"},
            r"^The spaCy model 'en_nowhere' is not installed, expected a package or a folder\.",
        ),
        ({"language": "qq"}, r"^screening.language is 'qq', which spaCy does not know, expected two letters"),
    ],
)
def test_a_model_or_language_that_is_not_there_is_a_clear_error(settings: dict[str, str], sentence: str):
    pytest.importorskip("presidio_analyzer", reason=WHY)
    with pytest.raises(UserError, match=sentence):
        Detectors(ScreeningConfig(**settings))
