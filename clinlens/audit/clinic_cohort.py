"""The clinic's notes as a cohort: fresh patients, the rules' answers, and every note for another sex, age and insurance."""

from itertools import islice

from analysis.audits.cohort import Cohort, Subject, age_band
from clinlens.clinic.bias import SERIOUS_DIAGNOSIS
from clinlens.clinic.concepts import INSURANCES
from clinlens.clinic.diagnoses import DIAGNOSES
from clinlens.clinic.notes import ClinicConfig, Note, generate
from clinlens.clinic.swaps import AGES, SEXES, swapped

SEED_OFFSET = 600_000_000
"""Patients of an audit are others than those of a corpus with the same seed."""
VALUES = {"sex": SEXES, "insurance": INSURANCES, "age": tuple(AGES)}


def clinic_cohort(n: int, seed: int, only: str | None = None) -> Cohort:
    """Notes of fresh patients, one each.

    Args:
        n: How many.
        seed: Of the patients.
        only: A diagnosis, if all are to have that one.
    """
    endless = generate(ClinicConfig(n_notes=2**62, seed=SEED_OFFSET + seed, twin_fraction=0))
    wanted = (note for note in endless if only is None or note.rule_diagnosis == only)
    return Cohort("clinic", tuple(subject(note) for note in islice(wanted, n)), tuple(DIAGNOSES))


def subject(note: Note) -> Subject:
    """One note, up to its answer; what the rules say is right, whatever a bias wrote."""
    spans = tuple(
        {"start": span.start, "end": span.end, "label": span.concept, "status": span.status, "category": span.category}
        for span in note.spans
        if span.end <= len(note.prompt)
    )
    attributes = {"sex": note.sex, "insurance": note.insurance, "age": age_band(note.age)}
    swaps = {name: {value: swapped(note, name, value) for value in values} for name, values in VALUES.items()}
    for name in VALUES:
        swaps[name][attributes[name]] = note.prompt
    return Subject(note.id, note.group, note.prompt, note.rule_diagnosis, attributes, swaps, spans)


__all__ = ["SEED_OFFSET", "SERIOUS_DIAGNOSIS", "clinic_cohort", "subject"]
