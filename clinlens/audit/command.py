"""From the options of the command line to an audit, its file, its page and a few lines to read."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from analysis.audits import drift as drifts
from analysis.audits import failures, process, protected
from analysis.audits.answers import answer_probabilities, counting
from analysis.audits.cohort import Cohort
from analysis.audits.config import CAVEAT, DriftConfig, FailureConfig, LevelConfig, ProcessConfig, ProtectedConfig
from analysis.audits.expected import read_expected
from analysis.audits.features import Pooled, pooled
from clinlens import config as configs
from clinlens.assigned import assigned
from clinlens.audit import page, sections
from clinlens.audit.opened import Opened, cohort_of, opened, write
from clinlens.pipeline import Run, progress
from hooks import corpus
from hooks.hook_points import HookPoint
from sae import artefact
from sae.errors import UserError

KINDS: dict[str, type[LevelConfig]] = {
    "protected": ProtectedConfig, "drift": DriftConfig, "failures": FailureConfig, "process": ProcessConfig,
}  # fmt: skip


def audit_command(place: Path, kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Runs the verb.

    Args:
        place: A run folder, or its config.
        kind: Which audit.
        given: The command line's options by name.

    Returns:
        The audit, and the files written.
    """
    cfg = assigned(KINDS[kind], given["settings"], seed=given["seed"])
    run = Run(configs.read(place))
    with progress("audit", None, "text") as read, counting(read):
        found = drift(run, given, cfg) if kind == "drift" else of_cohort(run, kind, given, cfg)  # type: ignore[arg-type]
    found = plain({"audit": kind, "caveat": CAVEAT, "settings": cfg.model_dump(mode="json")} | found)
    path = write(run, kind, found)
    files = [str(path)]
    if given["report"] is not None:
        page.write(given["report"], kind, found, sections.of(kind, found))
        files.append(str(given["report"]))
    return found | {"files": files}


def of_cohort(run: Run, kind: str, given: dict[str, Any], cfg: Any) -> dict[str, Any]:
    """The three audits that ask the model something."""
    if kind == "process" and given["expected"] is None:
        raise UserError(
            "No findings are given, expected a YAML of findings and diagnoses. Name it with --expected, such as "
            "configs/audits/clinic-process.yaml."
        )
    expected = read_expected(given["expected"]) if kind == "process" else None
    cohort = cohort_of(run, given["cohort"], given["texts"], given["seed"])
    work = opened(run, given["sae"])
    about = {"cohort": cohort.name, "n_texts": len(cohort), "n_patients": len(set(cohort.patients)),
             "data_hash": artefact.content_hash([(one.id, one.prompt, one.truth) for one in cohort.subjects])}  # fmt: skip
    base = {"about": about, "origin": work.origin()}
    if kind == "protected":
        return base | protected_audit(work, cohort, cfg)
    probabilities = answer_probabilities(work.lm, [one.prompt for one in cohort.subjects], cohort.answers)
    if expected is not None:
        about["expected_hash"] = artefact.content_hash(expected.model_dump(mode="json"))
        return base | process.record(process.process(work.lm, work.saes, cohort, expected, probabilities, cfg))
    pools = pooled(work.lm, work.saes, [one.prompt for one in cohort.subjects])
    found = failures.triage(work.lm, work.saes, cohort, pools, probabilities, cfg)
    return base | {
        "n": found.n, "n_wrong": found.n_wrong, "remark": found.remark,
        "failures": [one._asdict() | {"tokens": [word._asdict() for word in one.tokens]} for one in found.failures],
        "suspects": [one._asdict() for one in found.suspects], "confusions": [list(one) for one in found.confusions],
    }  # fmt: skip


def protected_audit(work: Opened, cohort: Cohort, cfg: ProtectedConfig) -> dict[str, Any]:
    """Answers, carriers, and what the carriers do; on the texts of the largest claim, where there is one."""
    asked = protected.behaviour(work.lm, cohort, cfg)
    carried = protected.carrying(work.lm, work.saes, cohort, cfg)
    focus = asked.claims[0].truth if asked.claims else None
    done = protected.effects(work.lm, work.saes, cohort, carried, cfg, focus)
    wanted = ("race", "sex", "age", "insurance")
    return protected.record(asked) | {
        "attributes": list(cohort.attributes),
        "not_in_the_cohort": [name for name in wanted if name not in cohort.attributes],
        "carriers": [one._asdict() for one in carried.features],
        "carrier_null": carried.null,
        "best_by_layer": carried.best_by_layer,
        "ablation_texts_of": focus,
        "ablations": [
            one.ablated._asdict()
            | {"attribute": one.attribute, "swap_before": one.gap_before, "swap_after": one.gap_after}
            for one in done
        ],
    }


def drift(run: Run, given: dict[str, Any], cfg: DriftConfig) -> dict[str, Any]:
    """New documents beside the run's held-out ones."""
    if given["new"] is None:
        raise UserError(
            "No new data are given, expected a file of documents as the corpus has them. Name it with --new."
        )
    sides = corpus.split(run.documents, run.cfg.corpus.held_out, run.cfg.seed)
    old = [doc for doc, side in zip(run.documents, sides, strict=True) if side == "held_out"]
    update = {"name": str(given["new"]), "span_column": None, "subset": None, "max_documents": None}
    new = corpus.read(run.corpus.model_copy(update=update))
    work = opened(run, given["sae"])
    most = min(run.cfg.capture.context_tokens, work.lm.max_context_tokens)
    found: Mapping[HookPoint, Pooled] = pooled(work.lm, work.saes, [doc.text for doc in (*old, *new)], most)
    patients = [*(doc.group or f"old {doc.index}" for doc in old), *(doc.group or f"new {doc.index}" for doc in new)]
    result = drifts.drift(drifts.documents(found, cfg), patients, len(old), cfg)
    n_cut = int((next(iter(found.values())).n_tokens >= most - 1).sum())  # BOS does not count
    return {
        "about": {"reference": "held-out documents of the run", "new": Path(given["new"]).name, "n_possibly_cut": n_cut,
                  "data_hash": artefact.content_hash(corpus.corpus_hash(old), corpus.corpus_hash(new))},
        "origin": work.origin(),
    } | result._asdict() | {"shifted": [one._asdict() for one in result.shifted]}  # fmt: skip


def plain(value: Any) -> Any:
    """A value as JSON has it: no arrays, and null where there is no number."""
    match value:
        case dict():
            return {str(key): plain(one) for key, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case np.generic():
            return plain(value.item())
        case float() if math.isnan(value) or math.isinf(value):
            return None
        case _:
            return value


def lines(found: dict[str, Any]) -> list[str]:
    """The audit for people: what is claimed, the tables' first rows, the caveat, and where it lies."""
    rows = []
    for section in sections.of(found["audit"], found):
        rows += [section.title, *(f"  {line}" for line in section.lines(8)), ""]
    return [*rows, found["caveat"], *(f"wrote {path}" for path in found["files"])]
