"""One result of a job as the views need it: its matrix, its tokens, its importances."""

import sqlite3
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from analysis.views.alignment import Span
from analysis.views.importance import Importance, importance
from clinlens.desk.jobs.office import Office
from clinlens.desk.routes.results import done_tasks, task_at


class Part:
    """A result.

    Args:
        office: Where results lie.
        task: Its task.
        number: Its place among the job's results.
    """

    def __init__(self, office: Office, task: sqlite3.Row, number: int) -> None:
        self.office, self.task, self.number = office, task, number
        self.model, self.method, self.job = task["model"], task["method"], task["job"]

    @cached_property
    def body(self) -> dict[str, Any]:
        """The result without its matrix."""
        return self.office.results.get(self.task["result"])

    @cached_property
    def matrix(self) -> Float[np.ndarray, "n t"]:
        """The matrix; what is not a number counts as 0."""
        return np.nan_to_num(np.asarray(self.office.results.matrix(self.task["result"])))

    @cached_property
    def importance(self) -> Importance:
        """Its sums (formula 6)."""
        return importance(self.matrix)

    @property
    def text(self) -> str:
        """What the model read."""
        return self.body["input"]["text"]

    @property
    def spans(self) -> list[Span]:
        """The tokens' places in it."""
        return [(start, end) for start, end in self.body["input"]["offsets"]]

    @property
    def is_word(self) -> Bool[np.ndarray, "n"]:
        """Which tokens are no special ones."""
        return ~np.asarray(self.body["input"]["is_special"], bool)

    @property
    def words(self) -> Float[np.ndarray, "m"]:
        """Importances of the tokens that are no special ones."""
        return self.importance.input[self.is_word]

    @property
    def outputs(self) -> list[str]:
        """The output's tokens."""
        return self.body["output"]["tokens"]

    def told(self) -> dict[str, Any]:
        """What it is called."""
        return {"job_id": self.job, "index": self.number, "model": self.model, "method": self.method}


def parts_of(office: Office, job: str) -> list[Part]:
    """All results of a job."""
    return [Part(office, task, number) for number, task in enumerate(done_tasks(office, job))]


def part_at(office: Office, job: str, number: int) -> Part:
    """One result."""
    return Part(office, task_at(office, job, number), number)


def same_as(part: Part, others: list[Part]) -> Part | None:
    """The result of another job by the same model and method."""
    return next((one for one in others if (one.model, one.method) == (part.model, part.method)), None)
