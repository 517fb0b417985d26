"""The review page: every finding in its context, for a person to look at before they sign.

One file that runs no code and loads nothing. It holds text of the corpus, escaped, and only its owner may read it.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from hooks.config import ScreeningConfig
from hooks.corpus import Document
from hooks.detectors import Account, Finding
from hooks.redaction import Region, regions
from labeling.standalone_page import rendered

SOURCES = Path(__file__).parent
CONTEXT_CHARACTERS = 90
"""Shown before and after a finding: about a line of a note."""
SAMPLE_DOCUMENTS, SAMPLE_CHARACTERS = 10, 1500
"""Documents without findings that are shown, and how much of each: enough to see what the search overlooks."""


class Piece(NamedTuple):
    """A stretch of text, found or not."""

    text: str
    type: str | None = None
    """What it was taken for; none for context."""


class Passage(NamedTuple):
    """Neighbouring findings in one context."""

    pieces: list[Piece]
    starts_inside: bool
    """Whether the document has more before it."""
    ends_inside: bool
    """Whether it has more after it."""


class Shown(NamedTuple):
    """One document on the page."""

    document: Document
    n_passages: int
    """Findings in it, overlapping ones counted once."""
    passages: list[Passage]


def render(
    docs: list[Document], findings: list[Finding], account: Account, cfg: ScreeningConfig, corpus_name: str
) -> str:
    """The page."""
    by_row = {row: regions(list(group)) for row, group in groupby(findings, lambda finding: finding.document)}
    shown = list(with_findings(docs, by_row, cfg.review_findings))
    return rendered(
        SOURCES / "review.html.j2",
        SOURCES / "review.css",
        account=account,
        corpus=Path(corpus_name).name,
        types=by_type(findings),
        n_documents=len(docs),
        n_with=len(by_row),
        n_passages=sum(map(len, by_row.values())),
        n_shown=sum(each.n_passages for each in shown),
        shown=shown,
        sample=sample(docs, by_row),
        min_score=cfg.min_score,
    )


def by_type(findings: list[Finding]) -> list[dict[str, Any]]:
    """Counts of each type, the most frequent first."""
    documents = Counter(kind for kind, _ in {(finding.type, finding.document) for finding in findings})
    counts = Counter(finding.type for finding in findings)
    return [{"type": kind, "n": n, "n_documents": documents[kind]} for kind, n in counts.most_common()]


def with_findings(docs: list[Document], by_row: dict[int, list[Region]], most: int) -> Iterator[Shown]:
    """Documents with findings, in order, until as many findings are shown as may be."""
    for doc in docs:
        found = by_row.get(doc.index, [])[:most]
        if found:
            yield Shown(doc, len(found), [passage(doc, group) for group in neighbours(found)])
        most -= len(found)


def sample(docs: list[Document], by_row: dict[int, list[Region]]) -> list[Shown]:
    """A few documents without findings, evenly from the whole corpus."""
    without = [doc for doc in docs if doc.index not in by_row and doc.text.strip()]
    step = max(1, len(without) // SAMPLE_DOCUMENTS)
    return [Shown(doc, 0, [beginning(doc)]) for doc in without[::step][:SAMPLE_DOCUMENTS]]


def beginning(doc: Document) -> Passage:
    """How a document begins."""
    return Passage([Piece(doc.text[:SAMPLE_CHARACTERS])], False, len(doc.text) > SAMPLE_CHARACTERS)


def neighbours(found: list[Region]) -> list[list[Region]]:
    """Findings whose contexts overlap, together."""
    groups: list[list[Region]] = []
    for part in found:
        if not groups or part.start - groups[-1][-1].end > 2 * CONTEXT_CHARACTERS:
            groups.append([])
        groups[-1].append(part)
    return groups


def passage(doc: Document, group: list[Region]) -> Passage:
    """Findings with the text around and between them."""
    first = word_start(doc.text, group[0].start - CONTEXT_CHARACTERS)
    last = word_end(doc.text, group[-1].end + CONTEXT_CHARACTERS)
    pieces, position = [], first
    for part in group:
        pieces += [Piece(doc.text[position : part.start]), Piece(doc.text[part.start : part.end], part.type)]
        position = part.end
    pieces.append(Piece(doc.text[position:last]))
    return Passage([piece for piece in pieces if piece.text], first > 0, last < len(doc.text))


def word_start(text: str, position: int) -> int:
    """The beginning of the word at a position, at most 20 characters before it."""
    position = max(position, 0)
    return max(text.rfind(" ", max(position - 20, 0), position) + 1, position - 20, 0)


def word_end(text: str, position: int) -> int:
    """The end of the word at a position, at most 20 characters after it."""
    space = text.find(" ", position, position + 20)
    return min(len(text), position if space < 0 else space)
