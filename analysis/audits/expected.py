"""The YAML of expected findings: which findings speak for a diagnosis, and how a finding is recognised.

findings:
  fever: {spans: [fever]}                                    # labels of annotated spans
  stiff neck: {words: [neck stiffness, nuchal rigidity]}     # whole words, without regard to case
  crackles: {features: {blocks.2.hook_resid_post: [17, 33]}} # features that physicians named
diagnoses:
  Meningitis: [fever, stiff neck]
"""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError, model_validator

from sae.config import Settings
from sae.errors import UserError


class Finding(Settings, frozen=True):
    """How a finding is recognised: by spans, words or features, exactly one of them."""

    spans: tuple[str, ...] = Field(default=(), description="Labels of annotated spans.")
    words: tuple[str, ...] = Field(default=(), description="Words or phrases in the text.")
    features: dict[str, tuple[NonNegativeInt, ...]] = Field(
        default_factory=dict, description="Hook point → numbers of features."
    )

    @model_validator(mode="after")
    def names_one_kind(self) -> "Finding":
        """Exactly one of the three is given."""
        given = [name for name in ("spans", "words", "features") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"a finding has {' and '.join(given) or 'nothing'}, expected spans, words or features")
        return self

    def places(self, text: str) -> list[tuple[int, int]]:
        """Where one of the words stands."""
        pattern = "|".join(rf"\b{re.escape(word)}\b" for word in self.words)
        return [found.span() for found in re.finditer(pattern, text, re.IGNORECASE)]


class Expected(Settings, frozen=True):
    """What is expected of the model's process."""

    findings: dict[str, Finding] = Field(min_length=1, description="Findings by name.")
    diagnoses: dict[str, tuple[str, ...]] = Field(min_length=1, description="Diagnosis → findings that speak for it.")

    @model_validator(mode="after")
    def names_known_findings(self) -> "Expected":
        """Every finding of a diagnosis is described."""
        for diagnosis, names in self.diagnoses.items():
            for name in names:
                if name not in self.findings:
                    raise ValueError(
                        f"{diagnosis} expects {name!r}, which is no finding, {nearest(name, self.findings)}"
                    )
        return self


def nearest(name: str, known: Any) -> str:
    """The nearest known name, or all of them."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}" if near else f"expected one of {', '.join(known)}"


def read_expected(path: Path) -> Expected:
    """Reads the YAML.

    Raises:
        UserError: There is no such file, it is no YAML, or a key in it is not known.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"There is no file {path}, expected a YAML of findings and diagnoses. Name one in --expected."
        ) from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise UserError(f"{path} is no YAML at line {line}, expected findings and diagnoses. Correct it.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds {type(values).__name__}, expected findings and diagnoses. Correct it.")
    try:
        return Expected.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {sentence(error)}") from None


def sentence(error: ValidationError) -> str:
    """The first mistake in words; a key that is not known comes before one that is missing, which may be the same."""
    detail = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    place = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        section: type[BaseModel] = Expected if len(place) == 1 else Finding
        return f"{'.'.join(place)} is no key, {nearest(place[-1], section.model_fields)}. Correct or remove it."
    if detail["type"] == "missing":
        return f"{'.'.join(place)} is not there, expected it. Add it."
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{'.'.join(place)}: {message}. Correct it." if place else f"{message}. Correct it."
