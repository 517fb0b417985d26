"""Which code a result was made with: a changed method must not be answered with what the one before it found.

A version number says so only if somebody counts it up; the sources say it themselves. A changed comment makes results anew too,
which costs time and misleads nobody.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sae import artefact

PACKAGES = ("analysis.attribution", "hooks", "sae")
"""The methods, and what they import: how models are read, and autoencoders."""


@cache
def code_stamp() -> str:
    """The hash of the sources, read once per process."""
    specs = [find_spec(name) for name in PACKAGES]
    return stamp_of([Path(place) for spec in specs if spec for place in spec.submodule_search_locations or ()])


def stamp_of(folders: Sequence[Path]) -> str:
    """The hash of all Python files below folders, by name and content, wherever they lie."""
    files = [(folder, path) for folder in folders for path in sorted(folder.rglob("*.py"))]
    return artefact.content_hash(
        *((folder.name, str(path.relative_to(folder)), artefact.file_hash(path)) for folder, path in files)
    )
