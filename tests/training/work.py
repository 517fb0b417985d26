"""Tasks for tests of engines; in a module of their own, so that workers can import them."""

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from sae.errors import UserError
from training.jobs import Done, Task


@dataclass(frozen=True)
class Numbered:
    """A task with a number for a name."""

    number: int

    @property
    def name(self) -> str:
        return f"sum {self.number}"

    @property
    def id(self) -> str:
        return f"sum-{self.number}"


@dataclass(frozen=True)
class Add(Numbered):
    """Reports its number, leaves a file behind, and prints."""

    folder: Path

    def run(self, done: Done) -> None:
        print(f"adding {self.number}", flush=True)
        (self.folder / f"{self.number}.pid").write_text(str(os.getpid()))
        done(self.number)


@dataclass(frozen=True)
class Die(Numbered):
    """Ends its process as the system does when memory runs out, the first `times` times."""

    folder: Path
    times: int = 10**9

    def run(self, done: Done) -> None:
        done(1)
        died = len(list(self.folder.glob(f"died-{self.number}-*")))
        if died < self.times:
            (self.folder / f"died-{self.number}-{died}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        done(1)


@dataclass(frozen=True)
class Mistake(Numbered):
    """Meets a user's mistake."""

    def run(self, done: Done) -> None:
        raise UserError("lower k")


@dataclass(frozen=True)
class Full(Numbered):
    """Finds no room on the disk."""

    def run(self, done: Done) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


@dataclass(frozen=True)
class Break(Numbered):
    """Breaks, with a patient's words in the exception."""

    def run(self, done: Done) -> None:
        raise KeyError("relliM srM"[::-1])


@dataclass(frozen=True)
class Wait(Numbered):
    """Takes its time, reporting as it goes."""

    seconds: float
    folder: Path

    def run(self, done: Done) -> None:
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            time.sleep(0.05)
            done(1)
        (self.folder / f"{self.number}.pid").write_text(str(os.getpid()))


@dataclass(frozen=True)
class KilledInside:
    """Another task whose worker is killed the first time that it has got somewhere, while it writes in the background."""

    task: Task
    mark: Path

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def id(self) -> str:
        return self.task.id

    def run(self, done: Done) -> None:
        def done_or_dead(amount: int) -> None:
            done(amount)
            if not self.mark.exists():
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)

        self.task.run(done_or_dead)


@dataclass(frozen=True)
class SeeGPUs(Add):
    """Leaves behind which GPUs its worker may use."""

    def run(self, done: Done) -> None:
        (self.folder / f"{self.number}.gpu").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "any"))
        time.sleep(0.5)  # so that nobody has both jobs
        done(1)
