"""Replacing findings by their type: `John` → `<PERSON>`, with the annotated spans moved along."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hooks.config import CorpusConfig
from hooks.corpus import Document
from hooks.detectors import Finding


@dataclass(frozen=True)
class Region:
    """Overlapping findings of one document as one passage."""

    start: int
    end: int
    type: str
    """The type of the finding with the highest score, of the longest among equals."""

    @property
    def placeholder(self) -> str:
        """What stands in its place."""
        return f"<{self.type}>"


def regions(findings: Sequence[Finding]) -> list[Region]:
    """The passages of one document's findings, in order and apart from each other."""
    groups: list[list[Finding]] = []
    reach = -1
    for finding in sorted(findings, key=lambda finding: (finding.start, finding.end)):
        if finding.start >= reach:
            groups.append([])
        groups[-1].append(finding)
        reach = max(reach, finding.end)
    return [region(group) for group in groups]


def region(group: list[Finding]) -> Region:
    """One passage of findings that overlap."""
    best = max(group, key=lambda finding: (finding.score, finding.end - finding.start, finding.type))
    return Region(group[0].start, max(finding.end for finding in group), best.type)


def redact(doc: Document, found: Sequence[Region]) -> Document:
    """A document with each passage replaced, and spans that still stand around the same words.

    A span that begins or ends inside a passage is widened to the whole placeholder. Of a span's other keys only
    numbers are kept: a text there could repeat what was taken out.
    """
    pieces, last = [], 0
    for part in found:
        pieces += [doc.text[last : part.start], part.placeholder]
        last = part.end
    spans = tuple(moved_span(span, found) for span in doc.spans)
    return replace(doc, text="".join([*pieces, doc.text[last:]]), spans=spans)


def moved_span(span: dict[str, Any], found: Sequence[Region]) -> dict[str, Any]:
    """A span where its words stand after the replacement."""
    numbers = {key: value for key, value in span.items() if isinstance(value, int | float)}
    bounds = {"start": moved(span["start"], found, is_end=False), "end": moved(span["end"], found, is_end=True)}
    return numbers | bounds | {"label": span["label"]}


def moved(position: int, found: Sequence[Region], is_end: bool) -> int:
    """Where a character position stands after the replacement."""
    shift = 0
    for part in found:
        growth = len(part.placeholder) - (part.end - part.start)
        if part.end <= position:
            shift += growth
        elif part.start < position:  # inside: the placeholder's near or far end
            return part.start + shift + (len(part.placeholder) if is_end else 0)
    return position + shift


def row(doc: Document, cfg: CorpusConfig) -> dict[str, Any]:
    """A document as a row with the corpus' own column names."""
    values = {cfg.text_column: doc.text}
    columns = ((cfg.id_column, doc.id), (cfg.group_column, doc.group), (cfg.span_column, list(doc.spans)))
    return values | {column: value for column, value in columns if column is not None}
