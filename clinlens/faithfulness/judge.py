"""Judging the methods for a run: suites opened, methods compared, `faithfulness.json` and its picture written."""

from collections.abc import Sequence
from typing import Any

from analysis.faithfulness.compare import Comparison, compare
from analysis.faithfulness.contender import Contender, contenders
from clinlens.faithfulness import suites
from clinlens.faithfulness.plot import draw
from clinlens.faithfulness.suites import SUITES, Suite, SuiteName
from clinlens.pipeline import Run, progress
from sae import artefact
from sae.errors import UserError
from training.resources import machine

FILE, PICTURE = "faithfulness.json", "faithfulness.png"


def judge(run: Run, names: Sequence[str] = (), methods: Sequence[str] = ()) -> dict[str, Any]:
    """Compares methods on suites and writes what was found.

    Args:
        run: The run.
        names: Suites; those that suit the run if none is named.
        methods: Methods; all if none is named.

    Raises:
        UserError: A suite or a method is not known, or the model answers none of a suite's cases.
    """
    chosen = chosen_suites(run, names)
    some = chosen_methods(methods)
    cfg = run.cfg.faithfulness
    found = [compared(suites.opened(run, name, cfg), some, run) for name in chosen]
    result = {
        "folder": str(run.folder),
        "settings": cfg.model_dump(mode="json"),
        "machine": machine(),
        "suites": [record for _, record in found],
        "plot": PICTURE,
    }
    artefact.write_json(run.folder / FILE, result)
    draw([comparison for comparison, _ in found], run.folder / PICTURE)
    return result


def chosen_suites(run: Run, names: Sequence[str]) -> list[SuiteName]:
    """The suites of their names.

    Raises:
        UserError: One is not known.
    """
    for name in names:
        if name not in SUITES:
            raise UserError(f"There is no suite {name!r}, expected one of {', '.join(SUITES)}. Choose one in --suite.")
    return [name for name in SUITES if name in (names or suites.default_suites(run))]


def chosen_methods(names: Sequence[str]) -> list[Contender]:
    """The methods of their names, or `all`, with the reference and the random order.

    Raises:
        UserError: One is not known.
    """
    known = [one.name for one in contenders()]
    names = () if "all" in names else names
    for name in names:
        if name not in known:
            raise UserError(
                f"There is no method {name!r}, expected one of {', '.join(known)}. Choose some in --methods."
            )
    return contenders(tuple(names) or None)


def compared(suite: Suite, methods: Sequence[Contender], run: Run) -> tuple[Comparison, dict[str, Any]]:
    """One suite's comparison, and its part of the file."""
    total = len(suite.cases) * len(methods)
    with progress(suite.name, total, "run") as done:
        found = compare(suite.name, suite.cases, methods, run.cfg.faithfulness, done)
    record = found.record() | {"n_tried": suite.n_tried, "model": suite.lm.fingerprint | {"model": suite.lm.name}}
    return found, record
