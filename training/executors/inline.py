"""One job after another, in this process."""

from collections.abc import Callable
from functools import partial

from typing_extensions import override

from training.executors.executor import Executor
from training.jobs import JobTable, Outcome, perform


class Inline(Executor):
    """Runs a job when it is waited for."""

    def __init__(self, table: JobTable) -> None:
        super().__init__()
        self._table = table
        self.watch: Callable[[str, int], None] = lambda _job, _amount: None
        """Told the amount that a job has done so far."""

    @override
    def _hand_out(self) -> None:
        """There is nobody else."""

    @override
    def wait(self, seconds: float) -> list[Outcome]:
        if not self._waiting:
            return []
        task, attempt = self._waiting.popleft()
        return [perform(task, self._table, attempt, take_output=False, watch=partial(self.watch, task.id))]

    @override
    def close(self, *, hastily: bool) -> None:
        self._waiting.clear()
