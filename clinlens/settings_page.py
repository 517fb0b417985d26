"""docs/settings.md and configs/schema.json, written from the config classes, so that no setting is described twice."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from clinlens.config import ARCHITECTURES, RunConfig
from sae import artefact

ROOT = Path(__file__).resolve().parent.parent
HEADER = """# Settings

Every setting of a run config, written from the code by `make docs`. `--set section.key=value` overrides one on the
command line; `--set sae.key=value` sets it in every SAE that has it.
"""


def page() -> str:
    """The page."""
    parts = [HEADER, table("The run", RunConfig), *sections(RunConfig)]
    parts += [table(f"`sae:` architecture `{name}`: {cls.__doc__}", cls) for name, cls in ARCHITECTURES.items()]
    return "\n".join(parts)


def sections(cls: type[BaseModel], prefix: str = "") -> list[str]:
    """The tables of all sections in a class, those inside after those around them."""
    parts: list[str] = []
    for name, field in cls.model_fields.items():
        section = section_of(field)
        if section is not None and section is not cls:  # a sweep's parameters may hold parameters
            parts += [table(f"`{prefix}{name}:` {field.description}", section), *sections(section, f"{prefix}{name}.")]
    return parts


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The class of a field that is a section, optional or by name."""
    options = [field.annotation, *get_args(field.annotation)]
    if any(get_origin(option) is tuple or option is tuple for option in options):
        return None
    inner = [*options, *(part for option in options for part in get_args(option))]
    return next((option for option in inner if isinstance(option, type) and issubclass(option, BaseModel)), None)


def table(title: str, cls: type[BaseModel]) -> str:
    """One section's settings."""
    rows = [
        f"| `{name}` | {shown_type(field)} | {shown_default(field)} | {field.description or ''} |"
        for name, field in cls.model_fields.items()
        if section_of(field) is None and name != "architecture"
    ]
    return "\n".join([f"## {title}", "", "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


def shown_type(field: FieldInfo) -> str:
    """A type as people read it."""
    annotation: Any = field.annotation
    choices = [value for value in get_args(annotation) if isinstance(value, str)]
    if choices:
        return " \\| ".join(f"`{choice}`" for choice in choices)
    if isinstance(annotation, type):
        return annotation.__name__
    if get_origin(annotation) is tuple:
        return "list"
    return " or ".join(short_name(option) for option in get_args(annotation))


def short_name(annotation: Any) -> str:
    """One member of a union; a constrained number is called by what it is."""
    if annotation is type(None):
        return "unset"
    base = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return getattr(base, "__name__", str(base))


def shown_default(field: FieldInfo) -> str:
    """A default as it would be written."""
    if field.is_required():
        return "must be given"
    default = field.default
    if isinstance(default, tuple) and default and isinstance(default[0], BaseModel):
        return ", ".join(f"`{item.architecture}`" for item in default)
    return "unset" if default is None else f"`{list(default) if isinstance(default, tuple) else default}`"


def schema() -> str:
    """JSON schema of a config file, for editors."""
    return json.dumps(RunConfig.model_json_schema(), indent=1) + "\n"


def main() -> int:
    """Writes both files; with --check, only says whether they are as the code has it."""
    files = {ROOT / "docs" / "settings.md": page(), ROOT / "configs" / "schema.json": schema()}
    if "--check" in sys.argv[1:]:
        stale = [path for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the code says. Run `make docs`.")
        return 1 if stale else 0
    for path, text in files.items():
        artefact.write_text(path, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
