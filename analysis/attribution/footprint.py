"""How much more memory a piece of work needed than was in use before it.

On a GPU the allocator knows; on Linux the kernel keeps the largest resident size since it was last reset, so that not
even a short peak is missed; elsewhere the resident size is sampled.
"""

from pathlib import Path

import psutil
import torch

from training.resources import PeakMemory

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Footprint:
    """Measures from its making until `extra_bytes` is asked.

    Args:
        device: Where the work's tensors lie.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.sampler = device, None
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
            return
        self.before = psutil.Process().memory_info().rss
        try:
            RESET.write_text("5")  # resets VmHWM. Source: proc(5)
        except OSError:
            self.sampler = PeakMemory()
            self.sampler.start()

    def extra_bytes(self) -> int:
        """The peak so far, less what was there before."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - self.before
        if self.sampler is None:
            line = next(row for row in STATUS.read_text().splitlines() if row.startswith("VmHWM"))
            return max(0, int(line.split()[1]) * 1024 - self.before)
        self.sampler.stop()
        return max(0, self.sampler.bytes - self.before)
