"""A real Ray of two nodes on one machine, for as long as a test needs it.

The nodes are started and ended by a process of their own (this file, run as a module): Ray moves the process that
starts nodes to a new process group, and its head must outlive the drivers that tests make.

Measured on 2 cores (Ray 2.60): starts in 8 s, 19 s beside other tests; stops in 1 s; 450 MB without workers.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "127.0.0.2"
"""Loopback, so that nobody else reaches the nodes. Not 127.0.0.1: `ray.init` replaces that by an outer address."""
STORE_BYTES = 80 * 2**20
"""Ray's smallest object store is 75 MiB."""
STOP_S = 30.0
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_AUTH_MODE": "disabled",  # a token in somebody's home would switch it on
}


class RayCluster(NamedTuple):
    """A Ray that runs."""

    address: str
    """What `ray.init` takes."""
    environment: dict[str, str]
    """What drivers should have in their environment before they import ray."""
    keeper: "subprocess.Popen[str]"
    """The process that holds the nodes."""

    def remove_node(self) -> None:
        """Kills the second node, as a failing machine would; returns when it is gone."""
        tell(self.keeper, "remove")


@contextlib.contextmanager
def two_node_ray() -> Iterator[RayCluster]:
    """Starts two nodes with one CPU each, and ends exactly what it started.

    Yields:
        The cluster, with both nodes alive.

    Raises:
        RuntimeError: Ray is here, but its nodes did not start; with what they said.
    """
    if importlib.util.find_spec("ray") is None:
        pytest.skip("no ray here: pip install 'ray>=2.60'")
    # Not pytest's tmp_path: Ray's sockets lie 60 characters deeper, and a socket's path has 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    log = home / "keeper.log"
    try:
        with log.open("w", encoding="utf-8") as stderr:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "tests.clusters.ray", str(home)],
                cwd=ROOT,
                env=os.environ | ENVIRONMENT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        try:
            address = answer(keeper)
            if not address:
                raise RuntimeError(f"Ray's nodes did not start:\n{log.read_text(encoding='utf-8')}")
            yield RayCluster(address, ENVIRONMENT, keeper)
        finally:
            with contextlib.suppress(subprocess.TimeoutExpired):
                keeper.communicate(timeout=STOP_S)  # the end of its input makes it end its nodes
            keeper.kill()
            keeper.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)  # a worker's last log may still be under way


def tell(keeper: "subprocess.Popen[str]", command: str) -> None:
    """Has the keeper do something, and waits until it is done."""
    pipe(keeper.stdin).write(f"{command}\n")
    pipe(keeper.stdin).flush()
    if answer(keeper) != command:
        raise RuntimeError(f"The process that holds Ray's nodes ended before it could do: {command}.")


def answer(keeper: "subprocess.Popen[str]") -> str:
    """The keeper's next line."""
    return pipe(keeper.stdout).readline().strip()


def pipe(end: IO[str] | None) -> IO[str]:
    """An end that is known to be open."""
    if end is None:
        raise ValueError("The process was started without pipes.")
    return end


def keep(home: Path) -> None:
    """Holds two nodes until the input ends."""
    from ray._private.utils import get_ray_address_file
    from ray.cluster_utils import Cluster

    Path(get_ray_address_file(None)).parent.mkdir(parents=True, exist_ok=True)  # Ray writes there and does not make it

    common = {
        "num_cpus": 1,
        "node_ip_address": HOST,
        "temp_dir": str(home),
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
        "include_log_monitor": False,
        "no_monitor": True,  # the autoscaler's
    }
    cluster = Cluster(initialize_head=True, head_node_args=common)
    try:
        second = cluster.add_node(**common)
        print(cluster.address, flush=True)
        for line in sys.stdin:
            if line.strip() == "remove":
                cluster.remove_node(second, allow_graceful=False)
            print(line.strip(), flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
