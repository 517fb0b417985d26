"""Counterfactual twins: the same note with one piece of evidence changed, so that the rules give another diagnosis.

Three changes are made: a finding is denied or affirmed, a number moves to the other side of its threshold, or a
finding is replaced by a complaint that stands in no rule. Everything else before `Diagnosis:` stays the same
character for character.
"""

from collections.abc import Iterator
from random import Random
from typing import Literal, NamedTuple

from clinlens.clinic.concepts import CONCEPTS, Value
from clinlens.clinic.diagnoses import DECIDING_CONCEPTS, decide, first_that_holds, present_concepts
from clinlens.clinic.patients import Patient, draw_number
from clinlens.clinic.sections import Draft, Mention

Change = Literal["negated", "affirmed", "number", "replaced"]


class Twin(NamedTuple):
    """A changed patient and the draft of the changed note."""

    patient: Patient
    """With the findings and the diagnosis after the change."""
    sections: Draft
    """The draft with one mention exchanged."""
    concept: str
    """The concept that was changed."""
    change: Change
    """What was done to it."""


class _Place(NamedTuple):
    section: int
    clause: int
    mention: Mention


_FILLERS = tuple(n for n, c in CONCEPTS.items() if c.category == "symptom" and n not in DECIDING_CONCEPTS)
_REPLACED_SHARE = 0.6  # few changed findings are complaints in a clause of their own, so this is 2 % of twins


def flip(mention: Mention, rng: Random) -> Mention:
    """The mention with the opposite meaning, in the same words where the language allows it."""
    concept = CONCEPTS[mention.concept]
    is_present = not concept.is_present(mention.value)
    if not isinstance(mention.value, bool) and concept.measure is not None:
        value = draw_number(mention.concept, is_present, rng)
        match = concept.measure.pattern.fullmatch(mention.text)
        if match is None:
            raise ValueError(f"a mention of {mention.concept} does not read as a measurement. Check its measure.")
        number = f"{value:.{concept.measure.decimals}f}"
        text = mention.text[: match.start(1)] + number + mention.text[match.end(1) :]
        return Mention(mention.concept, value, text, "affirmed" if is_present else "normal_value")
    if concept.normal_forms:
        before, after = (
            (concept.forms, concept.normal_forms) if mention.value else (concept.normal_forms, concept.forms)
        )
        text = after[before.index(mention.text)]
        return Mention(mention.concept, is_present, text, "affirmed" if is_present else "normal_value")
    return Mention(mention.concept, is_present, mention.text, "affirmed" if is_present else "negated")


def _places(sections: Draft) -> Iterator[_Place]:
    """Every mention that stands alone in its clause, so that exchanging it touches nothing else."""
    for i, section in enumerate(sections):
        for j, clause in enumerate(section.clauses):
            if len(clause.mentions) == 1 and clause.mentions[0].status != "other_person":
                yield _Place(i, j, clause.mentions[0])


def _outcome(present: set[str], concept: str) -> str | None:
    """The diagnosis after one concept is turned round."""
    return first_that_holds(present ^ {concept})


def _exchange(sections: Draft, place: _Place, mention: Mention) -> Draft:
    section = sections[place.section]
    clause = section.clauses[place.clause]._replace(mentions=(mention,))
    clauses = (*section.clauses[: place.clause], clause, *section.clauses[place.clause + 1 :])
    return (*sections[: place.section], section._replace(clauses=clauses), *sections[place.section + 1 :])


def make_twin(patient: Patient, sections: Draft, rng: Random) -> Twin | None:
    """A twin of the note, or None where no single change gives another diagnosis."""
    present = present_concepts(patient.findings)
    places = [
        place
        for place in _places(sections)
        if place.mention.concept in DECIDING_CONCEPTS
        and _outcome(present, place.mention.concept) not in (None, patient.diagnosis)
    ]
    if not places:
        return None
    place = rng.choice(places)
    old = place.mention
    findings: dict[str, Value] = dict(patient.findings)
    fillers = [name for name in _FILLERS if name not in findings]
    change: Change
    if old.status == "affirmed" and CONCEPTS[old.concept].category == "symptom" and rng.random() < _REPLACED_SHARE:
        filler = rng.choice(fillers)
        new = Mention(filler, True, rng.choice(CONCEPTS[filler].forms), "affirmed")
        findings.pop(old.concept)
        change = "replaced"
    else:
        new = flip(old, rng)
        change = "number" if not isinstance(new.value, bool) else "affirmed" if new.value else "negated"
    findings[new.concept] = new.value
    diagnosis = decide(findings)
    if diagnosis is None or diagnosis == patient.diagnosis:
        raise RuntimeError(f"a change of {old.concept} left the diagnosis at {diagnosis}. Check `first_that_holds`.")
    return Twin(
        patient._replace(findings=findings, diagnosis=diagnosis), _exchange(sections, place, new), old.concept, change
    )


__all__ = ["Change", "Twin", "flip", "make_twin"]
