"""A run folder held by one process: its lock, and the engine that works in it."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clinlens import config
from clinlens.config import RunConfig
from sae.errors import UserError
from training.engine import Engine


@contextmanager
def opened(cfg: RunConfig, *, patient: bool = False) -> Iterator[Engine]:
    """A run folder to oneself, cleared of what a kill left half written, with an engine for its work."""
    with alone_in(cfg.folder, patient=patient), Engine(cfg.engine, cfg.folder / "jobs") as engine:
        for litter in () if patient else cfg.folder.rglob(".*.part"):  # the patient ones are not alone below the folder
            litter.unlink(missing_ok=True)
        if not (cfg.folder / config.FILE).is_file():
            config.write(cfg, cfg.folder)
        yield engine


@contextmanager
def alone_in(folder: Path, *, patient: bool = False) -> Iterator[None]:
    """Holds the folder's lock; it goes with the process, however that ends.

    Args:
        folder: The folder.
        patient: Whether to wait while another process holds it.

    Raises:
        UserError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise UserError(
                f"{folder} is being written by another clinlens process, expected one at a time. "
                "Wait for it, or give this run another `folder`."
            ) from error
        yield
