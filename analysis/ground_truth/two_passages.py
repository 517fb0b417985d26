"""Two passages and a question that only one of them answers, for DSA on models that can read.

    {passage about one patient} {passage about another} Question: which drug did Mrs Adler get? Answer:

The texts are our own, in the style of HETA's benchmark (arXiv:2604.13258), whose 2,000 examples are 100 texts from
narratives and science questions.

Differs from it: passages are of one kind and about one length, so that neither style nor length tells them apart; the
place of the answering passage varies; passages are exact spans; no text occurs twice; and what is attributed is the answer's
first token and not the last token of the prompt.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from analysis.ground_truth.known import KnownCase

PEOPLE = (
    "Mrs Adler", "Mr Boone", "Ms Castillo", "Mr Dietrich", "Mrs Eklund", "Mr Farouk", "Ms Grant", "Mr Haddad", "Mrs Ito",
    "Mr Jansen", "Ms Kowalski", "Mr Lindqvist",
)  # fmt: skip
COMPLAINTS = ("a cough", "a fever", "a rash", "back pain", "a headache", "swollen ankles", "a sore throat", "dizziness")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
PLACES = ("the clinic by the river", "the ward on the third floor", "the practice in the old town", "the hospital")


class Fact(NamedTuple):
    """A question, and the sentence that answers it."""

    sentence: str
    question: str
    answers: tuple[str, ...]


FACTS = (
    Fact("The doctor prescribed {answer}.", "Which drug did {person} get?",
         ("aspirin", "insulin", "morphine", "penicillin", "ibuprofen", "heparin")),
    Fact("The surgeon operated on the {answer}.", "What was operated on in {person}?",
         ("knee", "heart", "shoulder", "eye", "hip", "hand")),
    Fact("The blood was drawn by the {answer}.", "Who drew the blood of {person}?",
         ("nurse", "student", "doctor", "midwife")),
    Fact("The family asked for a {answer}.", "What did the family of {person} ask for?",
         ("wheelchair", "translator", "priest", "bed", "phone")),
)  # fmt: skip


def passage(person: str, fact: Fact, answer: str, rng: random.Random) -> str:
    """Three sentences about a person, the second of which holds the fact."""
    came = f"{person} came to {rng.choice(PLACES)} with {rng.choice(COMPLAINTS)}."
    return f"{came} {fact.sentence.format(answer=answer)} The next visit is on {rng.choice(DAYS)}."


def cases(n: int, seed: int) -> Iterator[KnownCase]:
    """Different texts from a seed."""
    rng = random.Random(f"passages:{seed}")  # noqa: S311 (nothing here is secret)
    seen: set[str] = set()
    while len(seen) < n:
        asked, other = rng.sample(PEOPLE, 2)
        fact = rng.choice(FACTS)
        right, wrong = rng.sample(fact.answers, 2)
        passages = [passage(asked, fact, right, rng), passage(other, fact, wrong, rng)]
        answers_first = rng.random() < 0.5
        first, second = passages if answers_first else passages[::-1]
        body = f"{first} {second}"
        prompt = f"{body} Question: {fact.question.format(person=asked)} Answer:"
        if prompt in seen:
            continue
        spans = ((0, len(first)), (len(first) + 1, len(body)))
        yield KnownCase(
            id=f"passages-{len(seen):05d}",
            prompt=prompt,
            answer=f" {right}",
            contrast=f" {wrong}",
            evidence=(spans[0 if answers_first else 1],),
            scope=(0, len(body)),
            distractor=(spans[1 if answers_first else 0],),
        )
        seen.add(prompt)
