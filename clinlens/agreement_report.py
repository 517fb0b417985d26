"""The agreement report of a run, a database or an export: what `clinlens agreement` does with judgements."""

from pathlib import Path
from typing import Any

from clinlens.labels import SOFTWARE, opened, project_of
from labeling.exchange import manifest
from labeling.exchange.derived import judgement_table
from labeling.exchange.export import token_counts
from labeling.exchange.reading import read
from labeling.exchange.source import read_bundle
from labeling.judgement_table import JudgementTable
from labeling.report.config import ReportConfig
from labeling.report.findings import findings
from labeling.report.page import json_text, page
from labeling.report.study import read_study
from labeling.report.tables import remark, summary_table
from sae import artefact
from sae.errors import UserError

TABLES = (".csv", ".tsv", ".txt")


def is_table(where: str) -> bool:
    """Whether it names a table of ratings and no database, run or export."""
    return "://" not in where and Path(where).suffix.lower() in TABLES


def refuse_options(options: dict[str, Any]) -> None:
    """Ends with an error options that a table of ratings has no use for."""
    if any(option is not None for option in options.values()):
        raise UserError(
            "--report, --study, --codebook and --project were given with a table of ratings, expected a run, a database or an "
            "export with them. Leave them out, or name one of those."
        )


def judgements_of(where: str, project: str | None) -> JudgementTable:
    """The judgements of an export or a database."""
    path = Path(where)
    if "://" not in where and path.is_dir() and (path / manifest.FILE).is_file():
        return judgement_table(read(path).bundle)
    with opened(where) as database, database.read() as conn:
        asked = project_of(conn, project)
        return judgement_table(read_bundle(conn, asked), token_counts(conn, asked))


def make(
    where: str, cfg: ReportConfig, project: str | None = None, study: Path | None = None, report: Path | None = None
) -> dict[str, Any]:
    """The report's figures; and, if asked for, the page with its JSON beside it.

    Args:
        where: A run, a database or an export.
        cfg: Seed, resamples, codebook version.
        project: Id or name, where there are several.
        study: YAML of what only the lead knows.
        report: HTML file to write.
    """
    words = read_study(study)
    found = findings(judgements_of(where, project), cfg, words, SOFTWARE)
    if report is None:
        return found
    if report.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--report names {report.name}, expected a file that ends in .html. Correct it.")
    artefact.write_text(report.with_suffix(".json"), json_text(found))
    artefact.write_text(report, page(found))
    return {**found, "report": str(report), "report_json": str(report.with_suffix(".json"))}


def lines(found: dict[str, Any]) -> list[str]:
    """The headline for people."""
    table = summary_table(found)
    flow = found["flow"]
    shown = [
        f"{found['project']}: {flow['n_counted']:,} of {flow['n_judgements']:,} judgements count; {flow['n_items']:,} items, "
        f"{len(found['panel'])} raters; codebook {found['codebook']['title']}, version {found['codebook']['n']}",
        f"{'field':34}{'alpha':>8}{'interval':>18}{'AC1/AC2':>9}{'percent':>9}{'items':>8}",
    ]
    shown += [
        f"{row[0][:33]:34}{row[1]:>8}{row[2]:>18}{row[3]:>9}{row[4]:>9}{row[5]:>8}  {row[7]}" for row in table.rows
    ]
    shown += [
        f"{one['name']}: {remark(one['agreement']['coefficients'][one['agreement']['primary']])}"
        for one in doubtful(found)
    ]
    if not table.rows:
        shown.append("No judgement is of the random stratum with a fixed number of raters, so there is no headline.")
    shown.append(
        f"95 % intervals from {found['config']['n_bootstraps']:,} resamples of the items, seed {found['config']['seed']}."
    )
    return [*shown, *([f"report: {found['report']}"] if "report" in found else [])]


def doubtful(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Fields whose interval is unreliable."""
    fields = [one for one in found["fields"] if "agreement" in one]
    heads = [one["agreement"]["coefficients"][one["agreement"]["primary"]] for one in fields]
    return [
        one for one, head in zip(fields, heads, strict=True) if head["value"] is not None and not head["is_reliable"]
    ]
