"""Jobs as Ray tasks: on this machine, or on a cluster that is already there.

Ray only places jobs. Tries, progress and logs are the job table's; Ray's own retries are off, so that an attempt is
counted where it is seen. The driver's folder must lie at the same path on every node.
"""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from sae.errors import UserError
from training.config import EngineConfig
from training.executors.executor import Executor
from training.jobs import JobTable, Outcome, State, Task, perform, prepare

CONNECT_S = 5.0
LOOPBACK = "127.0.0.1"
"""Where a Ray of our own listens: nobody else reaches it."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would report to a server
    "RAY_gcs_server_port_wait_time_s": "5",
    "RAY_py_gcs_connect_timeout_s": "5",
    "RAY_gcs_rpc_server_connect_timeout_s": "1",
}
"""What must be said before Ray is imported. Source: measured with Ray 2.60, an unreachable head is otherwise tried for
more than six minutes."""
PASSED_ON = ("HF_", "TRANSFORMERS_", "TOKENIZERS_", "WANDB_MODE", "WANDB_SILENT")
"""Settings of libraries that workers take over: they have the environment their node was started with."""
SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD")


class RayCluster(Executor):
    """Attempts as Ray tasks, spread over the nodes.

    Args:
        cfg: Address, jobs at once, threads and GPUs of each.
        table: Where entries and logs go.

    Raises:
        UserError: Ray is not installed, or its head cannot be reached.
    """

    def __init__(self, cfg: EngineConfig, table: JobTable) -> None:
        super().__init__()
        self._ray = connect(cfg)
        self._table = table
        self._room = cfg.workers or 10**9
        self._running: dict[Any, tuple[Task, int]] = {}
        options = {"num_cpus": cfg.threads, "num_gpus": cfg.gpus, "max_retries": 0, "scheduling_strategy": "SPREAD"}
        self._work = self._ray.remote(**options)(work)
        self._place = Place(cfg.threads, Path.cwd(), passed_on())

    @override
    def wait(self, seconds: float) -> list[Outcome]:
        ready, _ = self._ray.wait(list(self._running), timeout=seconds)
        found = [self._outcome(reference) for reference in ready]
        self._hand_out()
        return found

    @override
    def close(self, *, hastily: bool) -> None:
        self._waiting.clear()
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    @override
    def _hand_out(self) -> None:
        while self._waiting and len(self._running) < self._room:
            task, attempt = self._waiting.popleft()
            self._running[self._work.remote(task, self._table, attempt, self._place)] = task, attempt

    def _outcome(self, reference: Any) -> Outcome:
        task, attempt = self._running.pop(reference)
        try:
            state, error = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as failure:  # before the task began: a missing folder or package
            return Outcome(task, attempt, "failure", type(failure.cause).__name__)
        except self._ray.exceptions.RayError as failure:  # the worker or its node is gone
            return Outcome(task, attempt, "lost", f"its worker died ({type(failure).__name__})")
        return Outcome(task, attempt, state, error)


class Place:
    """What a worker on another machine must be told of this one."""

    def __init__(self, threads: int, folder: Path, environment: dict[str, str]) -> None:
        self.threads, self.folder, self.environment = threads, folder, environment


def work(task: Task, table: JobTable, attempt: int, place: Place) -> tuple[State, str | None]:
    """What Ray runs."""
    os.environ.update(place.environment)
    os.chdir(place.folder)
    prepare(place.threads)
    outcome = perform(task, table, attempt, take_output=True)
    return outcome.state, outcome.error


def passed_on() -> dict[str, str]:
    """Settings of libraries in this process' environment that hold no secret."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(PASSED_ON) and not any(word in name for word in SECRET)
    }


def connect(cfg: EngineConfig) -> Any:
    """Ray, connected to the cluster, or started on this machine.

    Raises:
        UserError: It is not installed, or the head cannot be reached.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray  # an extra
        import ray.exceptions
    except ImportError as error:
        raise UserError(
            "engine.kind is ray, but Ray is not installed here. Run `pip install 'clinlens[ray]'`, or set engine.kind=processes."
        ) from error
    address = cfg.ray.address
    if address is not None:
        refuse_unreachable(address)
    alone: dict[str, Any] = {"num_cpus": cfg.n_workers * cfg.threads, "_node_ip_address": LOOPBACK}
    try:
        with kept_signals():
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                **({} if address else alone),
            )
    except (ConnectionError, RuntimeError) as error:
        raise UserError(unreachable(address or "this machine", type(error).__name__)) from error
    return ray


def refuse_unreachable(address: str) -> None:
    """A look at the port before Ray tries for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise UserError(f"engine.ray.address is {address!r}, expected host:port. Correct it.")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise UserError(unreachable(address, error.strerror or type(error).__name__)) from error


def unreachable(address: str, reason: str) -> str:
    """The sentence for a head that does not answer."""
    return (
        f"No Ray head answers at {address} ({reason}), expected a running cluster. "
        "Start one with `ray start --head`, correct engine.ray.address, or set engine.kind=processes."
    )


@contextmanager
def kept_signals() -> Iterator[None]:
    """Puts back our handler of SIGTERM, which Ray replaces for good."""
    try:
        before = signal.getsignal(signal.SIGTERM)
        yield
        signal.signal(signal.SIGTERM, before)
    except ValueError:  # not the main thread: Ray left it alone as well
        pass
