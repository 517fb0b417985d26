"""The concept traces of a run: what `clinlens trace` wrote to RUN/traces, read without trusting their names."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from labeling.identifiers import sha256
from sae.errors import UserError

FOLDER = "traces"
NAME = re.compile(r"[\w-]{1,200}")
CAVEAT = (
    "An audit of what can be read out of a model, no clinical validation: that a feature tells a concept apart does not show "
    "that the model reasons with it, and a label is what people read in a feature."
)
"""Stands on every page and in every export, whatever a record says."""


class Trace(NamedTuple):
    """One trace."""

    id: str
    """Name of its file, without the ending."""
    record: dict[str, Any]
    sha256: str
    """Of the file's bytes: a permalink that names it finds out whether the record is still the one that was cited."""


def listed(run: Path | None) -> list[Trace]:
    """Every trace of a run that can be read, by name."""
    folder = run / FOLDER if run else None
    paths = folder.glob("*.json") if folder and folder.is_dir() else []
    names = sorted(path.stem for path in paths if "." not in path.stem)  # `….graph.json` lies beside each
    return [found for name in names if (found := read(run, name)) is not None]


def read(run: Path | None, name: str) -> Trace | None:
    """One trace; None where there is none of that name.

    Raises:
        UserError: The file is no trace.
    """
    path = run / FOLDER / f"{name}.json" if run and NAME.fullmatch(name) else None
    if path is None or not path.is_file():
        return None
    data = path.read_bytes()
    try:
        record = json.loads(data)
        if not {"concept", "layers", "nodes", "edges"} <= record.keys():
            raise ValueError
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"{FOLDER}/{name}.json is no concept trace, expected what `clinlens trace` writes. Write it again."
        ) from error
    return Trace(name, record, sha256(data))
