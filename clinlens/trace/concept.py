"""What a concept is: annotated spans, words, or features that physicians named so; in the end, marked passages of documents."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from analysis.units import BACKGROUND
from hooks.corpus import Document
from sae.errors import UserError

FEW_NAMES = 12


@dataclass(frozen=True)
class Concept:
    """A concept with the documents in which its mentions are marked."""

    name: str
    source: Literal["spans", "words", "labels"]
    definition: str
    """In words, for people."""
    documents: list[Document]
    """All of the corpus, with two kinds of spans: those of label `name`, and others, which it is told apart from."""
    defining: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Hook point → features that define it; they are no evidence for it."""

    def mentions(self, doc: Document) -> list[dict[str, Any]]:
        """Where a document mentions it."""
        return [span for span in doc.spans if span["label"] == self.name]


def folded(name: str) -> str:
    """`Heart failure`, `heart-failure` and `heart_failure` are one name."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


def from_spans(name: str, docs: list[Document], status: Sequence[str] | None = None) -> Concept:
    """A concept from the corpus' annotations: spans of that label, or of that category.

    Args:
        name: As a label or a category is called, in any spelling of case and spaces.
        docs: The corpus.
        status: Only mentions of these statuses have it; the others count as without.

    Raises:
        UserError: The corpus has no annotations, or none of that name.
    """
    spans = [span for doc in docs for span in doc.spans]
    if not spans:
        raise UserError(
            "The corpus has no annotated spans, expected some. Give them with --spans FILE.jsonl, give words with --words, or take "
            "physicians' labels with --from-labels."
        )
    key = next(
        (key for key in ("label", "category") if any(folded(str(span.get(key, ""))) == folded(name) for span in spans)),
        None,
    )
    if key is None:
        raise UserError(
            f"No span of the corpus is called {name!r}, expected one of {named(spans, name)}. Correct --concept."
        )

    def is_meant(span: Mapping[str, Any]) -> bool:
        return folded(str(span.get(key, ""))) == folded(name) and (status is None or span.get("status") in status)

    marked = [remarked(doc, name, [span for span in doc.spans if is_meant(span)]) for doc in docs]
    which = f" that are {' or '.join(status)}" if status else ""
    return Concept(name, "spans", f"spans annotated with the {key} {folded(name)}{which}", marked)


def named(spans: Iterable[Mapping[str, Any]], name: str) -> str:
    """The labels nearest to a name, or the commonest first ones."""
    labels = sorted({str(span["label"]) for span in spans})
    near = difflib.get_close_matches(folded(name), labels, n=FEW_NAMES, cutoff=0.4)
    shown = near or labels[:FEW_NAMES]
    return ", ".join(shown) + (f" and {len(labels) - len(shown)} more" if len(labels) > len(shown) else "")


def remarked(doc: Document, name: str, mentions: Sequence[Mapping[str, Any]]) -> Document:
    """A document whose mentions of the concept are labelled with it; other spans stay where they do not touch one."""
    own = [dict(span) | {"label": name} for span in mentions]
    others = [
        dict(span) | {"label": "other" if span["label"] in (name, BACKGROUND) else span["label"]}
        for span in doc.spans
        if not any(span["start"] < one["end"] and one["start"] < span["end"] for one in own)
    ]
    return replace(doc, spans=tuple(sorted(own + others, key=lambda span: (span["start"], span["end"]))))


def with_spans(docs: list[Document], path: Path) -> list[Document]:
    """The corpus with the spans of a JSONL: one line per document, {"id": …, "spans": [{start, end, label}, …]}.

    Raises:
        UserError: The file is not to be had, a line is none such, or it names documents that are not there.
    """
    found: dict[str, tuple[dict[str, Any], ...]] = {}
    for number, line in enumerate(lines_of(path), start=1):
        try:
            row = json.loads(line)
            spans = tuple(
                {"start": int(one["start"]), "end": int(one["end"]), "label": str(one["label"])} | extras(one)
                for one in row["spans"]
            )
            found[str(row["id"])] = spans
        except (ValueError, KeyError, TypeError):  # what stands in the line is not told: it may be patient text
            raise UserError(
                f'{path}, line {number} is no document with spans, expected {{"id": …, "spans": [{{start, end, label}}, …]}}. '
                "Correct it."
            ) from None
    known = {doc.id for doc in docs}
    if not found or not known & set(found):
        raise UserError(
            f"{path} has spans of {len(found)} documents, none of which is one of the corpus' {len(docs)}, expected their ids. "
            "Name the ids' column in corpus.id_column; without one a document's id is its row number."
        )
    return [replace(doc, spans=found.get(doc.id, ())) for doc in docs]


def extras(span: Mapping[str, Any]) -> dict[str, Any]:
    """Category and status, where a span has them."""
    return {key: str(span[key]) for key in ("category", "status") if key in span}


def lines_of(path: Path) -> list[str]:
    """The lines of a file that hold something.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}), expected a text file in UTF-8. Correct the path."
        ) from error


def words_of(given: str) -> list[str]:
    """Words from `a,b,c`, or from a file with one on each line."""
    path = Path(given)
    words = lines_of(path) if path.suffix and path.is_file() else given.split(",")
    found = [word.strip() for word in words if word.strip()]
    if not found:
        raise UserError("--words names no word, expected A,B,… or a file with one on each line. Give some.")
    return found


def from_words(name: str, words: Sequence[str], docs: list[Document]) -> Concept:
    """A concept that is mentioned wherever one of some words stands as a whole word, in any case.

    Raises:
        UserError: No document has one of them.
    """
    pattern = re.compile(
        r"(?<!\w)(?:" + "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) + r")(?!\w)",
        re.IGNORECASE,
    )
    marked = [
        remarked(doc, name, [{"start": one.start(), "end": one.end()} for one in pattern.finditer(doc.text)])
        for doc in docs
    ]
    if not any(span["label"] == name for doc in marked for span in doc.spans):
        raise UserError(
            f"None of the {len(words)} words stands in any of {len(docs)} documents, expected some mentions. Correct --words."
        )
    return Concept(name, "words", f"any of the words {', '.join(words)}", marked)
