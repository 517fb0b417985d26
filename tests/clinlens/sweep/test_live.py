"""The live table: what it says of each SAE, that it fits the terminal, and that there is none where there is no terminal."""

import io
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from clinlens.sweep.live import Row, display, last_row, rows_of, table, visible
from sae import artefact
from sae.config import TopKConfig
from training.config import TrackingConfig, TrainingConfig
from training.fit import Fit, FitTask
from training.jobs import Entry, JobTable

POINT = "blocks.1.hook_resid_post"


def row(sae_id: str, state: Any = "running", step: int = 50, explained_variance: float | None = 0.75) -> Row:
    return Row(POINT, sae_id, step, 100, 15.25, explained_variance, 0.125, state)


def text_of(rows: list[Row], most: int = 20) -> str:
    console = Console(file=io.StringIO(), width=110)
    console.print(table(rows, most))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def task(tmp_path: Path) -> FitTask:
    training = TrainingConfig(n_tokens=6400, batch_tokens=64)
    return FitTask((Fit(tmp_path, POINT, TopKConfig(k=4), training, 0, "store", 1),), TrackingConfig(wandb="disabled"))


def test_a_row_holds_place_steps_figures_and_state():
    lines = text_of([row("topk-x4-k16-0123abcd"), row("l1-x4-4567cdef", "waiting", 0, None)]).splitlines()
    assert lines[1].split() == ["hook", "point", "SAE", "step", "L0", "expl.", "var.", "dead", "state"]
    assert [POINT, "topk-x4-k16-0123abcd", "50/100", "15.2", "0.750", "12.5%", "running"] in map(str.split, lines)
    assert [POINT, "l1-x4-4567cdef", "0/100", "15.2", "–", "12.5%", "waiting"] in map(str.split, lines)
    assert lines[-1].strip() == "1 running, 1 waiting"


def test_where_there_is_no_room_what_failed_or_runs_stays():
    states = ["done", "done", "running", "waiting", "failed", "waiting"]
    rows = [row(str(n), state) for n, state in enumerate(states)]
    assert [one.sae_id for one in visible(rows, 3)] == ["0", "2", "4"]
    assert "1 failed, 1 running, 2 done, 2 waiting; 3 not shown" in text_of(rows, 3)


def test_a_row_follows_the_files_of_a_fit(task: FitTask):
    assert rows_of(task)[0] == (POINT, task.fits[0].sae_id, 0, 100, None, None, None, "waiting")
    jobs = JobTable(task.fits[0].run / "jobs")
    jobs.write(Entry(task.id, task.name, "running", 1, amount=64 * 30))
    log = task.fits[0].folder / "history.jsonl"
    log.parent.mkdir(parents=True)
    logged = {"step": 20, "l0": 4.0, "explained_variance": 0.5, "dead_fraction": 0.25}
    log.write_text(json.dumps(logged) + "\n" + '{"step": 30, "l0"')
    assert rows_of(task)[0] == (POINT, task.fits[0].sae_id, 30, 100, 4.0, 0.5, 0.25, "running")
    jobs.write(Entry(task.id, task.name, "mistake", 1, amount=64 * 30, error="diverged"))
    assert rows_of(task)[0].state == "failed"
    artefact.write_json(task.fits[0].folder / "metrics.json", {})
    assert rows_of(task)[0][2:4] == (100, 100)
    assert rows_of(task)[0].state == "done"


def test_a_pause_for_a_comparison_is_the_end_of_a_row(task: FitTask):
    assert rows_of(FitTask(task.fits, task.tracking, until_step=40))[0].n_steps == 40


def test_the_last_row_of_a_long_log_is_found_at_its_end(tmp_path: Path):
    path = tmp_path / "history.jsonl"
    assert last_row(path) == {}
    path.write_text("".join(json.dumps({"step": n, "loss": 1.0}) + "\n" for n in range(2000)))
    assert last_row(path)["step"] == 1999


def test_without_a_terminal_there_is_the_bar_alone(task: FitTask, capsys: pytest.CaptureFixture[str]):
    with display("train", [task], 100, "tok") as done:
        done(100)
    printed = capsys.readouterr()
    assert "100%" in printed.err
    assert "expl. var." not in printed.err + printed.out
    assert "\x1b[" not in printed.err.replace("\x1b[A", "")


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_table_stands_above_the_bar_and_log_lines_above_both(
    task: FitTask, monkeypatch: pytest.MonkeyPatch
):
    terminal, log = Terminal(), logging.getLogger("clinlens.test")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with display("train", [task], 6400, "tok") as done:
        done(3200)
        log.warning("a line of the log")
    printed = terminal.getvalue()
    assert POINT in printed
    assert "1 waiting" in printed
    assert "a line of the log" in printed
    last = printed.rstrip().splitlines()[-1].rpartition("\x1b[2K")[2]
    assert last.startswith("train    :  50%|"), "the bar stays, the table does not"
    assert handler.stream is terminal
