"""One job after another, in this process."""

from collections import deque
from collections.abc import Callable
from functools import partial

from typing_extensions import override

from training.executors.executor import Executor
from training.jobs import JobTable, Outcome, Task, perform


class Inline(Executor):
    """Runs a job when it is waited for."""

    def __init__(self, table: JobTable) -> None:
        self._table = table
        self._waiting: deque[tuple[Task, int]] = deque()
        self.watch: Callable[[str, int], None] = lambda _job, _amount: None
        """Told the amount that a job has done so far."""

    @override
    def submit(self, task: Task, attempt: int) -> None:
        self._waiting.append((task, attempt))

    @override
    def wait(self, seconds: float) -> list[Outcome]:
        if not self._waiting:
            return []
        task, attempt = self._waiting.popleft()
        return [perform(task, self._table, attempt, take_output=False, watch=partial(self.watch, task.id))]

    @override
    def close(self, *, hastily: bool) -> None:
        self._waiting.clear()
