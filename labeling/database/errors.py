"""What the database refuses, by kind, so that a web server can answer with the right status."""

from typing import Any

from sae.errors import UserError


class NotFound(UserError):  # noqa: N818 - it reads "raise NotFound"
    """There is no such thing, or none that this person may know of."""


class NotAllowed(UserError):  # noqa: N818
    """The thing is there, but this person may not do that to it."""


class Conflict(UserError):  # noqa: N818
    """Somebody, perhaps the same person in another window, changed it in between; nothing was written."""

    def __init__(self, message: str, state: dict[str, Any]) -> None:
        super().__init__(message)
        self.state = state
        """How it stands now, for the answer."""
