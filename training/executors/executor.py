"""What an engine needs of a place where jobs run."""

from abc import ABC, abstractmethod
from collections import deque

from training.jobs import Outcome, Task


class Executor(ABC):
    """Runs attempts; knows nothing of retries, of progress or of what it runs."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Task, int]] = deque()
        """Attempts that no worker has taken yet."""

    def submit(self, task: Task, attempt: int) -> None:
        """Takes an attempt on; it may wait until there is room."""
        self._waiting.append((task, attempt))
        self._hand_out()

    @abstractmethod
    def _hand_out(self) -> None:
        """Gives waiting attempts to workers, as far as there is room."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Outcome]:
        """Attempts that ended since the last call; returns after `seconds` at the latest, mostly."""

    @abstractmethod
    def close(self, *, hastily: bool) -> None:
        """Ends what was started; `hastily` without waiting for what is under way."""
