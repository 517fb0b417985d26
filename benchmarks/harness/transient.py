"""What a step takes of memory for itself, above what a trainer keeps between steps."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"
"""Written to `clear_refs`, it sets the peak to what is resident now. Source: proc_pid_clear_refs(5)."""


def transient_mb(step: Callable[[], object], release: Callable[[], object] = lambda: None, n_warm: int = 2) -> float:
    """Most memory that a step held at once beside what was there before it, in MB (Linux).

    Args:
        step: One step.
        release: Lets go of buffers that are kept from step to step, so that they count too.
        n_warm: Steps before, in which weights, moments and compiled kernels come to be.
    """
    for _ in range(n_warm):
        step()
    release()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    RESET.write_text(FORGET_PEAK)
    before = resident_kb("VmRSS")
    step()
    return (resident_kb("VmHWM") - before) / 1024


def resident_kb(name: str) -> int:
    """A line of this process' status."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
