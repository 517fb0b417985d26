"""Memory that this process may still take: what the machine has free, or what its control groups leave it of that.

A container or a job of Slurm sees the whole machine's memory, but is killed at the limit of its control group. A group's
limit holds for all below it, so that the least of its own and its parents' counts. Cached files that were not read lately
are given back before anything is killed, so they count as free.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst; the kubelet takes the same files for its
working set (usage − inactive files).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil


class Layout(NamedTuple):
    """Where a version of control groups keeps its figures."""

    mount: str
    limit: str
    usage: str
    inactive_file: str
    """Key in memory.stat, of the group and all below it."""


V1 = Layout("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = Layout("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")


def available_bytes(root: Path = Path("/")) -> int:
    """Memory this process may still take on this machine.

    Args:
        root: The root of the file system.
    """
    return min([psutil.virtual_memory().available, *(left for group in groups(root) for left in left_bytes(*group))])


def groups(root: Path) -> Iterator[tuple[Path, Layout]]:
    """The folders of this process's control groups for memory and of their parents; none where the system has none.

    A container may see its own group as the mount's top while the path is still the machine's; the folders that are not
    there are then skipped, and the top is read.
    """
    path = root / "proc/self/cgroup"
    for line in path.read_text().splitlines() if path.is_file() else ():
        _, controllers, name = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        layout = V1 if controllers else V2
        place = Path(name.lstrip("/"))
        for group in (place, *place.parents):
            yield root / layout.mount / group, layout


def left_bytes(group: Path, layout: Layout) -> Iterator[int]:
    """What a group still allows; nothing where it sets no limit."""
    if not (group / layout.limit).is_file() or not (group / layout.usage).is_file():
        return
    limit = (group / layout.limit).read_text().strip()
    if limit != "max":
        used = int((group / layout.usage).read_text()) - inactive_file_bytes(group, layout)
        yield max(int(limit) - used, 0)


def inactive_file_bytes(group: Path, layout: Layout) -> int:
    """Cached files of a group that were not read lately."""
    rows = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    return next((int(value) for key, value in rows if key == layout.inactive_file), 0)
