"""The diagnoses of the clinic and the one function that decides between them.

Each diagnosis has a readable rule over concepts: all of these AND one of those AND NOT any of these. Several rules
can hold for one patient; then the diagnosis that stands first in `DIAGNOSES` is given, so every set of findings has
at most one diagnosis.

The rules are made up so that they overlap and so that each is decided by two or three findings. They are not clinical
guidance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from clinlens.clinic.concepts import CONCEPTS, Value

Family = Literal["chest", "abdomen", "head"]


@dataclass(frozen=True)
class Diagnosis:
    """One diagnosis, its rule and what follows from it."""

    name: str
    """As the note writes it after `Diagnosis:`."""
    family: Family
    """Diagnoses of one family compete for the same complaints."""
    all_of: tuple[str, ...]
    """Concepts that must all be present."""
    any_of: tuple[str, ...] = ()
    """Concepts of which one must be present, if any are listed."""
    none_of: tuple[str, ...] = ()
    """Concepts that must not be present."""
    plan: str = ""
    """The sentence after `Plan:`."""

    @property
    def concepts(self) -> tuple[str, ...]:
        """Every concept that stands in the rule."""
        return (*self.all_of, *self.any_of, *self.none_of)

    def holds(self, present: set[str]) -> bool:
        """Whether the rule holds for a patient with exactly these concepts."""
        return (
            present.issuperset(self.all_of)
            and (not self.any_of or not present.isdisjoint(self.any_of))
            and present.isdisjoint(self.none_of)
        )

    def describe(self) -> str:
        """The rule in words, such as `chest pain AND raised troponin (troponin > 0.4 ng/mL)`."""
        parts = [CONCEPTS[concept].describe() for concept in self.all_of]
        if self.any_of:
            parts.append("(" + " OR ".join(CONCEPTS[concept].describe() for concept in self.any_of) + ")")
        parts += [f"NOT {CONCEPTS[concept].describe()}" for concept in self.none_of]
        return " AND ".join(parts)


_ORDERED = (
    Diagnosis("Meningitis", "head", ("fever", "neck_stiffness"), (), (),
              "lumbar puncture and ceftriaxone at once."),
    Diagnosis("Myocardial infarction", "chest", ("chest_pain", "raised_troponin"), (), (),
              "heparin and coronary angiography today."),
    Diagnosis("Pulmonary embolism", "chest", ("dyspnoea", "raised_d_dimer"), (), (),
              "anticoagulation and CT pulmonary angiogram."),
    Diagnosis("Diabetic ketoacidosis", "abdomen", ("high_glucose", "ketones"), (), (),
              "insulin infusion, fluids and hourly potassium."),
    Diagnosis("Pancreatitis", "abdomen", ("abdominal_pain", "raised_lipase"), (), (),
              "fluids, analgesia and nil by mouth."),
    Diagnosis("Appendicitis", "abdomen", ("abdominal_pain", "rebound_tenderness"), (), ("appendectomy",),
              "surgical review for laparoscopy."),
    Diagnosis("Cholecystitis", "abdomen", ("abdominal_pain", "gallstones", "fever"), (), (),
              "antibiotics and early gallbladder surgery."),
    Diagnosis("Pneumonia", "chest", ("fever", "consolidation"), (), (),
              "amoxicillin and repeat film in six weeks."),
    Diagnosis("Heart failure", "chest", ("dyspnoea", "raised_bnp"), (), (),
              "furosemide and echocardiogram."),
    Diagnosis("Pyelonephritis", "abdomen", ("dysuria",), ("flank_pain", "fever"), (),
              "urine culture and ciprofloxacin."),
    Diagnosis("COPD exacerbation", "chest", ("dyspnoea", "wheeze", "smoking"), (), (),
              "nebulisers, prednisolone and controlled oxygen."),
    Diagnosis("Asthma attack", "chest", ("dyspnoea", "wheeze"), (), ("smoking",),
              "inhaled bronchodilator and a short steroid course."),
    Diagnosis("Biliary colic", "abdomen", ("abdominal_pain", "gallstones"), (), ("fever",),
              "analgesia and elective surgical clinic."),
    Diagnosis("Cystitis", "abdomen", ("dysuria",), (), ("flank_pain", "fever"),
              "nitrofurantoin for three days."),
    Diagnosis("Migraine", "head", ("headache", "photophobia"), (), ("neck_stiffness",),
              "sumatriptan and a dark quiet room."),
    Diagnosis("Reflux disease", "chest", ("chest_pain", "heartburn"), (), ("raised_troponin",),
              "omeprazole and advice on diet."),
)  # fmt: skip

DIAGNOSES: Mapping[str, Diagnosis] = MappingProxyType({diagnosis.name: diagnosis for diagnosis in _ORDERED})
"""Every diagnosis by name, the one that takes precedence first."""

DECIDING_CONCEPTS = frozenset(concept for diagnosis in _ORDERED for concept in diagnosis.concepts)
"""Concepts that stand in some rule."""


def first_that_holds(present: set[str]) -> str | None:
    """The first diagnosis whose rule holds for a patient with exactly these concepts, or None."""
    for diagnosis in _ORDERED:
        if diagnosis.holds(present):
            return diagnosis.name
    return None


def present_concepts(findings: Mapping[str, Value]) -> set[str]:
    """The concepts the patient has: affirmed ones, and measured ones on the abnormal side of their threshold."""
    return {concept for concept, value in findings.items() if CONCEPTS[concept].is_present(value)}


def decide(findings: Mapping[str, Value]) -> str | None:
    """The diagnosis of a patient, or None where no rule holds.

    Args: findings: what is known of the patient, concept → True (affirmed), False (denied or normal) or a measured
        number. A concept
            that is left out is absent, and so is everything said of other people.

    Raises:
        KeyError: a concept that the clinic does not know.
    """
    return first_that_holds(present_concepts(findings))


__all__ = ["DECIDING_CONCEPTS", "DIAGNOSES", "Diagnosis", "decide", "first_that_holds", "present_concepts"]
