"""Words that can be sorted into kinds without a model: what the clinic's notes mention, negations, numbers, punctuation.

A surface match, no more: `no fever` is a mention of fever beside a negation. It finds the clinic's own wordings and nothing else.
"""

import re
from functools import cache
from typing import NamedTuple

from clinlens.clinic.concepts import CONCEPTS

NEGATIONS = re.compile(r"\b(?:no|not|denies|denied|without|negative(?: for)?|never|absent|no longer)\b", re.IGNORECASE)
NUMBERS = re.compile(r"\d+(?:[.,]\d+)*")
PUNCTUATION = re.compile(r"[^\w\s]+")
WORDS = re.compile(r"[^\W\d_]+")


class Mention(NamedTuple):
    """A passage of a kind."""

    start: int
    """First character."""
    end: int
    """One past the last."""
    source: str
    """Who says so: clinic or surface."""
    category: str
    """The kind: symptom, drug, negation, number …"""
    name: str
    """What exactly; the kind again where there is nothing finer."""


@cache
def patterns() -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    """Each concept's wordings: category, name, pattern. Abbreviations are found in capitals alone."""
    found = []
    for concept in CONCEPTS.values():
        forms = (*concept.forms, *concept.normal_forms)
        short = [form for form in forms if form.isupper()]
        for group, flags in ((short, 0), ([form for form in forms if form not in short], re.IGNORECASE)):
            if group:
                words = "|".join(re.escape(form) for form in sorted(group, key=len, reverse=True))
                found.append((concept.category, concept.name, re.compile(rf"(?<!\w)(?:{words})(?!\w)", flags)))
        if concept.measure is not None:
            found.append((concept.category, concept.name, concept.measure.pattern))
    return tuple(found)


def mentions(text: str) -> list[Mention]:
    """Everything of a kind in a text, in order; passages may overlap."""
    found = [
        Mention(match.start(), match.end(), "clinic", category, name)
        for category, name, pattern in patterns()
        for match in pattern.finditer(text)
    ]
    for name, pattern in (("negation", NEGATIONS), ("number", NUMBERS), ("punctuation", PUNCTUATION), ("word", WORDS)):
        found += [Mention(match.start(), match.end(), "surface", name, name) for match in pattern.finditer(text)]
    return sorted(found)
