"""YAML that people typed: what cannot be read is an error of one kind."""

from typing import Any

import yaml


def parsed(text: str) -> Any:
    """What a YAML text says.

    Raises:
        yaml.YAMLError: It says nothing readable: its syntax, a date or number that there is not, or lists in lists without end.
    """
    try:
        return yaml.safe_load(text)
    except (ValueError, OverflowError, RecursionError) as error:
        raise yaml.YAMLError(f"a value that cannot be read ({type(error).__name__})") from None
