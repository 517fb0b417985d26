"""Blind detection: given only a feature's label, which of some held-out passages make it fire?"""

from collections.abc import Mapping
from typing import Any

from sae.errors import UserError


def validate_marks(answers: Any, detail: Mapping[str, Any]) -> dict[str, Any]:
    """The answers to a detection task: `{"fires": [true, false, …]}`, one for each passage.

    Raises:
        UserError: There are too few, too many, or something else.
    """
    n_contexts = len(detail["contexts"])
    marks = answers.get("fires") if isinstance(answers, Mapping) and set(answers) == {"fires"} else None
    if not isinstance(marks, list) or len(marks) != n_contexts or not all(isinstance(mark, bool) for mark in marks):
        raise UserError(
            f"The marks are malformed, expected yes or no for each of {n_contexts} passages. Mark each passage."
        )
    return {"fires": marks}
