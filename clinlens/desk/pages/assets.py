"""The desk's style sheet and modules beside those of the review queue that they stand on, at an address that changes with them."""

import re
from functools import cache
from pathlib import Path

from starlette.responses import Response

from labeling.web import assets as shared

FOLDER = Path(__file__).parent.parent / "static"
IMPORT = re.compile(r'from "\./([\w.]+)"')
SHARED = ("mark.svg", "requests.js", "session.js", "site.css")
"""Files of the review queue; under the desk's address, so that modules find each other by plain names."""


@cache
def assets() -> dict[str, bytes]:
    """Every file by name."""
    own = {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in shared.KINDS}
    return {name: shared.assets()[name] for name in SHARED} | own


@cache
def digest() -> str:
    """One hash for all of them."""
    return shared.digest_of(assets())


def address(name: str) -> str:
    """Where a file is found.

    Raises:
        KeyError: There is none of that name: a slip in a template.
    """
    if name not in assets():
        raise KeyError(name)
    return f"/desk/static/{digest()}/{name}"


@cache
def modules(name: str) -> tuple[str, ...]:
    """A module and all that it imports, so that a browser can fetch them at once instead of one after another."""
    found = [name]
    for one in found:  # it grows meanwhile
        found += [other for other in IMPORT.findall(assets()[one].decode()) if other not in found]
    return tuple(dict.fromkeys(found))


def serve(version: str, name: str) -> Response | None:
    """A file, if it is of this version."""
    if version != digest() or name not in assets():
        return None
    return shared.cached_for_ever(name, assets()[name])
