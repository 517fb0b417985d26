"""Twins: one piece of evidence, another diagnosis, nothing else."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from clinlens.clinic.concepts import CONCEPTS
from clinlens.clinic.diagnoses import decide
from clinlens.clinic.notes import QUESTION
from clinlens.clinic.patients import draw_patient
from clinlens.clinic.sections import draft, render
from clinlens.clinic.twins import flip


def test_a_twin_has_another_diagnosis_by_the_rules(pairs):
    assert len(pairs) > 400
    for note, twin in pairs:
        assert note.diagnosis == decide(note.findings)
        assert twin.diagnosis == decide(twin.findings)
        assert note.diagnosis != twin.diagnosis


def test_twins_share_their_group_and_everything_about_the_person(pairs):
    for note, twin in pairs:
        assert note.group == twin.group
        assert (note.age, note.sex, note.insurance) == (twin.age, twin.sex, twin.insurance)


def test_twins_differ_in_exactly_one_mention(pairs):
    for note, twin in pairs:
        assert len(note.spans) == len(twin.spans)
        said = [[(span.concept, span.status, n.text[span.start : span.end]) for span in n.spans] for n in (note, twin)]
        different = [(old, new) for old, new in zip(*said, strict=True) if old != new]
        assert len(different) == 1
        assert different[0][0][0] == twin.changed


def test_twins_differ_in_one_finding_that_was_evidence(pairs):
    for note, twin in pairs:
        changed = {
            c for c in note.findings.keys() | twin.findings.keys() if note.findings.get(c) != twin.findings.get(c)
        }
        if twin.change == "replaced":
            assert len(changed) == 2
            assert twin.changed in changed - twin.findings.keys()
        else:
            assert changed == {twin.changed}
        assert twin.changed in {span.concept for span in note.evidence}


def test_the_text_around_the_changed_sentence_is_the_same(pairs):
    for note, twin in pairs:
        old, new = note.prompt, twin.prompt
        first = next(i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
        tail = next(i for i, (a, b) in enumerate(zip(reversed(old), reversed(new), strict=False)) if a != b)
        assert "\n" not in old[first : len(old) - tail]
        assert max(len(old), len(new)) - first - tail <= 60
        assert old.endswith(QUESTION)


def test_all_kinds_of_change_occur(pairs):
    assert {twin.change for _, twin in pairs} == {"negated", "affirmed", "number", "replaced"}


@given(st.integers(0, 10_000))
def test_turning_a_mention_round_twice_gives_its_meaning_back(seed):
    rng = Random(seed)  # noqa: S311 (nothing here is secret)
    _, placed = render(draft(draw_patient(rng), rng))
    for place in placed:
        mention, concept = place.mention, CONCEPTS[place.mention.concept]
        once = flip(mention, rng)
        assert concept.is_present(once.value) != concept.is_present(mention.value)
        assert concept.is_present(flip(once, rng).value) == concept.is_present(mention.value)
