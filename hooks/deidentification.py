"""A gate with human sign-off: a search proposes, a person decides, and the decision holds for exactly these texts.

1. `scan` searches the documents, and `conclude` writes what it found: positions and types, never text.
2. A person reads the review page and signs; `sign` notes who, when, and what had been looked for.
3. `refuse_unsigned` lets a corpus pass only with a sign-off for its content and for the last scan.

No promise: the search overlooks some of what names a patient. Who signs answers for the texts.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hooks.config import ScreeningConfig
from hooks.corpus import Document, corpus_hash
from hooks.detectors import Account, Detectors, Finding
from sae import artefact
from sae.errors import UserError

FOLDER = "deidentification"
FINDINGS, SUMMARY, SIGN_OFF, REVIEW = "findings.jsonl", "summary.json", "sign_off.json", "review.html"
NO_PROMISE = (
    "The search finds candidates and overlooks some; that no patient can be recognised is for a person to judge, "
    "who answers for it."
)


@dataclass(frozen=True)
class Scan:
    """A finished search, as it lies in the run folder."""

    findings: list[Finding]
    """All of them, by document and place."""
    summary: dict[str, Any]
    """Counts, hashes, what was and was not looked for."""


def scan(docs: Iterable[Document], detectors: Detectors, done: Callable[[int], None]) -> list[Finding]:
    """Searches all documents, telling `done` after each."""
    found: list[Finding] = []
    for doc in docs:
        found += detectors.find(doc)
        done(1)
    return found


def conclude(
    run: Path, docs: list[Document], findings: list[Finding], account: Account, cfg: ScreeningConfig
) -> dict[str, Any]:
    """Writes the findings, and last the summary, which makes the search complete; gives the summary."""
    path = run / FOLDER / FINDINGS
    artefact.write_text(path, "".join(json.dumps(asdict(finding)) + "\n" for finding in findings))
    result = {
        "names_and_places": account.names_and_places,
        "no_promise": NO_PROMISE,
        "corpus_hash": corpus_hash(docs),
        "findings_hash": artefact.file_hash(path),
        "n_documents": len(docs),
        "n_documents_with_findings": len({finding.document for finding in findings}),
        "n_findings": len(findings),
        "by_type": dict(Counter(finding.type for finding in findings).most_common()),
        "looked_for": list(account.looked_for),
        "not_looked_for": list(account.not_looked_for),
        "language_model": account.language_model,
        "screening": cfg.model_dump(mode="json"),
        "versions": account.versions,
    }
    artefact.write_json(run / FOLDER / SUMMARY, result)
    return result


def read_scan(run: Path, docs: list[Document]) -> Scan:
    """The finished search of these documents.

    Raises:
        UserError: There is none, it is of other documents, or its findings were changed.
    """
    folder = run / FOLDER
    if not (folder / SUMMARY).is_file() or not (folder / FINDINGS).is_file():
        raise UserError(
            f"{folder} holds no finished screening, expected one of this corpus. Run `clinlens screen` with this config first."
        )
    summary = artefact.read_json(folder / SUMMARY)
    if summary["corpus_hash"] != corpus_hash(docs):
        raise UserError(
            f"{folder} holds the screening of other texts, expected one of this corpus as it is now. "
            "Run `clinlens screen` with this config again."
        )
    if summary["findings_hash"] != artefact.file_hash(folder / FINDINGS):
        raise UserError(
            f"{folder / FINDINGS} is not what the screening wrote, expected it untouched. "
            "Run `clinlens screen` with this config again."
        )
    lines = (folder / FINDINGS).read_text(encoding="utf-8").splitlines()
    return Scan([Finding(**json.loads(line)) for line in lines], summary)


def sign(run: Path, docs: list[Document], name: str, note: str) -> dict[str, Any]:
    """Notes that a person has looked at the findings and takes these texts as they are.

    Args:
        run: The run folder.
        docs: The corpus.
        name: Who signs.
        note: What they want to add.

    Returns:
        The sign-off.

    Raises:
        UserError: There is no finished search of this corpus, or no name.
    """
    if not name.strip():
        raise UserError("--sign-off is empty, expected the name of the person who answers for the texts. Give it.")
    found = read_scan(run, docs)
    result = {
        "signed_by": name.strip(),
        "signed_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "note": note,
        "n_findings_accepted": len(found.findings),
        **{key: value for key, value in found.summary.items() if key not in ("n_findings", "by_type")},
    }
    artefact.write_json(run / FOLDER / SIGN_OFF, result)
    return result


def refuse_unsigned(docs: list[Document], run: Path) -> None:
    """Stops a corpus that nobody has signed for.

    Raises:
        UserError: There is no sign-off, or it is for other texts or for an earlier search.
    """
    path, summary = run / FOLDER / SIGN_OFF, run / FOLDER / SUMMARY
    if not path.is_file():
        raise UserError(
            f"corpus.deidentification is 'sign_off', but {path} does not exist, expected a person's sign-off. "
            "Run `clinlens screen` with this config, read its review.html, then run it with --sign-off NAME."
        )
    signed = artefact.read_json(path)
    if signed["corpus_hash"] != corpus_hash(docs):
        raise UserError(
            f"{path} is for other texts, expected a sign-off for this corpus as it is now. "
            "Run `clinlens screen` with this config again, read its review.html, and sign anew."
        )
    if not summary.is_file() or artefact.read_json(summary)["findings_hash"] != signed["findings_hash"]:
        raise UserError(
            f"{path} is for an earlier screening, expected a sign-off for the last one. "
            "Read review.html and run `clinlens screen` with --sign-off NAME."
        )
