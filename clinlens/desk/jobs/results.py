"""Results on disk: RUN/desk/results/<hash>.json, and beside it the matrix as .npy, which is read in tiles.

The name is the hash of everything that decides the result, so a question asked twice is answered once.
They hold tokens of the text: only their owner may read them.
"""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sae import artefact

FORMAT_VERSION = 1
"""Counted up where results of the same question change."""
NAME = re.compile(r"[0-9a-f]{16}")


class Results:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str, kind: str = "json") -> Path:
        """Where a result lies, made or not."""
        if not NAME.fullmatch(name):
            raise ValueError("no name of a result")
        return self.folder / f"{name}.{kind}"

    def has(self, name: str) -> bool:
        """Whether a result is whole: its JSON is written last."""
        return self.path(name).is_file()

    def put(self, name: str, result: dict[str, Any]) -> None:
        """Keeps a result; its matrix and terms go into files of their own."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        attribution = dict(result["attribution"])
        raw, terms = np.asarray(attribution.pop("raw"), np.float64), attribution.pop("terms", {})
        artefact.write_bytes(self.path(name, "npy"), npy(raw), artefact.PRIVATE)
        for number, term in enumerate(terms.values()):
            artefact.write_bytes(self.path(name, f"term{number}.npy"), npy(np.asarray(term)), artefact.PRIVATE)
        slim = result | {"attribution": attribution | {"shape": list(raw.shape), "term_names": list(terms)}}
        artefact.write_text(self.path(name), json.dumps(slim, ensure_ascii=False, allow_nan=False), artefact.PRIVATE)

    def get(self, name: str) -> dict[str, Any]:
        """A result without its matrix."""
        return artefact.read_json(self.path(name))

    def matrix(self, name: str) -> Float[np.ndarray, "n t"]:
        """The matrix, mapped: only what is looked at is read."""
        return np.load(self.path(name, "npy"), mmap_mode="r", allow_pickle=False)

    def terms(self, name: str, names: list[str]) -> dict[str, Float[np.ndarray, "n t"]]:
        """Parts that the scores are made of."""
        return {
            term: np.load(self.path(name, f"term{number}.npy"), mmap_mode="r", allow_pickle=False)
            for number, term in enumerate(names)
        }

    def delete(self, name: str) -> None:
        """Removes a result, the JSON first."""
        self.path(name).unlink(missing_ok=True)
        for path in self.folder.glob(f"{name}.*"):
            path.unlink(missing_ok=True)


def npy(values: np.ndarray) -> bytes:
    """An array as a .npy file holds it."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()
