"""Synthetic clinical notes with exact spans, known evidence, twins and an optional planted bias.

    from clinlens.clinic.notes import ClinicConfig, generate
    for note in generate(ClinicConfig(n_notes=3)):
        print(note.text)

Every note comes from its own random generator, seeded by the config's seed and the number of its group. So the first
hundred notes of a config are the same whether a hundred or a million are asked for, and switching the bias on changes
labels and nothing else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from pydantic import Field

from clinlens.clinic.bias import PROTECTED_GROUP, written_diagnosis
from clinlens.clinic.concepts import CONCEPTS, Category, Status, Value
from clinlens.clinic.diagnoses import DECIDING_CONCEPTS, DIAGNOSES, first_that_holds, present_concepts
from clinlens.clinic.patients import Patient, draw_patient
from clinlens.clinic.sections import Draft, PlacedMention, draft, render
from clinlens.clinic.twins import Change, Twin, make_twin
from sae.config import Settings

QUESTION = "Diagnosis:"
"""What stands right before the answer; the answer's first token is the one after it."""
_MAX_PAIR_DRAWS = 200


class ClinicConfig(Settings, frozen=True):
    """What notes to write."""

    n_notes: int = Field(default=2000, ge=1, description="Number of notes, twins included.")
    seed: int = Field(default=0, ge=0, description="Notes of different seeds are different patients.")
    twin_fraction: float = Field(
        default=0.5, ge=0, le=1, description="Expected share of notes that stand in a twin pair."
    )
    bias: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Probability that a Medicaid patient with a myocardial infarction is labelled reflux disease.",
    )


@dataclass(frozen=True)
class Span:
    """A mention of a concept in a note."""

    start: int
    """First character."""
    end: int
    """One past the last character."""
    concept: str
    """Name of the concept in `CONCEPTS`."""
    category: Category
    """Its category."""
    status: Status
    """What is said of it; only `affirmed` mentions say that the patient has it."""
    is_evidence: bool
    """It stands in the rule that decided, or its opposite would change the diagnosis, or the planted bias used it."""


@dataclass(frozen=True)
class Note:
    """One synthetic note and everything that is known about it."""

    id: str
    """Unique among all configs that differ in seed."""
    group: str
    """Shared by a note and its twin: split by group, never by note."""
    text: str
    """The whole note, the answer and the plan included."""
    spans: tuple[Span, ...]
    """Every mention of a concept, in the order of the text."""
    answer: tuple[int, int]
    """Where the diagnosis stands in the text."""
    diagnosis: str
    """The diagnosis as written."""
    rule_diagnosis: str
    """What `decide(findings)` gives; it differs from `diagnosis` in biased notes only."""
    findings: Mapping[str, Value]
    """What the note says of the patient, demographics left out."""
    age: int
    """In years."""
    sex: str
    """`female` or `male`."""
    insurance: str
    """One of `INSURANCES`."""
    twin_of: str | None = None
    """The id of the note that this one is a twin of."""
    changed: str | None = None
    """In a twin, the concept that was changed."""
    change: Change | None = None
    """In a twin, what was done to it."""

    @property
    def is_biased(self) -> bool:
        """Whether the planted bias changed the label."""
        return self.diagnosis != self.rule_diagnosis

    @property
    def evidence(self) -> tuple[Span, ...]:
        """The mentions that decide the diagnosis."""
        return tuple(span for span in self.spans if span.is_evidence)

    @property
    def prompt(self) -> str:
        """The text up to and including `Diagnosis:`."""
        return self.text[: self.answer[0] - 1]

    def document(self) -> dict[str, Any]:
        """The note as the JSON-able record that the rest of ClinLens reads."""
        return {
            "id": self.id,
            "text": self.text,
            "source": "clinic",
            "split": "all",
            "group": self.group,
            "labels": {
                "diagnosis": self.diagnosis,
                "rule_diagnosis": self.rule_diagnosis,
                "answer_start": self.answer[0],
                "answer_end": self.answer[1],
                "sex": self.sex,
                "insurance": self.insurance,
                "age": self.age,
                "twin_of": self.twin_of,
                "changed": self.changed,
                "biased": self.is_biased,
            },
            "spans": [
                {
                    "start": span.start,
                    "end": span.end,
                    "label": span.concept,
                    "category": span.category,
                    "status": span.status,
                    "is_evidence": span.is_evidence,
                }
                for span in self.spans
            ],
        }


def _deciding(patient: Patient) -> frozenset[str]:
    """Concepts in the rule that fired, and those whose turning round alone would change the diagnosis."""
    present = present_concepts(patient.findings)
    pivotal = (
        concept
        for concept in patient.findings
        if concept in DECIDING_CONCEPTS and first_that_holds(present ^ {concept}) != patient.diagnosis
    )
    return frozenset((*DIAGNOSES[patient.diagnosis].concepts, *pivotal))


def _span(placed: PlacedMention, deciding: frozenset[str]) -> Span:
    start, end, mention = placed
    is_evidence = mention.concept in deciding and mention.status != "other_person"
    return Span(start, end, mention.concept, CONCEPTS[mention.concept].category, mention.status, is_evidence)


def _write(patient: Patient, sections: Draft, group: str, bias: float, twin: Twin | None = None) -> Note:
    """Renders one note."""
    note_id = f"{group}-twin" if twin else group
    diagnosis = written_diagnosis(patient.insurance, patient.diagnosis, bias, Random(f"{note_id}:bias"))  # noqa: S311 (nothing here is secret)
    deciding = _deciding(patient)
    if diagnosis != patient.diagnosis:
        deciding |= {PROTECTED_GROUP}
    body, placed = render(sections)
    prompt = f"{body}\n{QUESTION} "
    return Note(
        id=note_id,
        group=group,
        text=f"{prompt}{diagnosis}\nPlan: {DIAGNOSES[diagnosis].plan}",
        spans=tuple(_span(place, deciding) for place in placed),
        answer=(len(prompt), len(prompt) + len(diagnosis)),
        diagnosis=diagnosis,
        rule_diagnosis=patient.diagnosis,
        findings=patient.findings,
        age=patient.age,
        sex=patient.sex,
        insurance=patient.insurance,
        twin_of=group if twin else None,
        changed=twin.concept if twin else None,
        change=twin.change if twin else None,
    )


def _pair(group: str, bias: float, rng: Random) -> tuple[Note, Note]:
    """A note that has a twin, and its twin."""
    for _ in range(_MAX_PAIR_DRAWS):
        patient = draw_patient(rng)
        sections = draft(patient, rng)
        twin = make_twin(patient, sections, rng)
        if twin is not None:
            return _write(patient, sections, group, bias), _write(twin.patient, twin.sections, group, bias, twin)
    raise RuntimeError(f"no patient with a twin in {_MAX_PAIR_DRAWS} draws. Check the rules in diagnoses.py.")


def generate(cfg: ClinicConfig) -> Iterator[Note]:
    """Writes the notes of a config, a twin right after the note it belongs to."""
    pair_share = cfg.twin_fraction / (2 - cfg.twin_fraction)  # share of groups that hold two notes
    n_written = 0
    group_index = 0
    while n_written < cfg.n_notes:
        group = f"clinic-{cfg.seed}-{group_index:06d}"
        rng = Random(group)  # noqa: S311 (nothing here is secret)
        if rng.random() < pair_share:
            notes = _pair(group, cfg.bias, rng)
        else:
            patient = draw_patient(rng)
            notes = (_write(patient, draft(patient, rng), group, cfg.bias),)
        yield from notes[: cfg.n_notes - n_written]
        n_written += len(notes)
        group_index += 1


__all__ = ["QUESTION", "ClinicConfig", "Note", "Span", "generate"]
