"""Screening a run's corpus: search, sign off, or write a redacted copy. The gate itself is in hooks.deidentification."""

import json
import logging
from itertools import groupby
from pathlib import Path
from typing import Any

from clinlens.folder import alone_in
from clinlens.pipeline import Run, progress
from clinlens.screening.review import render
from hooks import deidentification, redaction
from hooks.detectors import Detectors
from sae import artefact
from sae.errors import UserError

log = logging.getLogger("clinlens")


def act(run: Run, name: str | None, note: str, target: Path | None) -> dict[str, Any]:
    """Does the one thing that was asked for.

    Args:
        run: The run whose corpus it is.
        name: Who signs; none to search.
        note: Kept beside the sign-off.
        target: Where a redacted copy goes; none for no copy.

    Raises:
        UserError: Two things were asked for at once, or one that cannot be done.
    """
    if name is not None and target is not None:
        raise UserError(
            "--sign-off and --redact-to were both given, expected one: a sign-off is for the corpus as it is, and a redacted "
            "copy is another corpus. Run `clinlens screen` once for each."
        )
    if any(doc.image is not None for doc in run.unscreened_documents):
        raise UserError(
            f"The corpus {run.corpus.name!r} holds images, but `clinlens screen` searches texts: what is burnt into a picture "
            "would go unseen. Have the images checked elsewhere, and leave corpus.deidentification off."
        )
    if note and name is None:
        raise UserError("--note was given without --sign-off, expected both. Add --sign-off NAME.")
    with alone_in(run.folder):
        if name is not None:
            return sign_off(run, name, note)
        return search(run) if target is None else redact(run, target)


def search(run: Run) -> dict[str, Any]:
    """Searches the corpus and writes findings, review page and, last, the summary."""
    cfg, docs = run.cfg.screening, run.unscreened_documents
    detectors = Detectors(cfg)
    if not detectors.account.finds_names_and_places:
        log.warning("screen: %s", detectors.account.names_and_places)
    with progress("screen", len(docs), "doc") as done:
        findings = deidentification.scan(docs, detectors, done)
    folder = run.folder / deidentification.FOLDER
    page = render(docs, findings, detectors.account, cfg, run.corpus.name)
    artefact.write_text(folder / deidentification.REVIEW, page, artefact.PRIVATE)
    summary = deidentification.conclude(run.folder, docs, findings, detectors.account, cfg)
    return {
        "review": str(folder / deidentification.REVIEW),
        "findings": str(folder / deidentification.FINDINGS),
        **summary,
    }


def sign_off(run: Run, name: str, note: str) -> dict[str, Any]:
    """Signs for the corpus as the last screening found it."""
    signed = deidentification.sign(run.folder, run.unscreened_documents, name, note)
    return {"sign_off": str(run.folder / deidentification.FOLDER / deidentification.SIGN_OFF), **signed}


def redact(run: Run, target: Path) -> dict[str, Any]:
    """Writes a copy of the corpus with each finding replaced, readable by its owner only.

    Raises:
        UserError: The file is there already or is no .jsonl, or there is no screening of this corpus.
    """
    if target.suffix != ".jsonl":
        raise UserError(f"--redact-to is {target}, expected a name that ends in .jsonl. Correct it.")
    if target.exists():
        raise UserError(f"{target} exists already, expected a new file. Choose another name or remove it.")
    found = deidentification.read_scan(run.folder, run.unscreened_documents).findings
    regions = {row: redaction.regions(list(group)) for row, group in groupby(found, lambda finding: finding.document)}
    lines = []
    for doc in run.unscreened_documents:
        redacted = redaction.redact(doc, regions.get(doc.index, ()))
        lines.append(json.dumps(redaction.row(redacted, run.corpus), ensure_ascii=False) + "\n")
    artefact.write_text(target, "".join(lines), artefact.PRIVATE)
    return {
        "redacted": str(target),
        "n_documents": len(lines),
        "n_replaced": sum(len(found) for found in regions.values()),
        "not_redacted": [
            column for column in (run.corpus.id_column, run.corpus.group_column, run.corpus.span_column) if column
        ],
        "no_promise": deidentification.NO_PROMISE,
        "next": "name it as corpus.name, screen it and sign for it: it is another corpus",
    }
