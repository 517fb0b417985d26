"""How much more memory a piece of work needed than was in use before it.

On a GPU the allocator knows; on Linux the kernel keeps the largest size since it was last reset, so that not
even a short peak is missed; elsewhere the resident size is sampled. There is one such peak, so a measurement inside another
hands the peak so far to the outer one before it sets it back.
"""

from pathlib import Path
from typing import ClassVar
from weakref import WeakSet

import psutil
import torch

from training.resources import PeakMemory

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Footprint:
    """Measures from its making until `extra_bytes` is asked.

    Args:
        device: Where the work's tensors lie.
    """

    _open: ClassVar["WeakSet[Footprint]"] = WeakSet()

    def __init__(self, device: torch.device) -> None:
        self.device, self.sampler, self.peak = device, None, 0
        for outer in list(self._open):
            outer.peak = max(outer.peak, outer.peak_now())
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
        else:
            self.before = psutil.Process().memory_info().rss
            try:
                RESET.write_text("5")  # resets VmHWM. Source: proc(5)
            except OSError:
                self.sampler = PeakMemory()
                self.sampler.start()
        self._open.add(self)

    def peak_now(self) -> int:
        """The largest size since any measurement last set it back."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if self.sampler is not None:
            return self.sampler.bytes
        line = next(row for row in STATUS.read_text().splitlines() if row.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def extra_bytes(self) -> int:
        """The peak so far, less what was there before."""
        if self.sampler is not None:
            self.sampler.stop()
        self._open.discard(self)
        self.peak = max(self.peak, self.peak_now())
        return max(0, self.peak - self.before)
