"""Memory that is free is that of the container or the job, not of the machine alone: cases in a made-up file system."""

from pathlib import Path
from typing import NamedTuple

import pytest

from training.cgroup import available_bytes

HOST = 64_000


class Memory(NamedTuple):
    available: int


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with some memory free."""
    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory(HOST))


def own(root: Path, text: str) -> None:
    """Says in which groups the process is."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(text)


def group(root: Path, name: str, limit: str, usage: int, stat: str = "") -> None:
    """A group of version 2."""
    folder = root / "sys/fs/cgroup" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(stat)


def group_v1(root: Path, name: str, limit: int, usage: int, stat: str) -> None:
    """A group of version 1."""
    folder = root / "sys/fs/cgroup/memory" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(stat)


def test_without_control_groups_it_is_the_machines(tmp_path: Path):
    assert available_bytes(tmp_path) == HOST


def test_a_group_without_a_limit_allows_what_the_machine_has(tmp_path: Path):
    own(tmp_path, "0::/job\n")
    (tmp_path / "sys/fs/cgroup/job").mkdir(parents=True)
    assert available_bytes(tmp_path) == HOST, "a group without the controller has no such files"
    group(tmp_path, "job", "max", 900)
    assert available_bytes(tmp_path) == HOST


def test_a_limit_allows_what_is_not_used_yet_and_cached_files(tmp_path: Path):
    own(tmp_path, "0::/job\n")
    group(tmp_path, "job", "1000", 900, "anon 500\nfile 400\ninactive_file 300\nactive_file 100\n")
    assert available_bytes(tmp_path) == 1000 - (900 - 300)


def test_a_larger_limit_than_the_machine_has_free_does_not_count(tmp_path: Path):
    own(tmp_path, "0::/job\n")
    group(tmp_path, "job", str(10 * HOST), 0)
    assert available_bytes(tmp_path) == HOST


def test_the_tightest_of_the_parents_counts(tmp_path: Path):
    own(tmp_path, "0::/system.slice/slurm/job_7/step_0\n")
    group(tmp_path, "system.slice/slurm/job_7/step_0", "max", 100)
    group(tmp_path, "system.slice/slurm/job_7", "2000", 500)
    group(tmp_path, "system.slice/slurm", "9000", 8000)
    assert available_bytes(tmp_path) == 1000


def test_what_is_over_its_limit_has_nothing_left(tmp_path: Path):
    own(tmp_path, "0::/job\n")
    group(tmp_path, "job", "1000", 1200)
    assert available_bytes(tmp_path) == 0


@pytest.mark.parametrize("name", ["", "docker/abc"], ids=["seen from inside", "seen from the machine"])
def test_version_1_counts_the_files_of_the_groups_below_too(tmp_path: Path, name: str):
    own(tmp_path, "9:name=systemd:/other\n5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n")
    group_v1(tmp_path, name, 5000, 4500, "inactive_file 1\ntotal_inactive_file 200\n")
    assert available_bytes(tmp_path) == 700


def test_version_1_without_a_limit_has_a_huge_one(tmp_path: Path):
    own(tmp_path, "4:memory:/docker/abc\n")
    group_v1(tmp_path, "docker/abc", 9223372036854771712, 4500, "total_inactive_file 200\n")
    assert available_bytes(tmp_path) == HOST
