"""A review queue for tests of its pages: two hospitals, every role, a round that is under way, hostile evidence."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from labeling.codebook import Codebook
from labeling.codebook_file import default_codebook
from labeling.database import accounts, adjudication, assignments, projects, roles, rounds, sessions, submissions
from labeling.database.connection import Database
from labeling.database.rounds import PlannedItem
from labeling.database.sessions import NewSession
from labeling.database.submissions import Sent
from labeling.database.transaction import PROGRAM, Actor
from labeling.evidence import Context, SAERef, Snapshot
from labeling.web.application import create
from labeling.web.config import WebConfig

PASSWORD = "four unrelated wooden ducks"
HOSTILE = (
    "<script>window.broken=1</script>",
    "<img src=x onerror=window.broken=1>",
    '"><svg onload=window.broken=1>',
    "javascript:window.broken=1",
    "{{ 7*7 }}${7*7}<%= 7*7 %>",
    "\u202egnp.exe\u0000\u200b",
    "</textarea><iframe src=//evil.example>",
    "&lt;b&gt;&#x3c;",
)
SECRET = "zebrafish"
"""In every answer of a peer's, so that a leak shows."""
GOLD_SECRET = "quokka"
ROLES = ("anonymous", "outsider", "administrator", "rater", "senior", "analyst", "lead")
PEOPLE = {
    "administrator": ("ann.admin", "Ann Alder", "North"),
    "lead": ("leo.lead", "Leo Larch", "North"),
    "rater": ("rae.rater", "Rae Rowan", "North"),
    "peer": ("pia.peer", "Pia Poplar", "South"),
    "second_peer": ("sol.peer", "Sol Spruce", "South"),
    "senior": ("sam.senior", "Sam Sequoia", "South"),
    "analyst": ("amy.analyst", "Amy Aspen", "North"),
    "outsider": ("oda.outsider", "Oda Oak", "South"),
}
SAE = SAERef("clinic", "0" * 32, "blocks.2.hook_resid_post", "topk-x4-k16-00000000", "0" * 64, 512)


def snapshot(number: int) -> Snapshot:
    """Evidence of three kinds, with hostile text in it."""
    tokens = (" patient", " has", f" fever{number}", " and ", *HOSTILE)
    acts = (0.0, 0.2, 3.2, 1.1, *([0.0] * len(HOSTILE)))
    contexts = [
        Context("top", 10 * number, 2, True, tokens, acts, 2, None),
        Context("quantile", 10 * number + 1, 2, False, tokens, acts, 2, 0),
        Context("quantile", 10 * number + 2, 2, False, tokens, acts, 2, 3),
        Context("contrast", 10 * number + 3, 2, True, tokens, (0.0,) * len(tokens), 1, None),
    ]
    logits = ((" fever", 1.5), (HOSTILE[0], 0.5))
    return Snapshot(SAE, number, 0.013, 3.2, tuple(contexts), logits, logits, "clinic", "0" * 32, "test")


def answers(category: str = "medication", words: str = SECRET) -> dict[str, Any]:
    """Whole answers to the default codebook."""
    return {
        "category": category,
        "concept": {"codes": ["heart_failure"], "words": words},
        "interpretability": "s4",
        "monosemanticity": "s3",
        "clinical_relevance": "s2",
        "protected_attribute": "none",
        "confidence": "s4",
        "rationale": {
            "text": f"{words}: it is fever in every passage.",
            "spans": [{"context": 0, "start": 2, "end": 3}],
        },
    }


@dataclass
class Premises:
    """A server and those who use it."""

    database: Database
    app: FastAPI
    config: WebConfig
    ids: dict[str, str] = field(default_factory=dict)
    """Role → user id."""
    project: str = ""
    codebook: str = ""
    round: str = ""
    closed_round: str = ""
    assignment: str = ""
    """Of the rater, open."""
    item: str = ""
    """Due to a senior."""

    def actor(self, role: str) -> Actor:
        """Who acts."""
        return Actor(self.ids[role])

    def session(self, role: str) -> NewSession | None:
        """A fresh session; none of somebody anonymous."""
        if role == "anonymous":
            return None
        with self.database.write() as conn:
            return sessions.open_session(conn, self.ids[role], address="127.0.0.1", agent="a test")

    @contextmanager
    def visitor(self, role: str, **more: Any) -> Iterator[TestClient]:
        """Somebody's client, with the token that their pages hold."""
        client = TestClient(
            self.app, base_url="http://127.0.0.1:8765", raise_server_exceptions=False, follow_redirects=False, **more
        )
        session = self.session(role)
        if session is not None:
            client.cookies.set(self.config.cookie, session.token)
            client.headers["X-CSRF-Token"] = session.csrf
        with client:
            yield client

    def places(self) -> dict[str, str]:
        """What the parameters of paths stand for."""
        return {
            "project_id": self.project, "round_id": self.round, "codebook_id": self.codebook, "item_id": self.item,
            "assignment_id": self.assignment, "user_id": self.ids["outsider"], "token": "x" * 43, "version": "0", "name": "x.css",
            "rule_id": "none", "report_id": "none",
        }  # fmt: skip


def furnish(folder: Path, **config: Any) -> Premises:
    """A database with everybody, and the application on it."""
    database = Database.open(folder / "clinlens.db", create=True)
    cfg = WebConfig(requests_per_minute=1_000_000, sign_ins_per_minute=1_000_000, **config)
    found = Premises(database, create(cfg, folder / "clinlens.db", database=database), cfg)
    tokens = {}
    with database.write() as conn:
        for role, (login, name, house) in PEOPLE.items():
            home = accounts.add_institution(conn, PROGRAM, f"{house} Hospital")
            user = accounts.add_user(
                conn,
                PROGRAM,
                login=login,
                display_name=name,
                institution_id=home.id,
                is_administrator=role == "administrator",
            )
            found.ids[role] = user.id
            tokens[role] = accounts.invite(conn, PROGRAM, user.id)
    for token in tokens.values():
        accounts.accept_invitation(database, token, PASSWORD)
    open_shop(found, default_codebook())
    return found


def open_shop(found: Premises, codebook: Codebook) -> None:
    """A project, a closed round, a round under way with an item that is due to a senior."""
    with found.database.write() as conn:
        lead = found.actor("lead")
        project = projects.create_project(conn, lead, "Fevers", seed=1, data_use_note="Made up.")
        found.project = project.id
        for role in ("rater", "senior", "analyst"):
            roles.grant_role(conn, lead, project.id, found.ids[role], role)
        for role in ("peer", "second_peer"):
            roles.grant_role(conn, lead, project.id, found.ids[role], "rater")
        found.codebook = projects.publish_codebook(conn, lead, project.id, codebook, "first").version.id
    raters = [found.ids[role] for role in ("rater", "peer", "second_peer")]
    found.closed_round = a_round(found, "Closed round", [PlannedItem(snapshot(90), "irr_fixed", 3)], raters)
    for role in ("rater", "peer", "second_peer"):
        judge(found, role, found.closed_round)
    with found.database.write() as conn:
        rounds.close_round(conn, found.actor("lead"), found.closed_round)
    peers = [found.ids[role] for role in ("peer", "second_peer")]
    disputed = a_round(found, "Disputed round", [PlannedItem(snapshot(91), "irr_fixed", 2)], peers)
    judge(found, "peer", disputed, answers("medication"))
    judge(found, "second_peer", disputed, answers("diagnosis"))
    gold = {"gold": {"category": "diagnosis"}, "gold_source": GOLD_SECRET}
    items = [PlannedItem(snapshot(number), "irr_fixed", 3) for number in range(6)]
    items += [PlannedItem(snapshot(number), "adaptive", 2) for number in range(6, 10)]
    items += [PlannedItem(snapshot(number), "gold", 3, **gold) for number in range(10, 12)]
    found.round = a_round(found, "Main round", items, raters)
    for _ in range(8):
        judge(found, "peer", found.round)
    with found.database.write() as conn:
        given = assignments.next_assignment(conn, found.actor("rater"), found.round)
        assert isinstance(given, assignments.Assignment)
        found.assignment = given.id
    with found.database.read() as conn:
        due = adjudication.due(conn, found.actor("senior"), found.project)
        found.item = due[0].item_id


def a_round(found: Premises, title: str, items: list[PlannedItem], raters: list[str]) -> str:
    """An open round, without extra raters where two disagree."""
    from labeling.queue_policy import QueuePolicy
    from labeling.round_settings import RoundSettings

    settings = RoundSettings(queue=QueuePolicy(max_extra_rounds=0), retest_share=0)
    with found.database.write() as conn:
        return rounds.open_round(
            conn, found.actor("lead"), found.project, kind="main", title=title, codebook_version_id=found.codebook,
            items=items, rater_ids=raters, settings=settings, seed=3,
        ).id  # fmt: skip


def judge(found: Premises, role: str, round_id: str, given: dict[str, Any] | None = None) -> None:
    """Somebody's next judgement."""
    with found.database.write() as conn:
        held = assignments.next_assignment(conn, found.actor(role), round_id)
        if isinstance(held, assignments.Assignment):
            submissions.submit(
                conn,
                found.actor(role),
                held.id,
                given or answers(),
                Sent(str(uuid.uuid4()), held.version, 30_000, 40_000),
            )
