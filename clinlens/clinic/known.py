"""The clinic's notes as cases whose deciding words are known, for faithfulness figures.

    for case in cases(50, seed=7):
        print(case.prompt, case.answer, case.evidence)

Only notes of twin pairs are taken: the twin's diagnosis is the contrast, and the changed finding, on which alone the
two differ, is the most direct piece of evidence. The other findings of the rule are evidence too: without them neither
diagnosis would hold.
"""

from collections.abc import Iterator
from itertools import count

from analysis.ground_truth.known import KnownCase
from clinlens.clinic.notes import QUESTION, ClinicConfig, Note, generate

CHUNK_NOTES = 64


def cases(n: int, seed: int) -> Iterator[KnownCase]:
    """Cases from a seed, a note and its twin after one another."""
    found = 0
    for part in count():
        notes = list(generate(ClinicConfig(n_notes=CHUNK_NOTES, seed=seed + part, twin_fraction=1.0)))
        by_id = {note.id: note for note in notes}
        for twin in notes:
            if twin.twin_of is None:
                continue
            note = by_id[twin.twin_of]
            for one, other in ((note, twin), (twin, note)):
                if found == n:
                    return
                yield case(one, other, str(twin.changed))
                found += 1


def case(note: Note, other: Note, changed: str) -> KnownCase:
    """One note of a pair as a case; the changed finding's mention comes first in the evidence."""
    differing = first_difference(note.prompt, other.prompt)
    spans = [span for span in note.evidence if span.end <= note.answer[0]]
    spans.sort(key=lambda span: (not span.start <= differing <= span.end, span.concept != changed, span.start))
    mentions = tuple((span.start, span.end) for span in spans)
    if not spans or not spans[0].start <= differing <= spans[0].end:  # a negation stands outside the mention's words
        mentions = (changed_clause(note.prompt, other.prompt), *mentions)
    return KnownCase(
        id=note.id,
        prompt=note.prompt,
        answer=f" {note.diagnosis}",
        contrast=f" {other.diagnosis}",
        evidence=mentions,
        scope=(0, len(note.prompt) - len(QUESTION)),
        twin=other.prompt,
    )


def first_difference(a: str, b: str) -> int:
    """The first character at which two texts differ."""
    return next((i for i, (one, two) in enumerate(zip(a, b, strict=False)) if one != two), min(len(a), len(b)))


def changed_clause(a: str, b: str) -> tuple[int, int]:
    """The part of `a` that `b` says in other words: all but the longest common beginning and end."""
    start = first_difference(a, b)
    back = first_difference(a[::-1], b[::-1])
    end = max(len(a) - back, start + 1)
    return start, min(end, len(a))
