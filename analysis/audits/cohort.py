"""Whom an audit is about: texts that end where the answer begins, what is right, and who the patients are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sae.errors import UserError

AGE_BANDS = (18, 40, 65)
"""First year of each band but the first. Source: the usual borders of paediatrics and geriatrics, and one between."""


@dataclass(frozen=True)
class Subject:
    """One text about one patient."""

    id: str
    patient: str
    """Texts of one patient are never split apart or exchanged singly."""
    prompt: str
    """Ends where the answer begins."""
    truth: str
    """The right answer."""
    attributes: Mapping[str, str]
    """Protected attribute → value, such as sex → female; an attribute may be missing."""
    swaps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Attribute → value → the same prompt with that value in its place; the own value's is the prompt itself."""
    spans: tuple[Mapping[str, object], ...] = ()
    """Annotated mentions in the prompt: {start, end, label, …}."""


@dataclass(frozen=True)
class Cohort:
    """The texts of an audit."""

    name: str
    subjects: tuple[Subject, ...]
    answers: tuple[str, ...]
    """All answers that count, the right ones among them."""

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def patients(self) -> list[str]:
        return [one.patient for one in self.subjects]

    @property
    def attributes(self) -> tuple[str, ...]:
        """All attributes that some text has."""
        return tuple(dict.fromkeys(name for one in self.subjects for name in one.attributes))

    def truth(self) -> np.ndarray:
        """[n] number of the right answer."""
        return np.asarray([self.answers.index(one.truth) for one in self.subjects])

    def values(self, attribute: str) -> np.ndarray:
        """[n] value of an attribute; empty where a text has none."""
        return np.asarray([one.attributes.get(attribute, "") for one in self.subjects])

    def strata(self) -> list[tuple[str, ...]]:
        """[n] what texts are exchanged within: the right answers of the patient's texts."""
        by_patient: dict[str, list[str]] = {}
        for one in self.subjects:
            by_patient.setdefault(one.patient, []).append(one.truth)
        return [tuple(sorted(by_patient[one.patient])) for one in self.subjects]


def groups(cohort: Cohort, min_patients: int) -> list[tuple[str, str]]:
    """Attribute and value of every group that is neither too small nor all there are, in order.

    Raises:
        UserError: No attribute has two groups that are large enough.
    """
    found = []
    for attribute in cohort.attributes:
        values = cohort.values(attribute)
        counts = {
            value: len({one.patient for one in cohort.subjects if one.attributes.get(attribute) == value})
            for value in sorted(set(values.tolist()) - {""})
        }
        large = [value for value, n in counts.items() if n >= min_patients]
        found += [(attribute, value) for value in large if len(large) > 1]
    if not found:
        raise UserError(
            f"The cohort {cohort.name!r} has no protected attribute with two groups of at least {min_patients} patients, "
            "expected sex, age, race or insurance in `attributes`. Add them to the cohort, or take a larger one."
        )
    return found


def age_band(age: float) -> str:
    """The band of an age in years, such as 40–64."""
    edges = (0, *AGE_BANDS)
    low = max(edge for edge in edges if edge <= age)
    above = [edge for edge in edges if edge > age]
    return f"{low}–{above[0] - 1}" if above else f"{low}+"


def first_of(subjects: Sequence[Subject], n: int, seed: int) -> list[Subject]:
    """At most n subjects, drawn at random, in their order."""
    drawn = np.random.default_rng(seed).permutation(len(subjects))[:n]
    return [subjects[i] for i in sorted(drawn.tolist())]
