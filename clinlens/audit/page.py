"""An audit as one self-contained page that runs no code and loads nothing. It may hold words of texts: for its owner alone."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from clinlens.audit.sections import Section
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
    style = (SOURCES / "audit.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(SOURCES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template("audit.html.j2").render(
        title=TITLES[kind], found=found, sections=sections, style=Markup(style),  # noqa: S704 - our own file
        policy=f"default-src 'none'; style-src 'sha256-{digest}'",
    )  # fmt: skip
