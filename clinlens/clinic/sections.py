"""A note as sections of clauses, and the text with exact spans that comes out of them.

A draft is built once with a random generator; rendering is deterministic. A twin is the same draft with one mention
exchanged, which is why everything else in its text stays the same character for character.
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from clinlens.clinic.concepts import CONCEPTS, Category, Status, Value
from clinlens.clinic.diagnoses import DECIDING_CONCEPTS
from clinlens.clinic.patients import Patient


class Mention(NamedTuple):
    """One concept in one place of the note."""

    concept: str
    """Name of the concept."""
    value: Value
    """What is said of it."""
    text: str
    """The words, without a negation before or after them."""
    status: Status
    """Affirmed, denied, normal, or said of another person."""


class Clause(NamedTuple):
    """A piece of a sentence around one mention, or around several that share one cue ("Denies cough, rash or CP")."""

    affirmed: str
    """Template with one `{}` for each mention."""
    negated: str
    """The template that is used when a single mention is negated."""
    mentions: tuple[Mention, ...]
    """In the order of the text; none for a fixed phrase such as `NKDA`."""

    @property
    def template(self) -> str:
        """The template for the mentions as they are."""
        return self.negated if self.mentions and self.mentions[0].status == "negated" else self.affirmed


class Section(NamedTuple):
    """A heading and what stands under it."""

    heading: str
    """Without the colon."""
    clauses: tuple[Clause, ...]
    """At least one."""
    is_list: bool
    """Clauses are separated by commas, not written as sentences."""


class PlacedMention(NamedTuple):
    """A mention with its place in the text."""

    start: int
    """First character."""
    end: int
    """One past the last character."""
    mention: Mention
    """What is said there."""


Draft = tuple[Section, ...]

_HEADINGS = {
    "history": ("HPI", "History", "Presenting complaint"),
    "past": ("PMH", "Past history"),
    "medications": ("Medications", "Meds", "Drugs"),
    "allergies": ("Allergies", "Allergy"),
    "family": ("Family history", "FH"),
    "vitals": ("Vitals", "Observations"),
    "exam": ("Exam", "Examination"),
    "labs": ("Labs", "Bloods"),
    "imaging": ("Imaging", "Radiology"),
}
_LISTS = frozenset({"medications", "allergies", "vitals", "labs"})
_SECTION_OF: dict[Category, str] = {
    "symptom": "history",
    "sign": "exam",
    "vital": "exam",
    "lab_value": "labs",
    "imaging": "imaging",
    "history": "past",
    "procedure": "past",
    "drug": "medications",
    "allergy": "allergies",
}
_PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "history": (("Reports {}", "Denies {}"), ("Has {}", "Has no {}"), ("Positive for {}", "Negative for {}"),
                ("{} for two days", "No {}")),
    "past": (("History of {}", "No history of {}"), ("Known {}", "No known {}"), ("Record of {}", "No record of {}")),
    "exam": (("{} on exam", "No {} on exam"), ("With {}", "Without {}"), ("{} present", "{} absent")),
    "imaging": (("Study shows {}", "Study shows no {}"), ("With {}", "Without {}"),
                ("Positive for {}", "Negative for {}")),
    "medications": (("{}", "no longer {}"), ("{}", "not on {}")),
    "allergies": (("{}", "not {}"),),
    "vitals": (("{}", "{}"),),
    "labs": (("{}", "{}"),),
}  # fmt: skip
_GROUPS = {True: ("Presents with {}", "Reports {}", "Has {}"), False: ("Denies {}", "No {}", "Negative for {}")}
_RELATIVES = ("Mother", "Father", "Sister", "Brother", "Partner")
_RELATIVE_TEMPLATES = ("{} had {{}}", "{} has {{}}", "{} with {{}}")
_INHERITED = tuple(
    name
    for name, concept in CONCEPTS.items()
    if (name in DECIDING_CONCEPTS and concept.category in ("symptom", "history", "imaging", "vital"))
    or concept.category == "history"
)


def _write_value(name: str, value: Value, rng: Random) -> Mention:
    """Chooses the words for a finding of the patient."""
    concept = CONCEPTS[name]
    if not isinstance(value, bool):
        if concept.measure is None:
            raise ValueError(f"{name} is not measured, but its value is the number {value:g}. Give True or False.")
        text = concept.measure.write(rng.choice(concept.measure.names), value, rng.choice(concept.measure.units))
        return Mention(name, value, text, "affirmed" if concept.is_present(value) else "normal_value")
    if not value and concept.normal_forms:
        return Mention(name, value, rng.choice(concept.normal_forms), "normal_value")
    return Mention(name, value, rng.choice(concept.forms), "affirmed" if value else "negated")


def _section_of(mention: Mention) -> str:
    concept = CONCEPTS[mention.concept]
    if concept.category == "vital" and not isinstance(mention.value, bool):
        return "vitals"
    return "history" if concept.name == "fever" else _SECTION_OF[concept.category]


def _group(mentions: list[Mention], rng: Random) -> Clause:
    """Several mentions of one polarity under one cue."""
    is_affirmed = mentions[0].status == "affirmed"
    last = " and " if is_affirmed else " or "
    slots = ", ".join(["{}"] * (len(mentions) - 1)) + last + "{}"
    template = rng.choice(_GROUPS[is_affirmed]).format(slots)
    return Clause(template, template, tuple(mentions))


def _single(mention: Mention, section: str, rng: Random) -> Clause:
    """One mention in a clause of its own."""
    affirmed, negated = rng.choice(_PAIRS[section])
    return Clause(affirmed, negated, (mention,))


def _history_clauses(mentions: list[Mention], rng: Random) -> list[Clause]:
    """Groups some of the complaints and writes the others singly."""
    clauses: list[Clause] = []
    for status in ("affirmed", "negated"):
        same = [mention for mention in mentions if mention.status == status]
        size = min(len(same), rng.choice((0, 0, 2, 3)))
        if size >= 2:
            clauses.append(_group(same[:size], rng))
            same = same[size:]
        clauses += [_single(mention, "history", rng) for mention in same]
    rng.shuffle(clauses)
    return clauses


def _opener(patient: Patient, rng: Random) -> Clause:
    """Age, sex and insurance."""
    age = _write_value("older_adult", float(patient.age), rng)
    sex = _write_value(patient.sex, True, rng)
    insurance = _write_value(patient.insurance, True, rng)
    return Clause("{} {}, {}", "{} {}, {}", (age, sex, insurance))


def _family(patient: Patient, rng: Random) -> Clause | None:
    """A finding of somebody else, one that the patient does not have."""
    name = rng.choice(_INHERITED)
    if name in patient.findings:
        return None
    mention = Mention(name, True, rng.choice(CONCEPTS[name].forms), "other_person")
    template = rng.choice(_RELATIVE_TEMPLATES).format(rng.choice(_RELATIVES))
    return Clause(template, template, (mention,))


def draft(patient: Patient, rng: Random) -> Draft:
    """Lays the findings of a patient out in sections."""
    mentions: dict[str, list[Mention]] = {}
    for name, value in patient.findings.items():
        mention = _write_value(name, value, rng)
        mentions.setdefault(_section_of(mention), []).append(mention)
    clauses: dict[str, list[Clause]] = {"history": [_opener(patient, rng)]}
    for section, found in mentions.items():
        rng.shuffle(found)
        if section == "history":
            clauses[section] += _history_clauses(found, rng)
        else:
            clauses[section] = [_single(mention, section, rng) for mention in found]
    if "medications" not in clauses and rng.random() < 0.3:
        clauses["medications"] = [Clause("none", "none", ())]
    if "allergies" not in clauses and rng.random() < 0.5:
        clauses["allergies"] = [Clause(words := rng.choice(("NKDA", "none known")), words, ())]
    if rng.random() < 0.5 and (relative := _family(patient, rng)):
        clauses["family"] = [relative]
    before = ["past", "medications", "allergies", "family"]
    after = ["vitals", "exam", "labs", "imaging"]
    rng.shuffle(before)
    rng.shuffle(after)
    return tuple(
        Section(rng.choice(_HEADINGS[name]), tuple(clauses[name]), name in _LISTS)
        for name in ("history", *before, *after)
        if name in clauses
    )


def render(sections: Sequence[Section]) -> tuple[str, list[PlacedMention]]:
    """Writes the sections out, one line each, and says where every mention stands."""
    text = ""
    placed: list[PlacedMention] = []
    for section in sections:
        text += ("\n" if text else "") + section.heading + ":"
        for index, clause in enumerate(section.clauses):
            text += ", " if section.is_list and index else " "
            clause_start = len(text)
            first, *rest = clause.template.split("{}")
            text += first
            for mention, after in zip(clause.mentions, rest, strict=True):
                placed.append(PlacedMention(len(text), len(text) + len(mention.text), mention))
                text += mention.text + after
            if not section.is_list:
                text = text[:clause_start] + text[clause_start].upper() + text[clause_start + 1 :] + "."
        if section.is_list:
            text += "."
    return text, placed


__all__ = ["Clause", "Draft", "Mention", "PlacedMention", "Section", "draft", "render"]
