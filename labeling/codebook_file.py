"""Reading a codebook from YAML, its vocabulary from a file beside it; the one that comes with ClinLens."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from labeling.codebook import Codebook
from labeling.yaml_text import parsed
from sae.errors import UserError

DEFAULT = Path(__file__).parent / "codebooks" / "feature-naming.yaml"


def default_codebook() -> Codebook:
    """What is asked of a physician about a feature, unless a project says otherwise."""
    return read_codebook(DEFAULT)


def read_codebook(path: Path) -> Codebook:
    """A codebook; `vocabulary` is the concepts themselves or the name of a file beside it.

    Raises:
        UserError: A file is missing, no YAML, or no codebook.
    """
    body = read_yaml(path)
    if isinstance(body.get("vocabulary"), str):
        body["vocabulary"] = read_yaml(path.parent / body["vocabulary"])
    try:
        return Codebook.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise UserError(
            f"{path}: {where}: {first['msg']}. Expected a codebook as in {DEFAULT.name}; correct it."
        ) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        body = parsed(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}), expected YAML. Check path and syntax."
        ) from error
    if not isinstance(body, dict):
        raise UserError(f"{path} holds no mapping, expected keys and values. See {DEFAULT.name}.")
    return body
