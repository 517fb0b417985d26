"""Exporting a project: from a database to a folder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, select

from labeling.codebook import Codebook
from labeling.database.projects import latest_codebook
from labeling.database.schema import evidence_snapshot, feature, sae_ref
from labeling.evidence import WITHHELD
from labeling.exchange import cleanlab, neuronpedia, writing
from labeling.exchange.bundle import Bundle
from labeling.exchange.derived import judgement_table, soft_labels
from labeling.exchange.records import SoftLabelRecord
from labeling.exchange.source import read_bundle
from labeling.judgement_table import JudgementTable
from labeling.report.config import ReportConfig
from labeling.report.findings import findings
from labeling.report.page import json_text, page
from labeling.report.study import Study
from sae.config import Settings


class ExportConfig(Settings, frozen=True):
    """What an export holds beside the judgements."""

    evidence: bool = Field(default=False, description="Add what raters were shown: text of the corpus.")
    names: bool = Field(default=False, description="Add raters' names beside their pseudonyms.")
    agreement: bool = Field(default=False, description="Add the agreement report.")
    cleanlab: bool = Field(default=False, description="Add the two tables that cleanlab takes.")
    neuronpedia: bool = Field(default=False, description="Add the labels in Neuronpedia's shape.")


def export(
    conn: Connection, project_id: str, folder: Path, cfg: ExportConfig, software: str, schema_version: str
) -> dict[str, Any]:
    """Writes a project to a folder; the same project gives the same bytes.

    Args:
        conn: A read transaction.
        project_id: The project.
        folder: Empty, missing, or an earlier export.
        cfg: What to add.
        software: Name and version of what writes it.
        schema_version: Of the database.

    Raises:
        UserError: The folder holds what no export wrote.
    """
    bundle = read_bundle(conn, project_id, evidence=cfg.evidence, names=cfg.names)
    table = judgement_table(bundle, token_counts(conn, project_id) if cfg.agreement else None)
    soft = soft_labels(table)
    bundle = with_soft_labels(bundle, soft)
    latest = latest_codebook(conn, project_id)
    extra, n_left_out = other_shapes(bundle, table, cfg, "" if latest is None else latest.sha256)
    if cfg.agreement:
        report = findings(table, ReportConfig(), Study(), software)
        extra |= {"agreement.json": json_text(report).encode(), "agreement.html": page(report).encode()}
    manifest = writing.write(bundle, folder, software, schema_version, extra)
    return {
        "to": str(folder),
        "n_judgements": len(bundle.judgements),
        "n_items": len(bundle.items),
        "n_raters": len(bundle.raters),
        "n_soft_labels": len(soft),
        "n_files": len(manifest.files),
        **({"n_left_out_as_ambiguous": n_left_out} if cfg.neuronpedia else {}),
        "manifest_sha256": manifest.sha256,
        "input_digest": manifest.input_digest,
        **({"warning": writing.EVIDENCE_NOTE, "n_evidence_withheld": n_withheld(bundle)} if cfg.evidence else {}),
    }


def n_withheld(bundle: Bundle) -> int:
    """Evidence of the items that did not travel: a rater said that it could name a patient, or it never came here."""
    return len({one.snapshot_sha256 for one in bundle.items} - {one.sha256 for one in bundle.snapshots})


def with_soft_labels(bundle: Bundle, soft: tuple[SoftLabelRecord, ...]) -> Bundle:
    """The bundle with what is derived from it."""
    return replace(bundle, soft_labels=soft)


def other_shapes(
    bundle: Bundle, table: JudgementTable, cfg: ExportConfig, current: str
) -> tuple[dict[str, bytes], int]:
    """Files for other tools, and how many features have no explanation because they were decided to be ambiguous.

    They are of the codebook of the hash `current` if it has judgements, else of the last one that has.
    """
    numbers = {row.codebook_n for row in table.rows}
    used = [record for record in bundle.codebooks if record.n in numbers]
    if not used:
        return {}, 0
    chosen = next((record for record in used if record.sha256 == current), used[-1])
    n, codebook = chosen.n, Codebook.model_validate(chosen.body)
    files: dict[str, bytes] = {}
    n_left_out = 0
    if cfg.cleanlab:
        files |= cleanlab.files(table.blind(n), bundle.soft_labels, codebook, n)
    if cfg.neuronpedia:
        quarantined = {one.id for one in bundle.items if one.state == "quarantined"}
        models = {(one.body["hook_point"], one.body["sae_id"]): one.body["model"] for one in bundle.saes}
        rows = [row for row in table.blind(n) if row.item_id not in quarantined]
        made = neuronpedia.explanations(rows, bundle.soft_labels, bundle.adjudications, codebook, models, n)
        files[neuronpedia.FILE], n_left_out = made.data, made.n_left_out
    return files, n_left_out


def token_counts(conn: Connection, project_id: str) -> dict[str, tuple[int, ...]]:
    """Number of tokens of every context shown, by hash of the evidence; without evidence that stayed elsewhere."""
    query = (
        select(evidence_snapshot.c.sha256, evidence_snapshot.c.body)
        .join(feature, feature.c.id == evidence_snapshot.c.feature_id)
        .join(sae_ref, sae_ref.c.id == feature.c.sae_ref_id)
        .where(sae_ref.c.project_id == project_id, evidence_snapshot.c.body != WITHHELD)
    )
    return {
        row.sha256: tuple(len(context["tokens"]) for context in json.loads(row.body).get("contexts", ()))
        for row in conn.execute(query)
    }
