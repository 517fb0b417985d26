"""The log of a training run: JSONL always, W&B beside it. Numbers only, never text."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from sae.errors import UserError
from training.config import TrackingConfig

Row = dict[str, float | int]
CONNECT_S = 30.0
"""How long W&B's server may take to answer."""


class Tracker:
    """Writes one row per logged step.

    The JSONL holds what is the same in every run of the same config; the clock goes to W&B only.

    Args:
        path: The JSONL file.
        keep_bytes: Length to cut it back to, when a run is resumed.
    """

    def __init__(self, path: Path, keep_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._file.truncate(keep_bytes)
        self._file.seek(keep_bytes)
        self._wandb: Any = None

    def open_wandb(self, cfg: TrackingConfig, folder: Path, name: str, group: str, config: dict[str, Any]) -> None:
        """Starts the W&B run of this SAE, in the run's group.

        Raises:
            UserError: W&B cannot be had as asked.
        """
        if cfg.wandb == "disabled":
            return
        import wandb  # slow to import
        from wandb.errors import Error as WandbError

        (folder / "wandb").mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, save_code=False, disable_code=True, x_disable_stats=True,
            x_disable_meta=True, init_timeout=CONNECT_S,
            program="clinlens", host="",
        )  # fmt: skip
        try:
            self._wandb = wandb.init(
                project=cfg.project, group=group, name=name, config=config, dir=str(folder), mode=cfg.wandb,
                resume="allow" if cfg.wandb == "online" else None, id=name.replace("/", "-"), settings=settings,
            )  # fmt: skip
        except (WandbError, OSError) as error:
            raise UserError(
                f"W&B could not start in mode {cfg.wandb!r} ({type(error).__name__}), expected its server and an API key. "
                "Check the network and log in, or set tracking.wandb=offline; nothing was trained and nothing is lost."
            ) from error

    def log(self, row: Row, density: np.ndarray) -> None:
        """One row of numbers, and the features' densities over the tokens since the last one."""
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        if self._wandb is not None:
            import wandb

            histogram = wandb.Histogram(np_histogram=log_density_histogram(density))
            self._wandb.log({**row, "log10_feature_density": histogram}, step=int(row["step"]))

    @property
    def n_bytes(self) -> int:
        """Length of the JSONL."""
        return self._file.tell()

    def flush(self) -> None:
        """Puts the JSONL on disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self, summary: dict[str, float] | None) -> None:
        """Ends the log; a summary of figures goes to W&B."""
        self.flush()
        self._file.close()
        if self._wandb is not None:
            self._wandb.summary.update(summary or {})
            self._wandb.finish(exit_code=0 if summary is not None else 1)


def log_density_histogram(density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of features by log10 of the share of tokens they fire on; silent ones fall in the lowest bin."""
    counts, edges = np.histogram(np.log10(np.maximum(density, 1e-8)), bins=32, range=(-8, 0))
    return counts, edges
