"""A real Slurm of one node, for as long as a test needs it: munged, slurmctld and slurmd on loopback.

It needs no systemd, no cgroups, no database and no root; Debian's and Ubuntu's packages do:
`apt-get install --no-install-recommends slurm-wlm munge`. Everything it writes lies in a temporary folder, so that
several such clusters stand side by side.

Measured on 2 cores (Slurm 22.05): starts in 1.1 s; stops in 0.1 s, or 4 s where a job still runs; a job starts about 1 s
after it was submitted.
"""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

PROGRAMS = ["munged", "slurmctld", "slurmd", "srun", "sbatch", "squeue", "scancel", "sinfo", "setpriv"]
SEARCHED = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
START_S = 30.0
N_CPUS = 2
FORGETS_AFTER_S = 2
"""Slurm's own default is 300; here the case that it no longer knows a finished job comes up within a test."""


class SlurmCluster(NamedTuple):
    """A Slurm that runs."""

    home: Path
    """Its folder: `slurm.conf`, and what the daemons said in `*.log`."""
    environment: dict[str, str]
    """What the commands of Slurm (and so submitit) need in their environment to find it."""
    daemons: dict[str, subprocess.Popen[bytes]]
    """Its processes by name, for tests that take one away."""


@contextlib.contextmanager
def one_node_slurm() -> Iterator[SlurmCluster]:
    """Starts a Slurm that runs two one-core jobs at once, and stops exactly what it started.

    Yields:
        The cluster, idle.

    Raises:
        RuntimeError: The programs are here, but the node did not become idle; with the daemons' logs.
    """
    if missing := [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]:
        pytest.skip(f"no {', '.join(missing)} here: apt-get install --no-install-recommends slurm-wlm munge")
    # Not pytest's tmp_path: munge wants every folder above its socket open to all, and a socket's path has 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    home.chmod(0o755)
    cluster = SlurmCluster(home, {"SLURM_CONF": str(home / "slurm.conf")}, {})
    try:
        start(cluster)
        yield cluster
    finally:
        stop(cluster)
        shutil.rmtree(home)


def start(cluster: SlurmCluster) -> None:
    """Starts the daemons and waits until the node takes jobs."""
    home, munge = cluster.home, cluster.home / "munge"
    for folder in (munge, home / "state", home / "spool"):
        folder.mkdir(mode=0o755)
    key = munge / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(64))
    (home / "slurm.conf").write_text(settings(home), encoding="utf-8")
    files = [f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")]
    launch(cluster, "munged", "--foreground", f"--socket={munge / 'socket'}", *files)
    deadline = time.monotonic() + START_S
    wait(cluster, deadline, (munge / "socket").exists)
    launch(cluster, "slurmctld", "-D", "-f", str(home / "slurm.conf"))
    launch(cluster, "slurmd", "-D", "-f", str(home / "slurm.conf"))
    wait(cluster, deadline, lambda: ask(cluster, "sinfo", "--noheader", "--format=%T") == "idle")


def settings(home: Path) -> str:
    """The configuration: as little as possible, and nothing that a container may refuse.

    Processes are tracked by their group. By their ancestry (`proctrack/linuxproc`), those of a killed script were seen
    to live on.
    """
    host, user = socket.gethostname().split(".")[0], getpass.getuser()
    memory_mib = psutil.virtual_memory().total // 2**20
    return f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0
KillWait=1
MinJobAge={FORGETS_AFTER_S}
NodeName={host} NodeAddr=127.0.0.1 CPUs={N_CPUS} CoresPerSocket={N_CPUS} RealMemory={memory_mib}
PartitionName=test Nodes={host} Default=YES MaxTime=INFINITE
"""


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(cluster: SlurmCluster, name: str, *arguments: str) -> None:
    """Starts a daemon in the foreground; it ends with this process, however that ends."""
    prefix, program = (str(shutil.which(wanted, path=SEARCHED)) for wanted in ("setpriv", name))
    with (cluster.home / f"{name}.log").open("w", encoding="utf-8") as log:
        cluster.daemons[name] = subprocess.Popen(
            [prefix, "--pdeathsig=TERM", program, *arguments],
            env=os.environ | cluster.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait(cluster: SlurmCluster, deadline: float, ready: Callable[[], bool]) -> None:
    """Waits until something holds, or says why it does not."""
    while not ready():
        ended = [name for name, daemon in cluster.daemons.items() if daemon.poll() is not None]
        if ended or time.monotonic() > deadline:
            logs = "\n".join(f"{path.name}:\n{path.read_text()}" for path in sorted(cluster.home.glob("*.log")))
            raise RuntimeError(f"Slurm did not start within {START_S:.0f} s; ended: {ended or 'none'}.\n{logs}")
        time.sleep(0.02)


def ask(cluster: SlurmCluster, *command: str) -> str:
    """What a command of Slurm prints; nothing where it fails."""
    answer = subprocess.run(
        command, env=os.environ | cluster.environment, capture_output=True, text=True, timeout=START_S, check=False
    )
    return answer.stdout.strip()


def stop(cluster: SlurmCluster) -> None:
    """Ends the jobs, then the daemons in the reverse order of their start."""
    deadline = time.monotonic() + START_S
    jobs_may_run = all(name in cluster.daemons for name in ("slurmctld", "slurmd"))
    if jobs_may_run and ask(cluster, "squeue", "--noheader", "--format=%i"):
        ask(cluster, "scancel", "--full", "--signal=KILL", f"--user={getpass.getuser()}")
        while ask(cluster, "squeue", "--noheader", "--format=%i") and time.monotonic() < deadline:
            time.sleep(0.1)
    for daemon in reversed(cluster.daemons.values()):
        daemon.terminate()
    for daemon in cluster.daemons.values():
        try:
            daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
