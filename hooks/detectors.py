"""Presidio's detectors, without a network, and a plain account of what they look for.

1. Patterns find what has a form: e-mail, telephone, dates, cards, licences, and medical record numbers, which Presidio
   lacks.
2. Names and places have no form. A spaCy model finds them where one is installed; without one they are not looked for,
   and the account says so.
3. Presidio fetches a missing spaCy model, and its e-mail detector a list of domains: neither happens here.

Source: Presidio, https://github.com/microsoft/presidio (recognizers and their scores).
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from hooks.config import ScreeningConfig
from hooks.corpus import Document
from sae.errors import UserError

PACKAGES = ("presidio-analyzer", "spacy")
NAMES = "PERSON"
PLACES = "LOCATION"
RECORD_NUMBER = "MEDICAL_RECORD_NUMBER"
SIZES = ("_lg", "_trf", "_md", "_sm")
"""Endings of spaCy's models, the one to prefer first; `_trf` is a transformer, slow without a GPU."""
ONLY_A_MODEL = {NAMES: "names of people", PLACES: "places", "DATE_TIME": "dates in words, such as last Monday"}
"""Type → what nothing but a spaCy model finds of it."""
NEVER_LOOKED_FOR = (
    "organisations and hospitals",
    "street addresses and postal codes",
    "ages",
    "what tells by its content: rare diagnoses, occupations, relatives, events",
    "columns other than the text: identifiers, patients, labels of spans",
)
LABEL = (
    r"(?:MRN|MR\s?#|(?:medical|health|hospital|patient(?:'s)?|chart|encounter|accession)\s+(?:record|id|identifier|number|no)"
    r"|record\s+(?:number|no))"
)
LINK = r"(?:\s*(?:number\b|no\b\.?|id\b|is\b|\#|:|=|\.)){0,3}\s*"
LABELLED_NUMBER = rf"(?<=\b{LABEL}{LINK})[A-Z]{{0,3}}-?\d[\d-]{{2,13}}\b"
LONE_NUMBER = r"\b\d{6,10}\b"
LABELLED_SCORE, LONE_SCORE = 0.7, 0.05
"""As Presidio scores its patterns: .7 for a number behind its label; .05 for a bare number, which a word near lifts by .35."""
CONTEXT = ["mrn", "chart", "accession", "encounter"]


@dataclass(frozen=True)
class Finding:
    """A passage that could name a patient; where it stands, never what it says."""

    document: int
    """Row number in the corpus."""
    start: int
    """First character."""
    end: int
    """After the last character."""
    type: str
    """What Presidio takes it for."""
    score: float
    """Presidio's score, 0 to 1; no probability."""


class Account(NamedTuple):
    """What a screening looked for, and with what."""

    looked_for: tuple[str, ...]
    """Types that have a detector."""
    not_looked_for: tuple[str, ...]
    """What has none, in words."""
    language_model: str | None
    """spaCy model and its version; none if there was none."""
    versions: dict[str, str]
    """Versions of the packages."""

    @property
    def finds_names_and_places(self) -> bool:
        """Whether both have a detector."""
        return {NAMES, PLACES} <= set(self.looked_for)

    @property
    def names_and_places(self) -> str:
        """One sentence on names and places; the first that a reader must know."""
        missing = [word for word, kind in (("names", NAMES), ("places", PLACES)) if kind not in self.looked_for]
        if not missing:
            return f"Names and places were looked for with {self.language_model}, which overlooks some."
        reason = "no spaCy model is installed" if self.language_model is None else f"{self.language_model} knows none"
        return f"{' and '.join(missing).upper()} WERE NOT LOOKED FOR: {reason}."


class Detectors:
    """Presidio's analyzer for one language, and its account.

    Args:
        cfg: Language, spaCy model, lowest score.

    Raises:
        UserError: Presidio or the spaCy model is not installed, or spaCy does not know the language.
    """

    def __init__(self, cfg: ScreeningConfig) -> None:
        try:
            import presidio_analyzer  # noqa: F401 # pyright: ignore[reportMissingImports]
        except ImportError:
            raise UserError(
                "presidio-analyzer is not installed, expected it for screening a corpus. "
                "Run `pip install 'clinlens[deidentification]'`."
            ) from None
        self.cfg = cfg
        nlp, name = language_pipeline(cfg)
        self.engine, labels = analyzer(nlp, cfg.language)
        looked_for = tuple(sorted(self.engine.get_supported_entities(cfg.language)))
        unnamed = [words for kind, words in ONLY_A_MODEL.items() if kind not in labels]
        self.account = Account(
            looked_for, (*unnamed, *NEVER_LOOKED_FOR), name, {package: version(package) for package in PACKAGES}
        )

    def find(self, doc: Document) -> list[Finding]:
        """What could name a patient in a document, in order; passages of different types may overlap.

        Raises:
            UserError: The document cannot be read through to its end.
        """
        try:
            with listening(refuse_timeout):
                results = self.engine.analyze(doc.text, self.cfg.language, score_threshold=self.cfg.min_score)
        except Exception as error:  # their messages quote the text
            raise UserError(
                f"Row {doc.index} of the corpus cannot be screened ({type(error).__name__}), expected a text that spaCy and "
                "Presidio read in one piece. Split or remove that document."
            ) from None
        found = [Finding(doc.index, hit.start, hit.end, hit.entity_type, round(hit.score, 4)) for hit in results]
        return sorted(found, key=lambda finding: (finding.start, finding.end, finding.type))


def language_pipeline(cfg: ScreeningConfig) -> tuple[Any, str | None]:
    """spaCy's pipeline and its name; a blank one, which only cuts text into words, where no model is installed."""
    import spacy  # pyright: ignore[reportMissingImports]

    name = cfg.spacy_model
    if name == "auto":
        installed = [model for model in spacy.util.get_installed_models() if model.startswith(f"{cfg.language}_")]
        name = min(installed, key=preference) if installed else None
    if name is None:
        return blank_pipeline(cfg.language), None
    if not spacy.util.is_package(name) and not Path(name).is_dir():
        raise UserError(
            f"The spaCy model {name!r} is not installed, expected a package or a folder. "
            "Install it, or correct screening.spacy_model."
        )
    nlp = spacy.load(name)
    return nlp, f"{Path(name).name} {nlp.meta['version']}"


def preference(model: str) -> tuple[int, str]:
    """Order in which installed models are taken."""
    return next((rank for rank, size in enumerate(SIZES) if model.endswith(size)), len(SIZES)), model


def blank_pipeline(language: str) -> Any:
    """Words alone, in lower case for Presidio's context words; a text of any length."""
    import spacy  # pyright: ignore[reportMissingImports]
    from spacy.language import Language  # pyright: ignore[reportMissingImports]

    try:
        nlp = spacy.blank(language)
    except ImportError:
        raise UserError(
            f"screening.language is {language!r}, which spaCy does not know, expected two letters such as 'en' or 'de'. "
            "Correct it."
        ) from None
    Language.component("words_as_lemmas", func=words_as_lemmas)
    nlp.add_pipe("words_as_lemmas")
    nlp.max_length = 10**9
    return nlp


def words_as_lemmas(doc: Any) -> Any:
    """Gives each word itself as its base form."""
    for token in doc:
        token.lemma_ = token.lower_
    return doc


def analyzer(nlp: Any, language: str) -> tuple[Any, set[str]]:
    """Presidio's analyzer around a spaCy pipeline, and the types that the pipeline itself finds."""
    from presidio_analyzer import AnalyzerEngine  # pyright: ignore[reportMissingImports]
    from presidio_analyzer.nlp_engine import (  # pyright: ignore[reportMissingImports]
        NerModelConfiguration,
        SpacyNlpEngine,
    )
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer  # pyright: ignore[reportMissingImports]

    names: dict[str, str] = (NerModelConfiguration().model_to_presidio_entity_mapping or {}) | {"FAC": PLACES}
    labels = {label for pipe in ("ner", "entity_ruler") for label in nlp.pipe_labels.get(pipe, ())}
    unknown = [*sorted(labels - names.keys()), "ORGANIZATION"]  # which Presidio ignores too: too many are none
    found = {names[label] for label in labels & names.keys()} - {"ORGANIZATION"}
    ner = NerModelConfiguration(labels_to_ignore=unknown, model_to_presidio_entity_mapping=names)
    engine = SpacyNlpEngine(
        models=[{"lang_code": language, "model_name": nlp.meta["name"]}], ner_model_configuration=ner
    )
    engine.nlp = {language: nlp}  # loaded already: its own loading would download what is not installed
    registry = recognizers(language)
    if found:
        registry.add_recognizer(SpacyRecognizer(supported_language=language, supported_entities=sorted(found)))
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[language]), found


def recognizers(language: str) -> Any:
    """Presidio's own patterns of a language, an e-mail detector that stays offline, and medical record numbers."""
    from presidio_analyzer import Pattern, PatternRecognizer  # pyright: ignore[reportMissingImports]
    from presidio_analyzer.predefined_recognizers import EmailRecognizer  # pyright: ignore[reportMissingImports]
    from presidio_analyzer.recognizer_registry import (  # pyright: ignore[reportMissingImports]
        RecognizerRegistryProvider,
    )
    from tldextract import TLDExtract  # pyright: ignore[reportMissingImports]

    domains = TLDExtract(suffix_list_urls=(), cache_dir=None)  # the list that came with the package

    class OfflineEmailRecognizer(EmailRecognizer):
        """Presidio's, with a list of domains that is not fetched."""

        def validate_result(self, pattern_text: str) -> bool:
            return domains(pattern_text).fqdn != ""

    with listening(lambda message: not message.startswith("Recognizer not added")):  # those of other languages
        provider = RecognizerRegistryProvider(registry_configuration={"supported_languages": [language]})
        registry = provider.create_recognizer_registry()
    for name in ("EmailRecognizer", "SpacyRecognizer"):
        if any(recognizer.name == name for recognizer in registry.recognizers):
            registry.remove_recognizer(name)
    registry.add_recognizer(OfflineEmailRecognizer(supported_language=language))
    patterns = [
        Pattern("number behind its label", LABELLED_NUMBER, LABELLED_SCORE),
        Pattern("bare number", LONE_NUMBER, LONE_SCORE),
    ]
    registry.add_recognizer(
        PatternRecognizer(RECORD_NUMBER, patterns=patterns, context=CONTEXT, supported_language=language)
    )
    return registry


@contextmanager
def listening(is_said: Callable[[str], bool]) -> Iterator[None]:
    """Hears what Presidio logs; a message is passed on if `is_said` says so."""

    def heard(record: logging.LogRecord) -> bool:
        return is_said(str(record.msg))

    logger = logging.getLogger("presidio-analyzer")
    logger.addFilter(heard)
    try:
        yield
    finally:
        logger.removeFilter(heard)


def refuse_timeout(message: str) -> bool:
    """Presidio only logs that a pattern gave up on a text; here it is an error, since the text was not searched."""
    if "timed out" in message:
        raise TimeoutError
    return True
