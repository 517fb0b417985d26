"""A plain table of labels from elsewhere, CSV or JSON lines, as an export that can be merged.

Columns: `feature` (`HOOK_POINT/SAE_ID/INDEX`) or `item` (an id of this database); `rater`; `label`, the answer to the
primary field; `institution`, unless one is named for all; and, by their keys, other fields of the codebook. What the file
calls a rater becomes a pseudonym.

The judgements come as a closed round of their own in the stratum `single`, which no headline counts: nobody here knows
what its raters were shown. The evidence of such an item says so.
"""

import csv
import io
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from sqlalchemy import Connection, select

from labeling.answers import trimmed
from labeling.codebook import Codebook
from labeling.database.projects import latest_codebook, pseudonym
from labeling.database.schema import codebook_version, feature, item, project, sae_ref
from labeling.exchange import source
from labeling.exchange.bundle import Bundle
from labeling.exchange.cells import unescaped
from labeling.exchange.manifest import FORMAT, FORMAT_VERSION, Manifest
from labeling.exchange.reading import Export, check_answers, text_of
from labeling.exchange.records import (
    CodebookRecord,
    ItemRecord,
    JudgementRecord,
    ProjectRecord,
    RaterRecord,
    RoundRecord,
    SAERecord,
    SnapshotRecord,
)
from labeling.exchange.tables import lines_of, parsed
from labeling.identifiers import canonical, sha256
from labeling.round_settings import RoundSettings
from sae.errors import UserError

COLUMNS = ("feature", "item", "rater", "institution", "label")
DELIMITERS = (",", ";", "\t")
MAX_BYTES = 200_000_000
MAX_TOLD = 5
"""Wrong lines that an error names."""


@dataclass(frozen=True)
class Setting:
    """The project that labels come into."""

    project: ProjectRecord
    key: str
    """Secret of its pseudonyms."""
    codebook: CodebookRecord
    """Its current version."""
    questions: Codebook
    saes: dict[str, SAERecord]
    """By hash."""
    features: dict[tuple[str, str, int], str]
    """Hash of the SAE, by hook point, SAE and index."""
    items: dict[str, tuple[str, int]]
    """Hash of the SAE and index, by item."""
    institution: str | None
    """Of raters whose line names none."""


class Label(NamedTuple):
    """One line."""

    line: int
    sae_sha256: str
    feature: int
    rater: str
    """Pseudonym."""
    institution: str
    answers: dict[str, Any]


@dataclass
class Found:
    """What reading brought: labels, and what is wrong with which line."""

    labels: list[Label] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def read(conn: Connection, path: Path, project_id: str, institution: str | None, now: str) -> Export:
    """The labels of a file, ready to be merged.

    Args:
        conn: A transaction of the database.
        path: CSV or JSON lines.
        project_id: The project they come into.
        institution: Of raters whose line names none.
        now: The time.

    Raises:
        UserError: A line is wrong; the first ones are named by number, never by content.
    """
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} has more than {MAX_BYTES // 10**6} MB, expected a table of labels. Split it.")
    text = text_of(path).removeprefix("\ufeff")
    setting = setting_of(conn, project_id, institution)
    found = Found()
    first: dict[tuple[str, int, str], int] = {}
    for line, row in table_rows(text, path, setting):
        read_row(row, line, setting, found, first)
    if found.wrong:
        told = "; ".join(found.wrong[:MAX_TOLD])
        raise UserError(
            f"{path} has {len(found.wrong)} wrong lines ({told}), expected labels of known features by the codebook. Nothing "
            "was imported; correct them."
        )
    if not found.labels:
        raise UserError(f"{path} holds no label, expected one per line below a header. Nothing was imported.")
    return Export(manifest_of(path, text, setting), bundle_of(found.labels, text, path, setting, now))


def setting_of(conn: Connection, project_id: str, institution: str | None) -> Setting:
    """What the project knows."""
    head = conn.execute(select(project).where(project.c.id == project_id)).one()
    latest = latest_codebook(conn, project_id)
    if latest is None:
        raise UserError("The project has no codebook, expected one that says what labels mean. Publish one first.")
    version = select(codebook_version).where(codebook_version.c.id == latest.id)
    codebook = source.codebook_record(conn.execute(version).one())
    saes = {row.sha256: row for row in conn.execute(source.of(sae_ref, project_id))}
    known = select(sae_ref.c.sha256, feature.c.number, feature.c.id).join(sae_ref)
    features: dict[tuple[str, str, int], str] = {}
    by_id: dict[str, tuple[str, int]] = {}
    for row in conn.execute(known.where(sae_ref.c.project_id == project_id)):
        body = json.loads(saes[row.sha256].body)
        features[body["hook_point"], body["sae_id"], row.number] = row.sha256
        by_id[row.id] = row.sha256, row.number
    items = conn.execute(select(item.c.id, item.c.feature_id))
    names = ("id", "name", "seed", "corpus_classification", "data_use_note")
    return Setting(
        project=ProjectRecord(**{name: getattr(head, name) for name in names}),
        key=head.pseudonym_key,
        codebook=codebook,
        questions=Codebook.model_validate(codebook.body),
        saes={name: SAERecord(sha256=name, body=json.loads(row.body)) for name, row in saes.items()},
        features=features,
        items={row.id: by_id[row.feature_id] for row in items if row.feature_id in by_id},
        institution=institution,
    )


def table_rows(text: str, path: Path, setting: Setting) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells of every row."""
    if text.lstrip().startswith("{"):
        for n, line in enumerate(lines_of(text), 1):
            row = parsed(line, f"{path}, line {n}")
            check_columns(list(row), path, setting, n)
            yield n, {key: value if isinstance(value, str) else canonical(value) for key, value in row.items()}
        return
    if "\0" in text:
        raise UserError(f"{path} holds NUL characters, expected CSV or JSON lines. Save it as text.")
    header = text.split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        columns = [unescaped(name.strip()) for name in next(reader, [])]
        check_columns(columns, path, setting, 1)
        for cells in reader:
            if cells and len(cells) != len(columns):
                refuse(path, reader.line_num, f"{len(cells)} cells", f"{len(columns)}, as in the header")
            if cells:
                yield reader.line_num, dict(zip(columns, map(unescaped, cells), strict=True))
    except csv.Error:
        refuse(path, reader.line_num, "cells that do not end", "a CSV with quotes in pairs")


def check_columns(columns: list[str], path: Path, setting: Setting, line: int) -> None:
    """The header names what is needed and nothing unknown."""
    keys = {question.key for question in setting.questions.questions}
    strangers = [n for n, name in enumerate(columns, 1) if name not in COLUMNS and name not in keys]
    if strangers:
        refuse(path, line, f"an unknown column ({strangers[0]})", f"some of {', '.join((*COLUMNS, *sorted(keys)))}")
    if len(set(columns)) < len(columns):
        refuse(path, line, "a column twice", "every column once")
    if "rater" not in columns or not {"feature", "item"} & set(columns) or not {"label", *keys} & set(columns):
        refuse(path, line, f"{len(columns)} columns", "at least feature or item, rater, and label or a field's key")


def refuse(path: Path, line: int, found: str, expected: str) -> NoReturn:
    """Ends with an error that names a line."""
    raise UserError(f"{path}, line {line} has {found}, expected {expected}. Nothing was imported; correct the file.")


def read_row(
    row: dict[str, str], line: int, setting: Setting, found: Found, first: dict[tuple[str, int, str], int]
) -> None:
    """Takes one row: a label, or what is wrong with it."""
    place = feature_of(row, setting)
    institution = trimmed(row.get("institution") or "") or trimmed(setting.institution or "")
    answers = answers_of(row, setting)
    if isinstance(place, str):
        found.wrong.append(f"line {line}: {place}")
    elif not row["rater"].strip():
        found.wrong.append(f"line {line}: no rater")
    elif not institution or len(institution) > 80:
        found.wrong.append(f"line {line}: no institution; add the column, or --institution")
    elif isinstance(answers, str):
        found.wrong.append(f"line {line}: {answers}")
    else:
        rater = pseudonym(setting.key, f"{institution}\n{row['rater']}")
        earlier = first.setdefault((*place, rater), line)
        if earlier != line:
            found.wrong.append(f"line {line}: the rater of line {earlier} again, on the same feature")
        else:
            found.labels.append(Label(line, *place, rater, institution, answers))


def feature_of(row: dict[str, str], setting: Setting) -> tuple[str, int] | str:
    """Hash of the SAE and index; or what is wrong."""
    if row.get("item"):
        return setting.items.get(row["item"]) or "an item that the project does not have"
    parts = row.get("feature", "").rsplit("/", 2)
    if len(parts) < 3 or not parts[2].isascii() or not parts[2].isdigit() or len(parts[2]) > 9:
        return "a feature that is not written HOOK_POINT/SAE_ID/INDEX"
    name = (parts[0], parts[1], int(parts[2]))
    found = setting.features.get(name)
    return (found, name[2]) if found else "a feature that the project does not have"


def answers_of(row: dict[str, str], setting: Setting) -> dict[str, Any] | str:
    """The answers of a row; or what is wrong."""
    codebook = setting.questions
    given = {key: value for key, value in row.items() if key not in COLUMNS and value != ""}
    if row.get("label"):
        given[codebook.primary] = row["label"]
    if not given:
        return "no answer"
    answers: dict[str, Any] = {}
    for key, value in given.items():
        question = codebook.question(key)
        if question.kind == "concepts":
            answers[key] = {"codes": sorted({code for code in value.split("|") if code}), "words": ""}
            known = {term.code for term in codebook.vocabulary.terms} if codebook.vocabulary else set()
            if not known.issuperset(answers[key]["codes"]):
                return f"a concept in {key} that the vocabulary does not have"
        elif question.kind == "rationale":
            answers[key] = {"spans": [], "text": trimmed(value)}
        else:
            answers[key] = value if question.kind in ("choice", "scale") else trimmed(value)
        if question.kind in ("rationale", "text") and len(trimmed(value)) > question.max_characters:
            return f"{len(trimmed(value))} characters in {key}, of which {question.max_characters} may be kept"
    try:
        check_answers(codebook, answers, "")
    except UserError:
        return "an answer that is none of its field's categories"
    return answers


def made_id(*parts: Any) -> str:
    """An id that the same parts always give: a UUIDv8, whose bits are ours to choose."""
    data = bytearray(bytes.fromhex(sha256(list(parts)))[:16])
    data[6] = data[6] & 0x0F | 0x80
    data[8] = data[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(data)))


def manifest_of(path: Path, text: str, setting: Setting) -> Manifest:
    """Stands in the place of an export's manifest, so that the same file is imported once."""
    return Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        project=setting.project.id,
        input_digest=sha256(text.encode()),
        schema_version="",
        software=f"a table of labels, {path.suffix.lstrip('.').lower() or 'no suffix'}",
        has_evidence=False,
        has_names=False,
        files={},
    )


def bundle_of(labels: list[Label], text: str, path: Path, setting: Setting, now: str) -> Bundle:
    """The labels as records of a closed round."""
    digest = sha256(text.encode())
    round_id = made_id(setting.project.id, digest, "round")
    raters = {label.rater: RaterRecord(rater=label.rater, institution=label.institution) for label in labels}
    features = sorted({(label.sae_sha256, label.feature) for label in labels})
    snapshots = {place: snapshot_of(place, digest, now) for place in features}
    round_record = RoundRecord(
        id=round_id,
        n=1,  # or the next number that is free where it comes to
        kind="main",
        title=f"Labels of {path.name}"[:80],
        codebook=setting.codebook.id,
        policy=RoundSettings().model_dump(mode="json"),
        seed=0,
        state="closed",
        created_at=now,
        closed_at=now,
    )
    items = {place: item_of(place, n, round_id, snapshots[place]) for n, place in enumerate(features)}
    return Bundle(
        project=setting.project,
        codebooks=(setting.codebook,),
        saes=tuple(setting.saes[name] for name in sorted({place[0] for place in features})),
        raters=tuple(raters[name] for name in sorted(raters)),
        rounds=(round_record,),
        items=tuple(items.values()),
        judgements=tuple(
            judgement_of(label, items[label.sae_sha256, label.feature], setting, digest, now) for label in labels
        ),
        skips=(),
        adjudications=(),
        snapshots=tuple(snapshots.values()),
    )


def snapshot_of(place: tuple[str, int], digest: str, now: str) -> SnapshotRecord:
    """Says that nobody knows what was shown."""
    body = {
        "origin": "labels from elsewhere; what was shown is not known",
        "file_sha256": digest,
        "sae_sha256": place[0],
        "feature": place[1],
        "contexts": [],
    }
    return SnapshotRecord(sha256=sha256(body), sae_sha256=place[0], feature=place[1], created_at=now, body=body)


def item_of(place: tuple[str, int], n: int, round_id: str, snapshot: SnapshotRecord) -> ItemRecord:
    """An item nobody is asked about any more."""
    return ItemRecord(
        id=made_id(round_id, *place),
        round=round_id,
        sae_sha256=place[0],
        feature=place[1],
        snapshot_sha256=snapshot.sha256,
        stratum="single",
        slots=0,
        place=n,
        state="rated",
        detail={},
    )


def judgement_of(label: Label, item: ItemRecord, setting: Setting, digest: str, now: str) -> JudgementRecord:
    """One line as a judgement."""
    sae = setting.saes[label.sae_sha256].body
    return JudgementRecord(
        judgement_id=made_id(item.id, label.rater, "judgement"),
        item_id=item.id,
        assignment_id=made_id(item.id, label.rater, "assignment"),
        round_id=item.round,
        round=1_000_000,
        round_kind="main",
        stratum="single",
        model=sae["model"],
        hook_point=sae["hook_point"],
        sae_id=sae["sae_id"],
        feature=label.feature,
        sae_sha256=label.sae_sha256,
        snapshot_sha256=item.snapshot_sha256,
        codebook=setting.codebook.n,
        codebook_id=setting.codebook.id,
        codebook_sha256=setting.codebook.sha256,
        rater=label.rater,
        institution=label.institution,
        specialty="",
        seniority="",
        slot=label.line,
        is_surplus=False,
        is_withdrawn=False,
        is_late=False,
        revision=1,
        has_seen_explanation=False,
        answers=label.answers,
        answers_sha256=sha256(label.answers),
        submitted_at=now,
        active_ms=0,
        wall_ms=0,
        client_uuid=made_id(item.id, label.rater, digest),
    )
