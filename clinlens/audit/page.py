"""An audit as one self-contained page that runs no code and loads nothing. It may hold words of texts: for its owner alone."""

from pathlib import Path
from typing import Any

from clinlens.audit.sections import Section
from labeling.standalone_page import rendered
from sae import artefact

SOURCES = Path(__file__).parent
TITLES = {
    "protected": "Protected attributes", "drift": "New data", "failures": "Failure triage", "process": "Process benchmark",
}  # fmt: skip


def write(path: Path, kind: str, found: dict[str, Any], sections: list[Section]) -> None:
    """Writes the page."""
    artefact.write_text(path, render(kind, found, sections), artefact.PRIVATE)


def render(kind: str, found: dict[str, Any], sections: list[Section]) -> str:
    """The page."""
    return rendered(
        SOURCES / "audit.html.j2", SOURCES / "audit.css",
        title=TITLES[kind], found=found, sections=sections,
    )  # fmt: skip
