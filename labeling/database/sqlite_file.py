"""The file of an SQLite database: on a disk of this machine, and written by one process at a time."""

import fcntl
import os
from pathlib import Path
from typing import IO

import psutil

from sae.errors import UserError

NETWORK = frozenset(
    "nfs nfs4 cifs smb smb2 smb3 smbfs afs 9p ceph glusterfs lustre gpfs beegfs davfs fuse.sshfs fuse.glusterfs "  # noqa: SIM905 - words read better than a column of texts
    "fuse.s3fs fuse.rclone fuse.davfs2".split()
)
"""File systems of other machines, whose locks SQLite cannot trust (https://sqlite.org/wal.html: "all processes using a
database must be on the same host computer")."""


class WriteLock:
    """The right to write a database file; it goes with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".lock")
        self.file: IO[str] | None = None

    def take(self) -> None:
        """Takes the lock; a second time it is held already.

        Raises:
            UserError: Another process holds it.
        """
        if self.file is not None:
            return
        file = open(self.path, "a+", opener=private)  # noqa: SIM115 - it is held as long as the database is open
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise UserError(
                f"{self.path.with_suffix('')} is being written by another process, expected one at a time. Stop that server "
                "first, or use PostgreSQL, which knows several writers."
            ) from error
        self.file = file

    def release(self) -> None:
        """Gives it back."""
        if self.file is not None:
            self.file.close()
            self.file = None


def private(name: str, flags: int) -> int:
    """Opens a file that only its owner may read."""
    return os.open(name, flags, 0o600)


def refuse_network(path: Path) -> None:
    """Refuses a database file that lies on another machine.

    Raises:
        UserError: It does.
    """
    kind = file_system_of(path)
    if kind in NETWORK:
        raise UserError(
            f"{path} lies on a network file system ({kind}), expected a disk of this machine, since locks over a network "
            "lose judgements. Choose another folder, or use PostgreSQL."
        )


def file_system_of(path: Path) -> str:
    """The kind of file system that a path lies on, or will."""
    whole = path.resolve()
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounts[folder] for folder in (whole, *whole.parents) if folder in mounts), "")
