"""Cohorts of other houses: a JSONL file with one text per line.

    {"id": "n1", "patient": "p1", "prompt": "… Diagnosis:", "answer": "Pneumonia",
     "attributes": {"sex": "female", "race": "Black", "age": 71, "insurance": "Medicaid"},
     "swaps": {"race": {"White": "… Diagnosis:"}}, "spans": [{"start": 3, "end": 8, "label": "fever"}]}

`attributes`, `swaps` and `spans` may be left out where an audit does not need them; `swaps` holds the same prompt with
another value in the place of the patient's. An age in years is put into bands. Errors name lines and keys, never text.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from analysis.audits.cohort import Cohort, Subject, age_band
from sae.config import Settings
from sae.errors import UserError


class Span(Settings, frozen=True, extra="ignore"):
    """An annotated mention."""

    start: int = Field(ge=0, description="First character.")
    end: int = Field(gt=0, description="One past the last character.")
    label: str = Field(description="What it is.")
    status: str = Field(default="affirmed", description="Only affirmed mentions count.")


class Row(Settings, frozen=True):
    """One line."""

    prompt: str = Field(min_length=1, description="The text, up to where the answer begins.")
    answer: str = Field(min_length=1, description="The right answer.")
    id: str | None = Field(default=None, description="Its name; the line's number if not given.")
    patient: str | None = Field(default=None, description="Whose text it is; the id if not given.")
    attributes: dict[str, str | int | float | None] = Field(default_factory=dict, description="Protected attributes.")
    swaps: dict[str, dict[str, str]] = Field(default_factory=dict, description="Attribute → value → prompt.")
    spans: tuple[Span, ...] = Field(default=(), description="Mentions of findings.")


def read_cohort(path: Path) -> Cohort:
    """Reads a cohort.

    Raises:
        UserError: There is no such file, a line is not as it should be, or all answers are the same.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}, expected a JSONL cohort. Name one in --cohort.")
    lines = path.read_text(encoding="utf-8").splitlines()
    subjects = [subject(number, row_of(number, line)) for number, line in enumerate(lines, 1) if line.strip()]
    answers = tuple(sorted({one.truth for one in subjects}))
    if len(answers) < 2:
        raise UserError(
            f"The cohort {path} has {len(answers)} different answers in {len(subjects)} lines, expected at least two. Add texts."
        )
    if len({one.id for one in subjects}) < len(subjects):
        raise UserError(f"The cohort {path} has ids that occur twice, expected each once. Correct them.")
    return Cohort(path.name, tuple(subjects), answers)


def row_of(number: int, line: str) -> Row:
    """One line as a row.

    Raises:
        UserError: It is none.
    """
    try:
        return Row.model_validate(json.loads(line))
    except json.JSONDecodeError:
        raise UserError(f"Line {number} of the cohort is no JSON, expected one object per line. Correct it.") from None
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(map(str, detail["loc"])) or "the line"
        what = "is no key" if detail["type"] == "extra_forbidden" else detail["msg"].lower()
        raise UserError(
            f"Line {number} of the cohort, {key}: {what}; expected {', '.join(Row.model_fields)}. Correct it."
        ) from None


def subject(number: int, row: Row) -> Subject:
    """One row as a subject."""
    attributes = {name: shown(name, value) for name, value in row.attributes.items() if value not in (None, "")}
    swaps = {
        name: versions | {attributes[name]: row.prompt} for name, versions in row.swaps.items() if name in attributes
    }
    name = row.id or str(number)
    spans = tuple(span.model_dump() for span in row.spans)
    return Subject(name, row.patient or name, row.prompt, row.answer, attributes, swaps, spans)


def shown(name: str, value: Any) -> str:
    """A value as a group's name; an age in years as its band."""
    return age_band(float(value)) if name == "age" and isinstance(value, int | float) else str(value)
