"""A rater's task as a page and as JSON: built from a list of what a rater may see, never by taking things away."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field
from sqlalchemy import Connection, func, select

from labeling.codebook import Codebook
from labeling.database import assignments, schema
from labeling.database.rounds import Round, round_of
from labeling.web import panel
from labeling.web.errors import Refusal
from sae.config import Settings

SKIP_REASONS = (
    ("outside_expertise", "Outside my expertise"),
    ("evidence_insufficient", "The evidence does not suffice"),
    ("display_problem", "It is not displayed properly"),
    ("possible_phi", "A passage could name a patient: hide it from everybody"),
    ("conflict_of_interest", "Conflict of interest"),
)


class TaskBody(Settings, frozen=True):
    """A task, for programs."""

    assignment_id: str = Field(description="Its id.")
    round_id: str = Field(description="Of which round.")
    round_title: str = Field(description="What the round is called.")
    kind: str = Field(description="feature, or detection: only a label, and which contexts fire?")
    state: str = Field(description="open, submitted, skipped, expired or released.")
    version: int = Field(description="For If-Match.")
    lease_until: str | None = Field(description="Until when it is held.")
    codebook_id: str = Field(description="What is asked.")
    evidence: dict[str, Any] = Field(description="What is shown.")
    draft: dict[str, Any] | None = Field(description="Answers saved so far.")
    draft_saved_at: str | None = Field(description="When.")
    answers: dict[str, Any] | None = Field(description="One's own last submitted answers.")
    n_submitted: int = Field(description="By oneself, in this round.")
    reason: str = Field(description="Why one has it.")


@dataclass(frozen=True)
class Opened:
    """A task with what its page needs beside it."""

    task: assignments.Task
    round: Round
    n_all: int | None
    """Items of the round, where every rater has them all."""

    @property
    def codebook(self) -> Codebook:
        """What is asked."""
        return self.task.codebook.codebook

    @property
    def is_revision(self) -> bool:
        """Submitted, and not taken back."""
        return self.task.state in ("submitted", "surplus") and self.task.lease_until is None

    @property
    def answers(self) -> dict[str, Any]:
        """What stands in the form: the draft, else what was submitted."""
        return self.task.draft if self.task.draft is not None else self.task.answers or {}

    @property
    def peaks(self) -> dict[int, int]:
        """The strongest token of each context."""
        return {number: context["peak"] for number, context in enumerate(self.task.snapshot["contexts"])}

    @property
    def passages(self) -> list[list[str]]:
        """The contexts of a detection task: tokens alone."""
        contexts = self.task.snapshot["contexts"]
        return [list(one["tokens"] if isinstance(one, dict) else one) for one in contexts]

    @property
    def evidence(self) -> dict[str, Any]:
        """What is shown, for programs."""
        if self.task.kind == "detection":
            return {"label": self.task.snapshot["label"], "contexts": [{"tokens": one} for one in self.passages]}
        return panel.evidence(self.task.snapshot)

    @property
    def body(self) -> TaskBody:
        """For programs."""
        task = self.task
        return TaskBody(
            assignment_id=task.assignment_id, round_id=task.round_id, round_title=task.round_title, kind=task.kind,
            state=task.state, version=task.version, lease_until=task.lease_until, codebook_id=task.codebook.id,
            evidence=self.evidence, draft=task.draft, draft_saved_at=task.draft_saved_at, answers=task.answers,
            n_submitted=task.n_submitted, reason=task.reason,
        )  # fmt: skip


def opened(conn: Connection, actor: assignments.Actor, assignment_id: str) -> Opened:
    """A rater's task.

    Raises:
        NotFound: It is not theirs.
        Refusal: Its evidence was taken away, since it could name a patient.
    """
    item = schema.item
    found = assignments.assignment_of(conn, assignment_id, actor)
    if conn.execute(select(item.c.state).where(item.c.id == found.item_id)).scalar_one() == "quarantined":
        raise Refusal(
            410,
            "quarantined",
            "This evidence was taken away, since a passage could name a patient. Ask for the next item.",
        )
    task = assignments.task_of(conn, actor, assignment_id)
    round_row = round_of(conn, task.round_id)
    n_all = None
    if round_row.kind == "calibration":
        query = select(func.count()).where(item.c.round_id == round_row.id, item.c.only_for.is_(None))
        n_all = conn.execute(query).scalar_one()
    return Opened(task, round_row, n_all)
