"""Tasks for tests of the engine; in a module of their own, so that worker processes can import them."""

import os
import signal
from dataclasses import dataclass

from sae.errors import UserError
from training.engine import Done


@dataclass(frozen=True)
class Add:
    """Reports an amount."""

    amount: int
    name: str = "an addition"

    def run(self, done: Done) -> None:
        done(self.amount)


@dataclass(frozen=True)
class Die:
    """Ends its process as the system does when memory runs out."""

    name: str = "a sum"

    def run(self, done: Done) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Mistake:
    """Meets a user's mistake."""

    name: str = "a mistake"

    def run(self, done: Done) -> None:
        raise UserError("lower k")
