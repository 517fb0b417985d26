"""Everything the agreement report says, as one plain value: its JSON. The page shows it and adds nothing.

No clock and no machine is in it, and figures are rounded to ten significant digits, so that the same judgements and
seed give the same bytes.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from threadpoolctl import threadpool_limits

from labeling.bootstrap import BootstrapConfig
from labeling.codebook import Codebook
from labeling.judgement_table import JudgementTable
from labeling.report import changes, grras, methods, people
from labeling.report.beside import shared_out
from labeling.report.config import ReportConfig
from labeling.report.fields import field
from labeling.report.flow import flow, panel
from labeling.report.matrix import grid
from labeling.report.opinion import opinion
from labeling.report.study import Study
from labeling.report.trust import trust
from labeling.report.validity import validity
from sae.errors import UserError

FORMAT, VERSION = "clinlens-agreement-report", 1
DIGITS = 10
ORDER = (
    "provenance", "codebook", "codebook_versions", "saes", "flow", "panel", "fields", "groups", "retests", "gold", "validity",
    "confidence", "adjudication", "revisions", "drift", "consensus",
)  # fmt: skip
"""Of the parts in the JSON."""


@contextmanager
def without_sweeps() -> Iterator[None]:
    """Holds back Python's search for cycles, which would walk over all judgements many times: a third of the whole time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@threadpool_limits.wrap(limits=1, user_api="blas")  # small products all: a second thread doubles the time of both
@without_sweeps()
def findings(table: JudgementTable, cfg: ReportConfig, study: Study, software: str) -> dict[str, Any]:
    """The report.

    Args:
        table: The judgements.
        cfg: Seed, resamples, codebook version.
        study: What the lead adds.
        software: Name and version of what makes it.

    Raises:
        UserError: There is no judgement under the codebook version.
    """
    n = codebook_n(table, cfg)
    codebook = table.codebooks[n]
    bootstrap = BootstrapConfig(n_bootstraps=cfg.n_bootstraps, seed=cfg.seed)
    rows = table.headline(n)
    places = grid(rows)
    primary = codebook.question(codebook.primary)

    asked = codebook.questions if rows else ()
    tasks: dict[str, Callable[[], Any]] = {  # long ones first
        "consensus": lambda: opinion(table.blind(n), codebook, cfg.seed),
        "provenance": lambda: provenance(table, n, cfg, software),
        **{f"fields.{one.key}": partial(field, places, codebook, one, table, bootstrap) for one in asked},
        "groups": lambda: people.groups(places, primary, bootstrap) if rows else [],
        "drift": lambda: people.drift(places, primary, bootstrap),
        "revisions": lambda: changes.revisions(table, codebook, n, bootstrap),
        "confidence": lambda: trust(table, places, codebook, bootstrap),
        "retests": lambda: people.retests(table, codebook, n, bootstrap),
        "gold": lambda: people.gold(table, codebook, n, bootstrap),
        "validity": lambda: validity(table, bootstrap),
        "flow": lambda: flow(table, n, places),
        "panel": lambda: panel(rows),
        "codebook_versions": lambda: versions(table),
        "adjudication": lambda: changes.adjudicated(table, codebook, n, bootstrap),
    }
    parts = shared_out(tasks) | {
        "codebook": codebook_record(codebook, n),
        "saes": sorted({f"{row.feature.hook_point}/{row.feature.sae_id}" for row in rows}),
    }
    parts["fields"] = [parts[f"fields.{one.key}"] for one in asked]
    found = {
        "format": FORMAT,
        "version": VERSION,
        "project": table.project,
        "config": {**cfg.model_dump(), "codebook": n},
        "study": study.model_dump(),
        **{name: parts[name] for name in ORDER},
    }
    found["methods"] = methods.paragraph(found)
    found["grras"] = [one.record() for one in grras.answers(methods.guideline(found), study, methods.has_sample(found))]
    return rounded(found)


def codebook_n(table: JudgementTable, cfg: ReportConfig) -> int:
    """The version to report on."""
    counts = Counter(row.codebook_n for row in table.rows if row.codebook_n in table.codebooks)
    if not counts:
        raise UserError(
            f"The project '{table.project}' has no judgement, expected some. Rate items, or import an export, first."
        )
    if cfg.codebook is None:
        return max(counts, key=lambda n: (counts[n], n))
    if cfg.codebook not in counts:
        known = ", ".join(map(str, sorted(counts)))
        raise UserError(
            f"No judgement is under codebook version {cfg.codebook}, expected one of {known}. Name another."
        )
    return cfg.codebook


def provenance(table: JudgementTable, n: int, cfg: ReportConfig, software: str) -> dict[str, Any]:
    """What decides every figure."""
    return {
        "input_digest": table.digest,
        "codebook_sha256": table.codebooks[n].sha256,
        "seed": cfg.seed,
        "n_bootstraps": cfg.n_bootstraps,
        "project_seed": table.seed,
        "software": software,
    }


def codebook_record(codebook: Codebook, n: int) -> dict[str, Any]:
    """What was asked, in short."""
    return {
        "n": n,
        "title": codebook.title,
        "sha256": codebook.sha256,
        "primary": codebook.primary,
        "fields": [
            {
                "key": one.key,
                "name": one.name,
                "kind": one.kind,
                "n_categories": len(one.categories) or None,
                "can_abstain": one.can_abstain,
                "is_interval": one.is_interval,
            }
            for one in codebook.questions
        ],
        "vocabulary": None if codebook.vocabulary is None else codebook.vocabulary.name,
    }


def versions(table: JudgementTable) -> list[dict[str, Any]]:
    """The codebook versions and how many judgements each has: they are never pooled."""
    counts = Counter(row.codebook_n for row in table.rows)
    return [
        {"n": n, "sha256": table.codebooks[n].sha256, "n_judgements": counts[n]}
        for n in sorted(counts)
        if n in table.codebooks
    ]


def rounded(value: Any) -> Any:
    """The value with its numbers cut to the digits that every machine agrees on."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return value
