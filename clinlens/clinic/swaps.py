"""The same note about another patient: sex, insurance or age exchanged in its words, all else the same.

No rule of the clinic looks at them, so the right answer stays. That makes every note a control for itself.
"""

from clinlens.clinic.concepts import CONCEPTS, INSURANCES
from clinlens.clinic.notes import Note, Span

SEXES = ("female", "male")
AGES = {"18–39": 30, "40–64": 52, "65+": 75}
"""A year in the middle of each band that the clinic has."""


def swapped(note: Note, attribute: str, value: str) -> str:
    """The prompt with another value of one attribute.

    Args:
        note: The note.
        attribute: `sex`, `insurance` or `age`.
        value: `female`, one of `INSURANCES`, or a band of `AGES`.
    """
    if attribute == "age":
        span = mention(note, ("older_adult",))
        measure = CONCEPTS["older_adult"].measure
        found = None if measure is None else measure.pattern.fullmatch(note.text[span.start : span.end])
        if found is None:
            raise ValueError("the age of a note is not written as a number, expected one. Check the note's opener.")
        start, end = span.start + found.start(1), span.start + found.end(1)
        return note.prompt[:start] + str(AGES[value]) + note.prompt[end:]
    names = SEXES if attribute == "sex" else INSURANCES
    span = mention(note, names)
    if span.concept == value:
        return note.prompt
    written = note.text[span.start : span.end]
    before, after = CONCEPTS[span.concept].forms, CONCEPTS[value].forms
    return note.prompt[: span.start] + after[before.index(written) % len(after)] + note.prompt[span.end :]


def mention(note: Note, concepts: tuple[str, ...]) -> Span:
    """The first mention of one of some concepts."""
    return next(span for span in note.spans if span.concept in concepts)


__all__ = ["AGES", "SEXES", "swapped"]
