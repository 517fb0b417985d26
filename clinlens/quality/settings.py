"""Settings of a verb from KEY=VALUE."""

from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from sae.config import Settings
from sae.errors import UserError

T = TypeVar("T", bound=Settings)


def settings(model: type[T], given: tuple[str, ...]) -> T:
    """The settings of a command line.

    Raises:
        UserError: A setting that does not exist, or a value that does not fit.
    """
    values: dict[str, Any] = {}
    for one in given:
        key, is_assignment, value = one.partition("=")
        if not is_assignment or key not in model.model_fields:
            raise UserError(
                f"--set {one!r} names no setting here, expected KEY=VALUE with one of {', '.join(model.model_fields)}. Correct it."
            )
        values[key] = yaml.safe_load(value)
    try:
        return model(**values)
    except ValidationError as error:
        detail = error.errors()[0]
        raise UserError(
            f"--set {'.'.join(map(str, detail['loc']))}: {detail['msg'].lower()}, found {detail['input']!r}. Correct it."
        ) from None
