"""The style sheet and the modules, at an address that changes with their content, so that they may be cached for ever."""

import hashlib
from functools import cache
from pathlib import Path

from starlette.responses import Response

FOLDER = Path(__file__).parent / "static"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@cache
def assets() -> dict[str, bytes]:
    """Every file by name."""
    return {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in KINDS}


@cache
def digest() -> str:
    """One hash for all of them, so that modules find each other by plain names."""
    return digest_of(assets())


def digest_of(files: dict[str, bytes]) -> str:
    """One hash for all files."""
    whole = hashlib.sha256()
    for name, data in files.items():
        whole.update(name.encode() + b"\0" + data)
    return whole.hexdigest()[:16]


def address(name: str) -> str:
    """Where a file is found.

    Raises:
        KeyError: There is none of that name: a slip in a template.
    """
    if name not in assets():
        raise KeyError(name)
    return f"/static/{digest()}/{name}"


def serve(version: str, name: str) -> Response | None:
    """A file, if it is of this version."""
    if version != digest() or name not in assets():
        return None
    return cached_for_ever(name, assets()[name])


def cached_for_ever(name: str, data: bytes) -> Response:
    """A file whose address changes with its content."""
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(data, headers=headers, media_type=KINDS[Path(name).suffix])
