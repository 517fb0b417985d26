"""A bundle as a folder of files that others can read without ClinLens, and ClinLens can merge elsewhere.

The same bundle gives the same bytes: no clock, no machine, records in the order of their ids. All of it is
written beside an earlier export first and swapped in when it is complete, the manifest last: a full disk leaves the earlier
one as it was.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import yaml

from labeling.exchange import manifest as manifests
from labeling.exchange.bundle import ABOUT_FILE, FILES, PROJECT_FILE, TABLES, Bundle
from labeling.exchange.manifest import Manifest
from labeling.exchange.records import CodebookRecord
from labeling.exchange.tables import csv_of, json_lines, parquet_of
from sae import artefact
from sae.errors import UserError

EVIDENCE_NOTE = "snapshots.jsonl holds text of the corpus: keep this folder only where the corpus may be kept."
"""Said where evidence is exported."""
ABOUT = """\
# Judgements of {project}

Made by ClinLens. `manifest.json` lists every file with its SHA-256. One row of `judgements` is one judgement of one rater; \
`soft_labels` has one row per item and field with the whole distribution. Raters are named by pseudonyms{names}. {evidence}

Labels are what physicians said of features of a language model, given the evidence they were shown. They are hypotheses \
about the model: no reconstruction of its reasoning, no statement about a patient.
"""


def write(
    bundle: Bundle,
    folder: Path,
    software: str,
    schema_version: str,
    extra: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Writes an export.

    Args:
        bundle: What to write.
        folder: Empty, missing, or an earlier export, which is replaced file by file.
        software: Name and version of what writes it.
        schema_version: Of the database it came from.
        extra: Other files, by name: the agreement report, other tools' formats.

    Raises:
        UserError: The folder holds what no export wrote.
    """
    files = {**contents(bundle), **(extra or {})}
    earlier = earlier_files(folder)
    entries = {name: manifests.listed(data) for name, data in sorted(files.items())}
    manifest = manifests.of_bundle(bundle, software, schema_version).model_copy(update={"files": entries})
    staging = folder / manifests.STAGING
    shutil.rmtree(staging, ignore_errors=True)
    try:
        for name, data in files.items():
            artefact.write_bytes(staging / name, data)
        manifests.write(staging, manifest)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    swap(folder, staging, earlier - set(files), [*files, manifests.FILE])
    return manifest


def earlier_files(folder: Path) -> set[str]:
    """The files of an earlier export, which may be replaced; a new folder is made.

    Raises:
        UserError: The folder holds what no export wrote.
    """
    if not folder.exists():
        folder.mkdir(parents=True)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder, expected one to write the export to. Name another with --to.")
    earlier: set[str] = set()
    for place in (folder, folder / manifests.STAGING):  # the second is there where an export was killed
        if (place / manifests.FILE).is_file():
            earlier |= {manifests.FILE, *manifests.parsed(place).files}
    strangers = sorted({path.name for path in folder.iterdir()} - earlier - {manifests.STAGING})
    if strangers:
        raise UserError(
            f"{folder} holds {len(strangers)} files that no export wrote ({strangers[0]} first), expected an empty folder or "
            "an earlier export. Name another with --to."
        )
    return earlier - {manifests.FILE}


def swap(folder: Path, staging: Path, superfluous: set[str], names: list[str]) -> None:
    """Puts whole files in the places of an earlier export's, the manifest last; no byte is written any more."""
    for name in superfluous:
        (folder / name).unlink(missing_ok=True)
    for name in names:
        (staging / name).replace(folder / name)
    artefact.flush(folder)
    staging.rmdir()


def contents(bundle: Bundle) -> dict[str, bytes]:
    """The files of a bundle, by name."""
    files = {PROJECT_FILE: pretty(bundle.project.model_dump(mode="json")), ABOUT_FILE: about(bundle)}
    for codebook in bundle.codebooks:
        files |= codebook_files(codebook)
    for name, (part, _) in FILES.items():
        if name != "snapshots.jsonl" or bundle.snapshots:
            files[name] = json_lines(getattr(bundle, part)).encode()
    for name, kind in TABLES.items():
        files[f"{name}.csv"] = csv_of(kind, getattr(bundle, name)).encode()
        files[f"{name}.parquet"] = parquet_of(kind, getattr(bundle, name))
    return files


def codebook_files(codebook: CodebookRecord) -> dict[str, bytes]:
    """A version as the record that imports read, and its body as YAML for people."""
    text = yaml.safe_dump(codebook.body, sort_keys=False, allow_unicode=True, width=100)
    return {
        f"codebook-{codebook.n}.json": pretty(codebook.model_dump(mode="json")),
        f"codebook-{codebook.n}.yaml": text.encode(),
    }


def pretty(value: object) -> bytes:
    """JSON for people, the same bytes for the same value."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def about(bundle: Bundle) -> bytes:
    """A page for whoever finds the folder."""
    names = ", with the names beside them in `raters.jsonl`" if any(rater.name for rater in bundle.raters) else ""
    evidence = EVIDENCE_NOTE if bundle.snapshots else "No file holds evidence; rationales are what raters wrote."
    return ABOUT.format(project=bundle.project.name, names=names, evidence=evidence).encode()
