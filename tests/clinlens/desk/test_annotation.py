"""What spaCy says of a text, by a real pipeline that is made on the spot."""

from typing import Any

import pytest

from clinlens.desk.jobs.annotation import linguistic, pipeline

spacy = pytest.importorskip("spacy", reason="pip install 'clinlens[linguistics]'")


@pytest.fixture
def nlp() -> Any:
    """English words with parts of speech, roles and one entity, by rules."""
    made = spacy.blank("en")
    ruler = made.add_pipe("attribute_ruler")
    ruler.add(patterns=[[{"LOWER": "no"}]], attrs={"POS": "DET", "DEP": "det"})
    ruler.add(patterns=[[{"LOWER": "fever"}]], attrs={"POS": "NOUN", "DEP": "ROOT"})
    made.add_pipe("entity_ruler").add_patterns([{"label": "SYMPTOM", "pattern": "fever"}])
    return made


@pytest.fixture
def installed(nlp: Any, monkeypatch: pytest.MonkeyPatch):
    """Says which pipelines are installed; all of them are the one above."""
    loaded: list[str] = []

    def says(*names: str) -> list[str]:
        pipeline.cache_clear()
        monkeypatch.setattr(spacy.util, "get_installed_models", lambda: list(names))
        monkeypatch.setattr(spacy, "load", lambda name: loaded.append(name) or nlp)
        return loaded

    yield says
    pipeline.cache_clear()


def test_words_have_their_part_of_speech_role_and_entity_where_they_stand(installed: Any):
    installed("en_core_web_sm")
    found = linguistic("No fever.")
    assert (found["state"], found["pipeline"]) == ("ready", "en_core_web_sm")
    spans = {(one["start"], one["end"], one["category"], one["name"]) for one in found["spans"]}
    assert spans == {
        (0, 2, "part_of_speech", "DET"), (0, 2, "role", "det"), (3, 8, "part_of_speech", "NOUN"), (3, 8, "role", "ROOT"),
        (3, 8, "entity", "SYMPTOM"),
    }  # fmt: skip


def test_a_scientific_pipeline_goes_first_and_no_other_language_is_taken(installed: Any):
    loaded = installed("de_core_news_sm", "en_core_web_sm", "en_core_sci_sm")
    assert linguistic("No fever.")["pipeline"] == "en_core_sci_sm"
    assert loaded == ["en_core_sci_sm"]
    installed("de_core_news_sm")
    assert linguistic("No fever.")["state"] == "absent"
