"""Synthetic breast-cancer cases whose first treatment follows from a rule: the texts of the clinical demonstration.

    for case in cases(20, seed=0):
        print(case.prompt, case.answer)

1. A case states age, menopause, imaging, histology, grade, receptors, Ki-67, nodes and size, in words, in a varying order.
2. The first rule that holds names the treatment; the statements that the rule looked at are the evidence.
3. The rule is made up so that it can be learned and checked. It is no clinical guidance, and nothing that a model makes of
   these cases says anything about patients.

Source: the design of 20 breast-cancer cases follows doi 10.1177/11795972251407864; the texts are our own.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from analysis.ground_truth.known import KnownCase

QUESTION = "first treatment :"
TREATMENTS = ("trastuzumab", "chemotherapy", "tamoxifen", "letrozole")
STATEMENTS: dict[str, tuple[str, ...]] = {
    "menopause": ("premenopausal", "postmenopausal"),
    "her2": ("HER2-negative", "HER2-positive"),
    "er": ("ER-positive", "ER-negative"),
    "nodes": ("node-negative", "node-positive"),
    "grade": ("grade-1", "grade-2", "grade-3"),
    "imaging": ("BIRADS-4", "BIRADS-5", "BIRADS-6"),
    "histology": ("ductal", "lobular", "mucinous"),
    "ki67": ("Ki67-low", "Ki67-intermediate", "Ki67-high"),
    "size": ("T1", "T2", "T3"),
    "side": ("left", "right"),
    "age": tuple(f"age-{decade}s" for decade in (30, 40, 50, 60, 70)),
}
"""Subject → what may be said of it. Each is one word, so that a token is a statement."""
CONNECTING = ("case", "notes", "shows", "with", "and", "also", ".", ",")
WORDS = (*CONNECTING, *QUESTION.split(), *(word for some in STATEMENTS.values() for word in some), *TREATMENTS)


class Patient(NamedTuple):
    """What a case says, in the order in which it is said."""

    said: dict[str, str]
    """Subject → statement."""

    def decision(self) -> tuple[str, tuple[str, ...]]:
        """The treatment, and the subjects that decided, the one that tells it from the next rule first."""
        said = self.said
        if said["her2"] == "HER2-positive":
            return "trastuzumab", ("her2",)
        if said["er"] == "ER-negative":
            return "chemotherapy", ("er", "her2")
        if said["nodes"] == "node-positive" and said["grade"] == "grade-3":
            return "chemotherapy", ("nodes", "grade", "her2")
        treatment = "tamoxifen" if said["menopause"] == "premenopausal" else "letrozole"
        return treatment, ("menopause", "er", "her2", "nodes" if said["nodes"] == "node-negative" else "grade")


def draw(rng: random.Random) -> Patient:
    """A random patient; every treatment is about as frequent."""
    order = rng.sample(list(STATEMENTS), len(STATEMENTS))
    said = {subject: rng.choice(STATEMENTS[subject]) for subject in order}
    said["her2"] = "HER2-positive" if rng.random() < 0.25 else "HER2-negative"
    said["er"] = "ER-negative" if rng.random() < 0.25 else "ER-positive"
    return Patient({subject: said[subject] for subject in order})


def written(patient: Patient, rng: random.Random) -> list[str]:
    """The case word by word, up to the answer."""
    words = ["case", "notes"]
    for number, statement in enumerate(patient.said.values()):
        words += [statement, "." if number % 4 == 3 else rng.choice(CONNECTING[2:])]
    return [*words, *QUESTION.split()]


def cases(n: int, seed: int) -> Iterator[KnownCase]:
    """Cases from a seed, with the words that decide."""
    rng = random.Random(f"breast cancer:{seed}")  # noqa: S311 (nothing here is secret)
    for number in range(n):
        patient = draw(rng)
        words = written(patient, rng)
        treatment, subjects = patient.decision()
        donors = tuple(" ".join(donor(words, patient, rng)) for _ in range(8))
        yield KnownCase(
            id=f"breast-cancer-{number:02d}",
            prompt=" ".join(words),
            answer=f" {treatment}",
            contrast=None,
            evidence=tuple(place(words, patient.said[subject]) for subject in subjects),
            scope=(0, len(" ".join(words)) - len(QUESTION)),
            donors=donors,
        )


def donor(words: list[str], patient: Patient, rng: random.Random) -> list[str]:
    """The case with every statement redrawn among those of its own subject, as likely as in a new patient."""
    other = draw(rng).said
    subject_of = {statement: subject for subject, statement in patient.said.items()}
    return [other[subject_of[word]] if word in subject_of else word for word in words]


def place(words: list[str], word: str) -> tuple[int, int]:
    """Where a word stands in the text."""
    start = sum(len(one) + 1 for one in words[: words.index(word)])
    return start, start + len(word)
