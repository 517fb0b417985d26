"""The texts to explain and what is asked of each: one text, or a JSONL of cases."""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from analysis.attribution.target_request import TargetRequest
from sae.config import Settings
from sae.errors import UserError

STDIN = "-"


class SpanRow(Settings, frozen=True):
    """A marked passage."""

    start: int = Field(ge=0, description="First character.")
    end: int = Field(gt=0, description="One past the last character.")
    label: str = Field(default="", description="What it is.")

    @model_validator(mode="after")
    def has_room(self) -> "SpanRow":
        """It begins before it ends."""
        if self.start >= self.end:
            raise ValueError("start is not before end")
        return self


class Asked(TargetRequest, frozen=True):
    """One line of a file of cases: a text and what is asked of it."""

    id: str = Field(default="", description="What to call the case; its line number if unset.")
    text: str = Field(description="The text, up to where the answer begins.")
    spans: tuple[SpanRow, ...] = Field(default=(), description="Marked findings: units of `unit: spans`.")
    fixed: tuple[SpanRow, ...] = Field(
        default=(), description="Passages that are neither changed nor attributed, such as the question."
    )

    @field_validator("text")
    @classmethod
    def is_text(cls, text: str) -> str:
        """Halves of characters, which JSON can spell, are no text."""
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise ValueError("holds half a character")
        return text

    @model_validator(mode="after")
    def spans_lie_in_the_text(self) -> "Asked":
        """No passage ends behind the text."""
        if any(one.end > len(self.text) for one in (*self.spans, *self.fixed)):
            raise ValueError(f"a passage ends behind the text, which has {len(self.text)} characters")
        return self

    @property
    def request(self) -> TargetRequest:
        """What is asked."""
        return TargetRequest(**{name: getattr(self, name) for name in TargetRequest.model_fields})


def read_text(place: str, request: TargetRequest) -> list[Asked]:
    """The case of one text, from a file or from stdin.

    Raises:
        UserError: The file is not to be had, or no text.
    """
    if not place:
        raise UserError("--text is empty, expected a file, or - for stdin. Name one.")
    is_stdin = place == STDIN
    name, text = (
        ("stdin", decoded(sys.stdin.buffer.read(), "stdin")) if is_stdin else (Path(place).stem, contents(Path(place)))
    )
    return [checked({"id": name, "text": text} | request.model_dump(), name if is_stdin else place)]


def read_cases(path: Path, request: TargetRequest) -> list[Asked]:
    """The cases of a JSONL file; what a line leaves open is taken from the request.

    Raises:
        UserError: The file is not to be had, or a line is no case.
    """
    found = []
    for number, line in enumerate(contents(path).split("\n"), start=1):
        if line.strip():
            found.append(case_of(line, number, path, request))
    if not found:
        raise UserError(f"{path} holds no case, expected one JSON object per line. Write some.")
    return found


def case_of(line: str, number: int, path: Path, request: TargetRequest) -> Asked:
    """One line's case.

    Raises:
        UserError: It is none. What stands in the line is not told: it may be patient text.
    """
    try:
        row: Any = json.loads(line)
        names_target = {"target", "continuation", "generate", "class_name", "features"} & set(row)
        defaults = {} if names_target else request.model_dump(exclude_defaults=True)
        options = request.model_dump(include={"measure", "total", "position", "contrast"}, exclude_defaults=True)
        return checked({"id": str(number)} | options | defaults | row, f"{path}, line {number}")
    except (json.JSONDecodeError, TypeError) as error:
        raise UserError(
            f'{path}, line {number} is no JSON object, expected {{"text": …, "target": …}}. Correct it.'
        ) from error


def checked(values: dict[str, Any], place: str) -> Asked:
    """A case of values.

    Args:
        values: Field → value.
        place: Where they come from.

    Raises:
        UserError: They are no case. What stands in them is not told: it may be patient text.
    """
    try:
        return Asked(**values)
    except ValidationError as error:
        detail = error.errors(include_input=False)[0]
        is_stranger = detail["type"] == "extra_forbidden"  # its name may be anything, a patient's too
        field = "a field" if is_stranger else ".".join(map(str, detail["loc"])) or "the case"
        raise UserError(
            f"{place}: {field} {detail['msg'].lower()}, expected the fields {', '.join(Asked.model_fields)}. Correct it."
        ) from None


def contents(path: Path) -> str:
    """A file's text.

    Raises:
        UserError: It is not to be had, or not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}), expected a text file in UTF-8. Correct the path."
        ) from error
    return decoded(data, str(path))


def decoded(data: bytes, place: str) -> str:
    """Bytes as text: without a byte order mark, lines ending in newlines.

    Raises:
        UserError: They are not UTF-8. What they hold is not told: it may be patient text.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{place} is not UTF-8 at byte {error.start}, expected a text in UTF-8. Convert it.") from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
