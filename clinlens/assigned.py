"""Settings of a verb from `--set KEY=VALUE`."""

import difflib
from collections.abc import Sequence
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from sae.config import Settings
from sae.errors import UserError

T = TypeVar("T", bound=Settings)


def assigned(model: type[T], given: Sequence[str], **fixed: Any) -> T:
    """The settings of a command line.

    Args:
        model: What settings there are.
        given: KEY=VALUE each.
        fixed: Settings that other options decide.

    Raises:
        UserError: A setting that does not exist, or a value that does not fit.
    """
    values: dict[str, Any] = {}
    for one in given:
        key, is_assignment, value = one.partition("=")
        if not is_assignment or key not in model.model_fields:
            near = difflib.get_close_matches(key, model.model_fields, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UserError(
                f"--set {one!r} names no setting here, expected KEY=VALUE with one of {', '.join(model.model_fields)}.{hint} "
                "Correct it."
            )
        values[key] = value_of(value)
    try:
        return model(**fixed | values)
    except ValidationError as error:
        raise refusal(error) from None


def value_of(text: str) -> Any:
    """A value as YAML reads it; the text itself where it is no YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def refusal(error: ValidationError) -> UserError:
    """Says of the first value that does not fit what was found."""
    detail = error.errors()[0]
    return UserError(
        f"--set {'.'.join(map(str, detail['loc']))}: {detail['msg'].lower()}, found {detail['input']!r}. Correct it."
    )
