"""One worker process, as the server sees it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from clinlens.desk.jobs.store import Task
from sae import artefact

Hear = Callable[["Hand", dict[str, Any] | None], None]
"""Told every message of a process, and None when it has ended."""


class Errand(NamedTuple):
    """Work beside the jobs: kept nowhere, asked again if it is lost."""

    order: dict[str, Any]
    future: "Future[Any]"


class Hand:
    """A process, started with its own interpreter and nothing of the server's memory.

    Args:
        number: Its number on this server, for its log.
        setup: What it is told at the start.
        folder: Where logs lie.
        hear: Told of its messages, by a thread of its own.
    """

    def __init__(self, number: int, setup: dict[str, Any], folder: Path, hear: Hear) -> None:
        self.log = folder / f"worker-{os.getpid()}-{number}.log"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.log, "wb", opener=lambda name, flags: os.open(name, flags, artefact.PRIVATE)) as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "clinlens.desk.jobs.worker", json.dumps(setup)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8",
                env=environment(setup["threads"]),
                start_new_session=True,  # Ctrl-C is the server's alone
            )  # fmt: skip
        self.number = number
        self.is_ready = False
        self.work: Task | Errand | None = None
        self.loaded: str | None = None
        self.heard = self.idle_since = time.monotonic()
        self.dropped_at: float | None = None
        self.phase = ""
        threading.Thread(target=self.read, args=(hear,), daemon=True, name=f"hand-{number}").start()

    def read(self, hear: Hear) -> None:
        """Passes on what the process says until it ends."""
        assert self.process.stdout is not None  # noqa: S101 - a pipe was asked for
        with self.process.stdout as lines:
            for text in lines:
                try:
                    hear(self, json.loads(text))
                except ValueError:
                    break  # half a line: it died while it spoke
        self.process.wait()
        hear(self, None)

    def give(self, work: Task | Errand, order: dict[str, Any]) -> None:
        """Orders work; if the process is gone, its end will be heard."""
        self.work, self.dropped_at, self.phase = work, None, ""
        self.loaded = order.get("model", {}).get("name", self.loaded)
        try:
            assert self.process.stdin is not None  # noqa: S101 - a pipe was asked for
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        except OSError:
            self.kill()

    def drop(self) -> None:
        """Asks it to leave its task; who is not heard of soon is killed."""
        self.dropped_at = time.monotonic()
        self.process.send_signal(signal.SIGINT)

    def finish(self) -> None:
        """Has no work any more."""
        self.work, self.dropped_at, self.idle_since = None, None, time.monotonic()

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()

    def close(self) -> None:
        """Lets it end by itself."""
        try:
            assert self.process.stdin is not None  # noqa: S101 - a pipe was asked for
            self.process.stdin.close()
        except BrokenPipeError:
            return  # it has ended, with an order unread

    def last_words(self, n_bytes: int = 4000) -> str:
        """The end of what its libraries wrote; Python's own words never go there."""
        return self.log.read_bytes()[-n_bytes:].decode(errors="replace") if self.log.is_file() else ""


def environment(threads: int) -> dict[str, str]:
    """Variables of a process: few threads, no network, the packages of this one."""
    fixed = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    fixed |= {
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    return {**os.environ, **fixed}
