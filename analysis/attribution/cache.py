"""Results on disk, by the hash of everything that decides them: a question asked twice is answered once."""

import json
from pathlib import Path
from typing import Any

from analysis.attribution import record
from analysis.attribution.case import Case
from sae import artefact


class Cache:
    """A folder of results. They hold tokens of the text, so only their owner may read them.

    Args:
        folder: Where they lie; nothing is kept if none.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def path(self, case: Case, origin: dict[str, Any]) -> Path | None:
        """Where the result of a case lies, made or not."""
        if self.folder is None:
            return None
        ids, special = case.input_ids.tolist(), case.is_special.tolist()
        spans = [list(span) for span in case.spans]
        return self.folder / f"{artefact.content_hash(case.text, ids, special, spans, origin)}.json"

    def get(self, case: Case, origin: dict[str, Any]) -> dict[str, Any] | None:
        """A result that was made before; none where its file was cut off."""
        path = self.path(case, origin)
        if path is None or not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return None

    def put(self, case: Case, origin: dict[str, Any], result: dict[str, Any]) -> None:
        """Keeps a result."""
        path = self.path(case, origin)
        if path is not None:
            text = json.dumps(record.plain(result), ensure_ascii=False, allow_nan=False)
            artefact.write_text(path, text, artefact.PRIVATE)
