"""Synthetic patients: who they are, what was found, and a diagnosis that `decide` confirms.

A patient is made so that no single word gives the answer away:

1. A target diagnosis is drawn and the findings of its rule are set.
2. One or two rivals are drawn, mostly from the same family. Their findings are set too; where a rival would win, one
   of its findings is denied (or its number made normal), so that the note holds a near miss.
3. Findings that decide nothing are added, present or denied, and so is the past history.
4. `decide` must give the target, else the patient is drawn again.
"""

from random import Random
from typing import NamedTuple

from clinlens.clinic.concepts import CONCEPTS, INSURANCES, Category, Value
from clinlens.clinic.diagnoses import DECIDING_CONCEPTS, DIAGNOSES, Diagnosis, decide, first_that_holds

_CLINICAL: tuple[Category, ...] = ("symptom", "sign", "vital", "lab_value", "imaging")


def _names(*categories: Category) -> tuple[str, ...]:
    return tuple(name for name, concept in CONCEPTS.items() if concept.category in categories)


_ORDERED = tuple(DIAGNOSES.values())
_DECIDING = tuple(name for name in CONCEPTS if name in DECIDING_CONCEPTS)
_IDLE = tuple(name for name in _names(*_CLINICAL) if name not in DECIDING_CONCEPTS)
_PAST = tuple(name for name in _names("history", "procedure") if name not in DECIDING_CONCEPTS)
_DRUGS = _names("drug")
_ALLERGIES = _names("allergy")
_RIVALS = {
    diagnosis.name: tuple(other for other in _ORDERED if other.family == diagnosis.family and other is not diagnosis)
    for diagnosis in _ORDERED
}
_NUMBER_SHARE = {"lab_value": 0.8, "vital": 0.7}
_MAX_DRAWS = 200


class Patient(NamedTuple):
    """One synthetic patient before the note is written."""

    age: int
    """In years."""
    sex: str
    """`female` or `male`, a concept of the note."""
    insurance: str
    """One of `INSURANCES`, a concept of the note."""
    findings: dict[str, Value]
    """What the note will say, concept → True, False or a number."""
    diagnosis: str
    """What `decide(findings)` gives."""


def draw_number(concept: str, is_abnormal: bool, rng: Random) -> float:
    """A measured value of the concept on the asked side of its threshold."""
    measure = CONCEPTS[concept].measure
    if measure is None:
        raise ValueError(f"{concept} is not measured, so no number can be drawn. Ask for a concept with a measure.")
    low, high = measure.abnormal if is_abnormal else measure.normal
    return round(low + (high - low) * rng.random(), measure.decimals)


def _fulfil(diagnosis: Diagnosis, flags: dict[str, bool], rng: Random) -> None:
    """Sets the findings of a rule, leaving those that are set already."""
    for concept in diagnosis.all_of:
        flags.setdefault(concept, True)
    if diagnosis.any_of:
        flags.setdefault(rng.choice(diagnosis.any_of), True)
    for concept in diagnosis.none_of:
        if rng.random() < 0.7:
            flags.setdefault(concept, False)


def _add_rival(target: Diagnosis, rival: Diagnosis, flags: dict[str, bool], rng: Random) -> None:
    """Adds the findings of a rival; where it would win, one finding that it needs is denied."""
    before = set(flags)
    _fulfil(rival, flags, rng)
    if _flag_diagnosis(flags) == target.name:
        return
    added = [concept for concept in rival.concepts if concept in flags and concept not in before and flags[concept]]
    if added:
        flags[rng.choice(added)] = False


def _flag_diagnosis(flags: dict[str, bool]) -> str | None:
    return first_that_holds({concept for concept, is_present in flags.items() if is_present})


def _add_background(flags: dict[str, bool], rng: Random) -> None:
    """Adds findings that were not asked for: idle ones, deciding ones that decide nothing here, and the past."""
    for concept in rng.sample(_DECIDING, rng.choice((0, 1, 1, 2))):
        flags.setdefault(concept, rng.random() < 0.3)
    for concept in rng.sample(_IDLE, rng.choice((2, 2, 3, 3))):
        flags.setdefault(concept, rng.random() < 0.45)
    for concept in rng.sample(_PAST, rng.choice((1, 1, 1, 2))):
        flags.setdefault(concept, rng.random() < 0.7)
    for concept in rng.sample(_DRUGS, rng.choice((0, 1, 2, 2))):
        flags.setdefault(concept, rng.random() < 0.85)
    if rng.random() < 0.4:
        flags.setdefault(rng.choice(_ALLERGIES), True)


def _measured(flags: dict[str, bool], rng: Random) -> dict[str, Value]:
    """Writes some of the findings as numbers."""
    findings: dict[str, Value] = {}
    for name, is_present in flags.items():
        concept = CONCEPTS[name]
        if concept.measure is not None and rng.random() < _NUMBER_SHARE[concept.category]:
            findings[name] = draw_number(name, is_present, rng)
        else:
            findings[name] = is_present
    return findings


def draw_patient(rng: Random) -> Patient:
    """Draws one patient; every diagnosis is equally likely.

    Raises:
        RuntimeError: no patient of the drawn diagnosis came up, which means that the rules contradict each other.
    """
    target = rng.choice(_ORDERED)
    for _ in range(_MAX_DRAWS):
        flags: dict[str, bool] = {}
        _fulfil(target, flags, rng)
        for _ in range(rng.choice((1, 1, 2))):
            rival = rng.choice(_RIVALS[target.name] if rng.random() < 0.75 else _ORDERED)
            _add_rival(target, rival, flags, rng)
        _add_background(flags, rng)
        if _flag_diagnosis(flags) == target.name:
            break
    else:
        raise RuntimeError(f"no patient with {target.name} in {_MAX_DRAWS} draws. Check the rules in diagnoses.py.")
    findings = _measured(flags, rng)
    diagnosis = decide(findings)
    if diagnosis != target.name:
        raise RuntimeError(f"numbers turned {target.name} into {diagnosis}. Check the ranges in concepts.py.")
    age = int(draw_number("older_adult", rng.random() < 0.45, rng))
    return Patient(age, rng.choice(("female", "male")), rng.choice(INSURANCES), findings, target.name)


__all__ = ["Patient", "draw_number", "draw_patient"]
