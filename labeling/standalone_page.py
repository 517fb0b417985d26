"""A page that stands alone: one template and one style sheet, no code, nothing loaded from anywhere."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup


def rendered(template: Path, style: Path, **content: Any) -> str:
    """The page; the template is given `style` and `policy` beside the content.

    Args:
        template: Jinja, escaping what it shows.
        style: A style sheet of ours.
        content: What the template shows; a name it asks for that is not here is an error.
    """
    sheet = style.read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = Markup(sheet)  # noqa: S704 - our own file
    return environment.get_template(template.name).render(**content, style=own, policy=policy(sheet))


def policy(style: str) -> str:
    """The content security policy: this one inline style, nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
