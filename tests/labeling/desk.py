"""A small project for tests: three categories, a few raters, evidence without a model."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from labeling.codebook import Codebook
from labeling.database import accounts, projects, roles, rounds, submissions
from labeling.database.assignments import Assignment, next_assignment
from labeling.database.connection import Database
from labeling.database.rounds import PlannedItem, Round
from labeling.database.submissions import Accepted, Sent
from labeling.database.transaction import PROGRAM, Actor
from labeling.evidence import Context, SAERef, Snapshot
from labeling.round_settings import RoundSettings

CODEBOOK = Codebook.model_validate(
    {
        "title": "Small",
        "primary": "category",
        "questions": [
            {
                "key": "category", "kind": "choice", "name": "Category", "can_abstain": True,
                "categories": [{"code": code, "name": code} for code in ("disease", "drug", "format")],
            },
            {"key": "rationale", "kind": "rationale", "name": "Why", "is_required": False},
        ],
    }
)  # fmt: skip
SAE = SAERef("clinic", "0" * 32, "blocks.2.hook_resid_post", "topk-x4-k16-00000000", "0" * 64, 512)


class Wall:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 5, 8, tzinfo=UTC)
        self.seconds = 0.0

    def __call__(self) -> datetime:
        return self.at

    def pace(self) -> float:
        return self.seconds

    def pass_(self, **span: float) -> None:
        """Time goes by."""
        self.at += timedelta(**span)
        self.seconds += timedelta(**span).total_seconds()


def snapshot_of(feature: int, document: int | None = None) -> Snapshot:
    """Evidence on a feature."""
    context = Context(
        "top", feature if document is None else document, 2, False, ("the", " heart", " fails"), (0, 1, 2), 2, None
    )
    return Snapshot(SAE, feature, 0.01, 2.0, (context,), (), (), "clinic", "0" * 32, "test")


def plan(n: int, stratum: str = "irr_fixed", slots: int = 3, first: int = 0, **more: Any) -> list[PlannedItem]:
    """Items about features one after the other."""
    return [
        PlannedItem(snapshot_of(first + number), stratum, slots, f"family {first + number}", **more)
        for number in range(n)
    ]


@dataclass
class Desk:
    """A project with a lead and raters."""

    database: Database
    project_id: str
    codebook_version_id: str
    lead: Actor
    raters: list[Actor]

    @classmethod
    def of(cls, database: Database, n_raters: int = 4, house: str = "General Hospital") -> "Desk":
        """Fills an empty database."""
        with database.write() as conn:
            place = accounts.add_institution(conn, PROGRAM, house)
            people = [
                accounts.add_user(
                    conn, PROGRAM, login=f"rater.{number}", display_name=f"Rater {number}", institution_id=place.id
                )
                for number in range(n_raters + 1)
            ]
            project = projects.create_project(conn, Actor(people[-1].id), "Hearts", seed=1)
            for person in people[:-1]:
                roles.grant_role(conn, PROGRAM, project.id, person.id, "rater")
            version = projects.publish_codebook(conn, PROGRAM, project.id, CODEBOOK).version
        return cls(database, project.id, version.id, Actor(people[-1].id), [Actor(person.id) for person in people[:-1]])

    def open_round(self, items: Sequence[PlannedItem], kind: str = "main", **more: Any) -> Round:
        """A round for everybody; without retests, which are drawn by random ids, unless settings say so."""
        more.setdefault("settings", RoundSettings(retest_share=0))
        with self.database.write() as conn:
            return rounds.open_round(
                conn, self.lead, self.project_id, kind=kind, title="Round", codebook_version_id=self.codebook_version_id,
                items=items, rater_ids=[rater.user_id or "" for rater in self.raters], **more,
            )  # fmt: skip

    def next(self, rater: Actor, round_id: str) -> Any:
        """What a rater gets."""
        with self.database.write() as conn:
            return next_assignment(conn, rater, round_id)

    def submit(self, held: Assignment, category: str = "disease", **sent: Any) -> Accepted:
        """A rater's answer."""
        with self.database.write() as conn:
            name = sent.pop("client_uuid", str(uuid.uuid4()))
            version = sent.pop("version", held.version)
            return submissions.submit(
                conn, Actor(held.rater_id), held.id, {"category": category}, Sent(name, version, **sent)
            )
