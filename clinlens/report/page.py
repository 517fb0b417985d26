"""The page: one file with everything in it, that runs no code but its own and loads nothing.

The content security policy names the one script and the one style by their hashes; pictures come as data. Text of the
corpus reaches the page as JSON only, where `<` is written as an escape, and report.js shows it as text.
"""

import base64
import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from clinlens.report import cost as costs
from clinlens.report import origin, pareto, plots, summary, tables
from clinlens.report.config import ReportConfig
from clinlens.report.features import payload
from clinlens.report.gather import RunResult, read_run
from sae import artefact
from training.choice import ChoiceConfig
from training.config import CostConfig

FILE = "report.html"
SOURCES = Path(__file__).parent


def write_report(
    run: Path,
    cfg: ReportConfig,
    cost: CostConfig,
    saes: list[tuple[str, str]] | None = None,
    choice: ChoiceConfig = ChoiceConfig(),  # noqa: B008 - frozen
) -> Path:
    """Writes report.html into a run folder; the same folder and settings give the same bytes.

    Args:
        run: The run folder.
        cfg: What to show.
        cost: Factors of the estimates.
        saes: Hook point and id of the autoencoders to show; all that finished training, if none.
        choice: What a recommendation tolerates.

    Returns:
        The file.

    Raises:
        UserError: The run has no activation store, no autoencoder, or not the ones asked for.
    """
    path = run / FILE
    artefact.write_text(path, render(read_run(run, saes), cfg, cost, choice))
    return path


def render(run: RunResult, cfg: ReportConfig, cost: CostConfig, choice: ChoiceConfig) -> str:
    """The page of a run."""
    style, script = ((SOURCES / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    environment = Environment(
        loader=FileSystemLoader(SOURCES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    blocks = {"style": Markup(style), "script": Markup(script)}  # noqa: S704 - our own files
    template = environment.get_template("template.html.j2")
    return template.render(**content(run, cfg, cost, choice), **blocks, policy=policy(script, style))


def content(run: RunResult, cfg: ReportConfig, cost: CostConfig, choice: ChoiceConfig) -> dict[str, Any]:
    """All that the template shows."""
    data = payload(run, cfg)
    listed = {f"{sae['key']}/{index}" for sae in data["saes"] for index in sae["index"]}
    stages = costs.by_stage(run.stages)
    is_evaluated = any(sae.evaluation for sae in run.saes)
    return {
        "run": run,
        "date": None if run.date is None else f"{datetime.fromisoformat(run.date):%d %B %Y, %H:%M %Z}".strip(),
        "model": summary.short_name(run.manifest["origin"]["model"]["model"]),
        "corpus": summary.short_name(run.manifest["origin"]["corpus"]["name"]),
        "sentences": summary.sentences(run),
        "main_table": tables.main_table(run),
        "is_evaluated": is_evaluated,
        "other_figures": tables.other_figures_table(run) if is_evaluated else None,
        "has_splice": any(sae.splice for sae in run.saes),
        "fidelity": plots.fidelity(run) if is_evaluated else None,
        **pareto.content(run, choice),
        "curves": plots.curves(run),
        "training_table": tables.training_table(run),
        "densities": plots.densities(run) if is_evaluated else None,
        "density_table": tables.density_table(run),
        "recovery": plots.recovery(run) if run.has_concepts else None,
        "no_concepts": summary.no_concepts(run),
        "threshold": run.saes[0].concept_threshold,
        "best_concepts": tables.best_concepts_table(run, listed),
        "concept_tables": tables.concept_tables(run, listed),
        "too_few": sorted({name for sae in run.saes for name in (sae.concepts or {}).get("too_few_mentions", [])}),
        "data": json_for_script(data),
        "browsable": data["saes"],
        "has_labels": any("labels" in sae for sae in data["saes"]),
        "n_without_examples": sum(sae.examples is None for sae in run.saes),
        "n_listed": len(listed),
        "n_live": sum(sae["n_live"] for sae in data["saes"]),
        "features_per_sae": cfg.features_per_sae,
        "store_table": origin.store_table(run),
        "version_table": origin.version_table(run),
        "training_settings": origin.training_settings_table(run),
        "sae_table": origin.sae_table(run),
        "config": yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True) if run.config else "",
        "machine_table": origin.machine_table(run.resources["machine"]) if run.resources else None,
        "stage_table": origin.stage_table(stages),
        "estimate_table": origin.estimate_table(costs.estimate(stages, cost), cost),
    }


def policy(script: str, style: str) -> str:
    """The content security policy: these two inline blocks, pictures as data, nothing else."""
    return (
        f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def digest(text: str) -> str:
    """A block's hash as policies spell it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def json_for_script(value: Any) -> Markup:
    """JSON that cannot end the script element it stands in, whatever its text says."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 - JSON, with the one character that HTML would read escaped
