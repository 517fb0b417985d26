"""Findings are replaced by their type, and annotated spans stand around the same words afterwards."""

from hypothesis import given
from hypothesis import strategies as st

from hooks import redaction
from hooks.config import CorpusConfig
from hooks.corpus import Document
from hooks.detectors import Finding
from hooks.redaction import Region

TEXT = "Ann Lee called 555-0187 with fever on Monday."


def span(text: str, words: str) -> dict:
    start = text.index(words)
    return {"start": start, "end": start + len(words), "label": words}


def region(words: str, kind: str) -> Region:
    start = TEXT.index(words)
    return Region(start, start + len(words), kind)


def test_each_passage_becomes_its_type_and_spans_keep_their_words():
    doc = Document(0, "0", TEXT, spans=(span(TEXT, "fever"), span(TEXT, "Ann Lee"), span(TEXT, "called")))
    redacted = redaction.redact(doc, [region("Ann Lee", "PERSON"), region("555-0187", "PHONE_NUMBER")])
    assert redacted.text == "<PERSON> called <PHONE_NUMBER> with fever on Monday."
    words = [redacted.text[each["start"] : each["end"]] for each in redacted.spans]
    assert words == ["fever", "<PERSON>", "called"]


def test_a_span_cut_by_a_passage_is_widened_to_the_placeholder():
    doc = Document(0, "0", TEXT, spans=(span(TEXT, "Lee called 555"), span(TEXT, "0187 with fever")))
    redacted = redaction.redact(doc, [region("Ann Lee", "PERSON"), region("555-0187", "PHONE_NUMBER")])
    words = [redacted.text[each["start"] : each["end"]] for each in redacted.spans]
    assert words == ["<PERSON> called <PHONE_NUMBER>", "<PHONE_NUMBER> with fever"]


def test_text_that_a_span_carries_is_not_kept():
    doc = Document(0, "0", TEXT, spans=(span(TEXT, "fever") | {"text": "Ann Lee", "said_by": ["Ann"], "weight": 0.5},))
    (kept,) = redaction.redact(doc, []).spans
    assert kept == span(TEXT, "fever") | {"weight": 0.5}


def test_overlapping_findings_are_one_passage_named_by_the_surest():
    findings = [
        Finding(0, 3, 9, "URL", 0.5),
        Finding(0, 0, 9, "EMAIL_ADDRESS", 1.0),
        Finding(0, 8, 12, "DATE_TIME", 0.6),
    ]
    assert redaction.regions([*findings, Finding(0, 12, 14, "UUID", 0.5)]) == [
        Region(0, 12, "EMAIL_ADDRESS"),
        Region(12, 14, "UUID"),
    ]


@given(st.data())
def test_a_span_apart_from_all_passages_keeps_its_words(data: st.DataObject):
    text = data.draw(st.text("ab ", min_size=8, max_size=60))
    bounds = sorted(data.draw(st.sets(st.integers(0, len(text)), min_size=4, max_size=8)))
    pairs = list(zip(bounds[::2], bounds[1::2], strict=False))
    found = redaction.regions([Finding(0, start, end, "PERSON", 0.9) for start, end in pairs[1:]])
    start, end = pairs[0]
    doc = Document(0, "0", text, spans=({"start": start, "end": end, "label": "x"},))
    redacted = redaction.redact(doc, found)
    (moved,) = redacted.spans
    assert redacted.text[moved["start"] : moved["end"]] == text[start:end]


def test_a_row_has_the_columns_of_the_corpus():
    doc = Document(0, "n1", "text", group="p1", spans=({"start": 0, "end": 4, "label": "x"},))
    cfg = CorpusConfig(text_column="note", id_column="key", group_column="who", span_column="marks")
    assert redaction.row(doc, cfg) == {"note": "text", "key": "n1", "who": "p1", "marks": list(doc.spans)}
    assert redaction.row(doc, CorpusConfig()) == {"text": "text"}
