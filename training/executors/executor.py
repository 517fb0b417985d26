"""What an engine needs of a place where jobs run."""

from abc import ABC, abstractmethod

from training.jobs import Outcome, Task


class Executor(ABC):
    """Runs attempts; knows nothing of retries, of progress or of what it runs."""

    @abstractmethod
    def submit(self, task: Task, attempt: int) -> None:
        """Takes an attempt on; it may wait until there is room."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Outcome]:
        """Attempts that ended since the last call; returns after `seconds` at the latest, mostly."""

    @abstractmethod
    def close(self, *, hastily: bool) -> None:
        """Ends what was started; `hastily` without waiting for what is under way."""
