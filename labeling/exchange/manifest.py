"""The list of an export's files with their hashes, written last: without it an export is unfinished.

An import compares every file with it first. What was changed, is missing or is not listed ends the import before anything
is read from it. The hash of the manifest is the name under which a database remembers the import.
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from labeling.exchange.bundle import Bundle
from labeling.exchange.records import Hash
from labeling.identifiers import sha256
from sae import artefact
from sae.config import Settings
from sae.errors import UserError

FILE = "manifest.json"
STAGING = ".export.part"
"""Folder within an export's in which the next one is written until it is complete."""
FORMAT: Literal["clinlens-labels"] = "clinlens-labels"
FORMAT_VERSION = 1
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}$")]


class Listed(Settings, frozen=True):
    """One file of an export."""

    sha256: Hash = Field(description="Hash of its bytes.")
    n_bytes: int = Field(ge=0, description="Its size.")


class Manifest(Settings, frozen=True):
    """What an export holds and where it comes from."""

    format: Literal["clinlens-labels"] = Field(description="That it is an export of judgements.")
    format_version: int = Field(ge=1, description="Of the records' fields.")
    project: str = Field(description="Id of the project.")
    input_digest: Hash = Field(description="Hash of everything that was exported, whatever the files' formats.")
    schema_version: str = Field(description="Of the database it came from.")
    software: str = Field(description="What wrote it.")
    has_evidence: bool = Field(description="Whether it holds text of the corpus.")
    has_names: bool = Field(description="Whether it holds raters' names.")
    files: dict[FileName, Listed] = Field(description="Every other file of the folder.")

    @property
    def sha256(self) -> str:
        """Its name."""
        return sha256(self.model_dump(mode="json"))


def of_bundle(bundle: Bundle, software: str, schema_version: str) -> Manifest:
    """Stands in the place of a folder's manifest where a database is read directly."""
    return Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        project=bundle.project.id,
        input_digest=bundle.digest,
        schema_version=schema_version,
        software=software,
        has_evidence=bool(bundle.snapshots),
        has_names=any(rater.name is not None for rater in bundle.raters),
        files={},
    )


def listed(data: bytes) -> Listed:
    """A file's line in the manifest."""
    return Listed(sha256=hashlib.sha256(data).hexdigest(), n_bytes=len(data))


def write(folder: Path, manifest: Manifest) -> None:
    """Writes it: with this the export exists."""
    artefact.write_json(folder / FILE, manifest.model_dump(mode="json"))


def read(folder: Path) -> Manifest:
    """The manifest of an export, with every file compared.

    Raises:
        UserError: It is no export, an unfinished one, one of a newer version, or a file is not as it was written.
    """
    manifest = parsed(folder)
    present = {path.name for path in folder.iterdir() if path.name not in (FILE, STAGING)}
    for name, entry in manifest.files.items():
        compare(folder / name, entry)
    strangers = sorted(present - set(manifest.files))
    if strangers:
        raise UserError(
            f"{folder} holds {len(strangers)} files that its manifest does not list ({strangers[0]} first), expected none. "
            "Nothing was imported; take away what was added."
        )
    return manifest


def parsed(folder: Path) -> Manifest:
    """The manifest as it stands."""
    path = folder / FILE
    if not path.is_file():
        raise UserError(
            f"{folder} holds no {FILE}, expected a folder that `clinlens labels export` finished. Export again, or name the "
            "right folder."
        )
    try:
        value: Any = json.loads(path.read_bytes())
        version = value.get("format_version") if isinstance(value, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise UserError(
                f"{path} is of format {version}, expected at most {FORMAT_VERSION}. Update ClinLens to read it."
            )
        return Manifest.model_validate(value)
    except (ValueError, RecursionError, ValidationError) as error:
        raise UserError(
            f"{path} is no manifest of an export, expected what `clinlens labels export` writes. Nothing was imported; ask "
            "for the export again."
        ) from error


def compare(path: Path, entry: Listed) -> None:
    """Ends with an error what is not the file that was written."""
    if path.is_symlink() or not path.is_file():
        raise UserError(f"{path} is missing, expected every file the manifest lists. Ask for the export again.")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != entry.sha256:
        raise UserError(
            f"{path} has the hash {found[:12]}…, expected {entry.sha256[:12]}…: it was changed after the export. Nothing was "
            "imported; ask for the export again."
        )
