import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.ray import RayCluster

ray = pytest.importorskip("ray")


@pytest.fixture
def driver(ray_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    """This process, connected to the cluster; Ray's handler of SIGTERM does not outlive the test."""
    for name, value in ray_cluster.environment.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGTERM)
    ray.init(address=ray_cluster.address, log_to_driver=False, logging_level="ERROR")
    yield ray_cluster
    ray.shutdown()
    signal.signal(signal.SIGTERM, before)


def remote(function: Any) -> Any:
    return ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")(function)


def node_after(seconds: float) -> str:
    import time

    from sae.errors import UserError  # a worker can import ours

    assert UserError
    time.sleep(seconds)
    return ray.get_runtime_context().get_node_id()


def node_when_released(folder: str, number: int) -> str:
    import time
    from pathlib import Path

    Path(folder, f"begun-{number}").touch()
    while not Path(folder, "released").exists():
        time.sleep(0.05)
    return ray.get_runtime_context().get_node_id()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_tasks_run_on_both_nodes_and_deaths_of_a_worker_and_of_a_node_are_told_apart(
    driver: RayCluster, tmp_path: Path
) -> None:
    work = remote(node_after)
    assert len(set(ray.get([work.remote(0.5) for _ in range(2)]))) == 2
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(remote(die).remote())
    tasks = [remote(node_when_released).remote(str(tmp_path), number) for number in range(2)]
    while len(list(tmp_path.glob("begun-*"))) < 2:
        time.sleep(0.05)
    driver.remove_node()
    ray.wait(tasks)  # until the loss is seen; the other one still waits
    (tmp_path / "released").touch()
    outcomes = []
    for task in tasks:
        try:
            outcomes.append(type(ray.get(task)))
        except ray.exceptions.NodeDiedError as error:
            outcomes.append(type(error))
    assert sorted(kind.__name__ for kind in outcomes) == ["NodeDiedError", "str"]
