"""The log of a training run: JSONL always, a live W&B run beside it where W&B is online. Numbers only, never text.

Offline, nobody watches, and a kill or a pause would leave one W&B folder for each part of a run. So W&B's own files are
then written from these, whole and once, when there is something to show (`analysis.logbook`).
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from sae.errors import UserError
from training.config import TrackingConfig

Row = dict[str, float | int]
HISTORY_FILE = "history.jsonl"
DENSITY_FILE = "density.jsonl"
CONNECT_S = 30.0
"""How long W&B's server may take to answer."""


class Tracker:
    """Writes one row per logged step, and the histogram of the features' densities beside it.

    The JSONL holds what is the same in every run of the same config; the clock goes to W&B only.

    Args:
        path: The JSONL file; densities go to DENSITY_FILE in the same folder.
        keep_bytes: Length to cut it back to, when a run is resumed.
    """

    def __init__(self, path: Path, keep_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        n_rows = path.read_bytes()[:keep_bytes].count(b"\n") if keep_bytes else 0
        self._file = opened_at(path, keep_bytes)
        densities = path.with_name(DENSITY_FILE)
        self._densities = opened_at(densities, length_of(densities, n_rows))
        self._wandb: Any = None
        self._is_lent = False

    def open_wandb(self, cfg: TrackingConfig, folder: Path, name: str, group: str, config: dict[str, Any]) -> None:
        """Starts the live W&B run of this SAE, or goes on with it; only where W&B is online.

        Raises:
            UserError: W&B cannot be had as asked.
        """
        if cfg.wandb != "online":
            return
        import wandb  # slow to import

        self._is_lent = wandb.run is not None  # a whole trial's, which ends after the evaluation
        self._wandb = wandb.run or started(cfg, folder, name, group, config, is_one_of_several=True)

    def log(self, row: Row, density: np.ndarray) -> None:
        """One row of numbers, and the features' densities over the tokens since the last one."""
        counts = log_density_histogram(density)[0].tolist()
        self._densities.write(json.dumps({"step": row["step"], "counts": counts}).encode() + b"\n")
        self._densities.flush()
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        if self._wandb is not None:
            log_row(self._wandb, row, counts)

    @property
    def n_bytes(self) -> int:
        """Length of the JSONL."""
        return self._file.tell()

    def flush(self) -> None:
        """Puts the JSONL on disk."""
        for file in (self._densities, self._file):
            file.flush()
            os.fsync(file.fileno())

    def close(self, summary: dict[str, float] | None) -> None:
        """Ends the log; a summary of figures goes to W&B."""
        self.flush()
        self._densities.close()
        self._file.close()
        if self._wandb is not None:
            self._wandb.summary.update(summary or {})
            if not self._is_lent:
                self._wandb.finish(exit_code=0 if summary is not None else 1)


def opened_at(path: Path, n_bytes: int) -> Any:
    """A file cut to a length, open at its end."""
    file = path.open("ab")
    file.truncate(n_bytes)
    file.seek(n_bytes)
    return file


def length_of(path: Path, n_rows: int) -> int:
    """Bytes of a file's first rows, or of all it has."""
    rows = path.read_bytes().splitlines(keepends=True) if path.is_file() and n_rows else []
    return sum(len(row) for row in rows[:n_rows])


def started(
    cfg: TrackingConfig, folder: Path, name: str, group: str, config: dict[str, Any], *, is_one_of_several: bool = False
) -> Any:
    """A W&B run under a fixed id, so that online the same one goes on; `wandb agent` gives its own.

    Args:
        cfg: How.
        folder: The run folder.
        name: Of the W&B run.
        group: What W&B shows it under.
        config: Settings it shows.
        is_one_of_several: Whether others may be open in this process; then it is not W&B's global run.

    Raises:
        UserError: W&B cannot be had as asked.
    """
    import wandb  # slow to import
    from wandb.errors import Error as WandbError

    (folder / "wandb").mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(
        silent=True, console="off", disable_git=True, save_code=False, disable_code=True, x_disable_stats=True,
        x_disable_meta=True, init_timeout=CONNECT_S,
        program="clinlens", host="",
    )  # fmt: skip
    try:
        return wandb.init(
            project=cfg.project, group=group, name=name, config=config, dir=str(folder), mode=cfg.wandb,
            resume="allow" if cfg.wandb == "online" else None, id=run_id(name), settings=settings,
            reinit="create_new" if is_one_of_several else None,
        )  # fmt: skip
    except (WandbError, OSError) as error:
        raise UserError(
            f"W&B could not start in mode {cfg.wandb!r} ({type(error).__name__}), expected its server and an API key. "
            "Check the network and log in, or set tracking.wandb=offline; what is trained is kept and nothing is lost."
        ) from error


def run_id(name: str) -> str:
    """The W&B id of an SAE's run; ids have no slashes."""
    return name.replace("/", "-")


def log_row(run: Any, row: Row, counts: list[int] | None) -> None:
    """A row of the JSONL, and its histogram of densities if there is one, into a W&B run."""

    histogram = {} if counts is None else {"log10_feature_density": wandb_histogram(counts)}
    run.log({**row, **histogram}, step=int(row["step"]))


def wandb_histogram(counts: list[int]) -> Any:
    """W&B's form of a histogram of densities."""
    import wandb

    return wandb.Histogram(np_histogram=(np.asarray(counts), log_density_histogram(np.zeros(0))[1]))


def log_density_histogram(density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of features by log10 of the share of tokens they fire on; silent ones fall in the lowest bin."""
    counts, edges = np.histogram(np.log10(np.maximum(density, 1e-8)), bins=32, range=(-8, 0))
    return counts, edges
