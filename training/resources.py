"""What a stage costs: wall time, processor time, memory; measured, not estimated."""

import fcntl
import os
import platform
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from sae import artefact

FILE = "resources.json"
SAMPLE_EVERY_S = 0.5


def machine() -> dict[str, Any]:
    """What the work runs on."""
    import torch  # the front door answers before it is loaded

    return {
        "cpu": cpu_name(),
        "n_cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "clinlens": version("clinlens"),
    }


def cpu_name() -> str:
    """The processor's name, as the system gives it."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@dataclass
class Meter:
    """What a stage says of itself."""

    distant_cpu_s: float = 0.0
    """Processor time of jobs that ran on other machines, or of replicas."""
    distant_peak_bytes: int = 0
    """Memory of replicas."""
    n_replicas: int = 1
    """Processes that shared the work, each with a GPU of its own where there are any."""


@contextmanager
def measured(stage: str, run: Path) -> Iterator[Meter]:
    """Measures what happens inside, workers included, and adds it to the run's resources.json.

    A stage that is killed leaves no entry.
    """
    meter = Meter()
    started, clock, cpu = datetime.now(UTC), time.perf_counter(), cpu_seconds()
    peak = PeakMemory()
    peak.start()
    try:
        yield meter
    finally:
        peak.stop()
        wall = time.perf_counter() - clock
        entry = {
            "stage": stage,
            "started": started.isoformat(timespec="seconds"),
            "wall_s": round(wall, 2),
            "cpu_s": round(cpu_seconds() - cpu + meter.distant_cpu_s, 2),
            "gpu_s": round(wall * meter.n_replicas, 2) if has_gpu() else 0.0,
            "peak_bytes": peak.bytes + meter.distant_peak_bytes,
        }
        with (run / ".resources.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # trials of one sweep may share the folder
            path = run / FILE
            known = artefact.read_json(path)["stages"] if path.is_file() else []
            artefact.write_json(path, {"machine": machine(), "stages": [*known, entry]})


def cpu_seconds() -> float:
    """Processor time of this process and of its children, ended or at work."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    total = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def has_gpu() -> bool:
    """Whether torch sees a GPU; the time of a stage then counts as GPU time, busy or not."""
    import torch

    return torch.cuda.is_available()


def visible_gpus() -> tuple[str, ...]:
    """Numbers of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES spells them."""
    import torch

    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named or map(str, range(torch.cuda.device_count()))) if torch.cuda.is_available() else ()


class PeakMemory(threading.Thread):
    """Samples the memory of this process and its children; pages shared between them count once each."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._ended = threading.Event()

    def run(self) -> None:
        own = psutil.Process()
        while True:
            self.bytes = max(self.bytes, resident_bytes(own))
            if self._ended.wait(SAMPLE_EVERY_S):
                return

    def stop(self) -> None:
        """Ends the sampling."""
        self._ended.set()
        self.join()


def resident_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and its children."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
