"""The live table of a sweep: how every SAE stands, refreshed in place beside the progress bar.

It reads what the workers write anyway, the job table and each SAE's training log, so that it is the same on every engine.
Where stderr is no terminal there is the bar alone.
"""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TextIO

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from clinlens.pipeline import progress
from training.engine import Task
from training.fit import FitTask
from training.jobs import Entry, JobTable
from training.spec import Fit

State = Literal["failed", "running", "waiting", "done"]
COLOURS: dict[State, str] = {"failed": "red", "running": "cyan", "waiting": "dim", "done": "green"}
SHOWN_FIRST: tuple[State, ...] = ("failed", "running", "done", "waiting")
REFRESHES_PER_S = 2
TAIL_BYTES = 4096
"""Read from the end of a training log: several rows."""
LINES_AROUND = 7
"""Lines of the terminal that are not the table's rows: its head, its foot, the bar, the prompt."""


class Row(NamedTuple):
    """How one SAE stands."""

    hook_point: str
    sae_id: str
    step: int
    n_steps: int
    """Steps to the end, or to the next comparison of early stopping."""
    l0: float | None
    """Of the last logged batch; none before the first."""
    explained_variance: float | None
    dead_fraction: float | None
    state: State


def rows_of(task: FitTask) -> list[Row]:
    """How the fits of a task stand, from their files."""
    entry = JobTable(task.fits[0].run / "jobs").entry(task.id)
    return [row_of(fit, task, entry) for fit in task.fits]


def row_of(fit: Fit, task: FitTask, entry: Entry | None) -> Row:
    """How one of them stands; those of a task go forward together."""
    logged = last_row(fit.folder / "history.jsonl")
    n_steps = min(task.until_step or fit.training.n_steps, fit.training.n_steps)
    told = entry.amount // (fit.training.batch_tokens * len(task.fits)) if entry is not None else 0
    step = n_steps if fit.is_complete else min(max(told, int(logged.get("step", 0))), n_steps)
    if fit.is_complete or (entry is not None and entry.state == "done"):
        state: State = "done"
    elif entry is None:
        state = "waiting"
    else:
        state = "running" if entry.state == "running" else "failed"
    l0, explained_variance, dead = (logged.get(key) for key in ("l0", "explained_variance", "dead_fraction"))
    return Row(fit.hook_point, fit.sae_id, step, n_steps, l0, explained_variance, dead, state)


def last_row(path: Path) -> dict[str, float]:
    """The last whole row of a training log; empty where there is none yet."""
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
        lines = file.read().split(b"\n")[:-1]  # what follows the last line break is not whole yet
    return json.loads(lines[-1]) if lines else {}


def visible(rows: Sequence[Row], most: int) -> list[Row]:
    """The rows there is room for, in their order: failures first, then what runs, what is done, what waits."""
    ranked = sorted(range(len(rows)), key=lambda index: SHOWN_FIRST.index(rows[index].state))
    return [rows[index] for index in sorted(ranked[: max(most, 1)])]


def table(rows: Sequence[Row], most: int) -> Table:
    """The table, and below it how many stand how.

    Args:
        rows: All SAEs.
        most: Rows there is room for.
    """
    counts = Counter(row.state for row in rows)
    told = ", ".join(f"{counts[state]} {state}" for state in SHOWN_FIRST if counts[state])
    shown = visible(rows, most)
    hidden = f"; {len(rows) - len(shown)} not shown" if len(shown) < len(rows) else ""
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=f"{told}{hidden}", caption_justify="left")
    for name in ("hook point", "SAE"):
        found.add_column(name, no_wrap=True, overflow="ellipsis")
    for name in ("step", "L0", "expl. var.", "dead"):
        found.add_column(name, justify="right", no_wrap=True)
    found.add_column("state", no_wrap=True)
    for row in shown:
        found.add_row(
            row.hook_point, row.sae_id, f"{row.step:,}/{row.n_steps:,}", cell(row.l0, ".1f"),
            cell(row.explained_variance, ".3f"), cell(row.dead_fraction, ".1%"), Text(row.state, COLOURS[row.state]),
        )  # fmt: skip
    return found


def cell(value: float | None, form: str) -> str:
    """A figure, or the sign for none."""
    return "–" if value is None else format(value, form)


@contextmanager
def display(label: str, tasks: Sequence[Task], total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; where that is a terminal and the tasks are fits, below a table of them."""
    fits = [task for task in tasks if isinstance(task, FitTask)]
    console = Console(stderr=True)
    if not fits or not sys.stderr.isatty() or not console.is_terminal or console.is_dumb_terminal:
        with progress(label, total, unit) as told:
            yield told
        return
    n_done, started, stderr = 0, time.monotonic(), sys.stderr

    def bar() -> Text:
        text = tqdm.format_meter(
            n_done,
            total,
            time.monotonic() - started,
            ncols=console.width - 1,
            prefix=f"{label:9}",
            unit=unit,
            unit_scale=True,
        )
        return Text(text, no_wrap=True)

    def picture() -> Group:
        return Group(table([row for task in fits for row in rows_of(task)], console.height - LINES_AROUND), bar())

    def done(amount: int) -> None:
        nonlocal n_done
        n_done += amount

    with (
        Live(
            get_renderable=picture,
            console=console,
            refresh_per_second=REFRESHES_PER_S,
            transient=True,
            redirect_stdout=False,
        ),
        logs_above(stderr),
    ):
        yield done
    console.print(bar())


@contextmanager
def logs_above(stderr: TextIO) -> Iterator[None]:
    """Lets log lines pass above the live table, which stands in for stderr meanwhile."""
    streams = [one for one in logging.getLogger().handlers if isinstance(one, logging.StreamHandler)]
    handlers = [one for one in streams if one.stream is stderr]
    for handler in handlers:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(stderr)
