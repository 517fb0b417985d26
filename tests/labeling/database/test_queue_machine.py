"""Whatever raters, leases and clocks do, in whatever order: no slot twice, nothing lost, nothing beyond the overlap."""

import shutil
import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from labeling.database import assignments, integrity, schema, submissions
from labeling.database.assignments import Assignment, Empty
from labeling.database.clock import Clock
from labeling.database.connection import Database
from labeling.database.errors import Conflict, NotAllowed, NotFound
from labeling.database.submissions import Sent
from labeling.round_settings import RoundSettings
from tests.labeling.desk import Desk, Wall, plan

RATERS = st.integers(0, 3)
CODES = st.sampled_from(("disease", "drug", "format", "cannot_judge"))
TEMPLATE: list[Path] = []


@pytest.fixture(autouse=True, scope="module")
def fresh(template: Path) -> None:
    TEMPLATE[:] = [template]


class Queue(RuleBasedStateMachine):
    """Four raters, a round of a few items of every kind."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "j.db"
        shutil.copy(TEMPLATE[0], path)
        self.wall = Wall()
        self.database = Database.open(path, clock=Clock(self.wall, self.wall.pace))
        self.desk = Desk.of(self.database)
        items = plan(2, slots=2) + plan(2, "adaptive", 2, 10) + plan(1, "single", 1, 20)
        items += plan(1, "gold", 4, 30, gold={"category": "drug"})
        self.round = self.desk.open_round(items, settings=RoundSettings(retest_share=0.5))
        self.held: dict[int, list[Assignment]] = {number: [] for number in range(4)}
        self.acknowledged: dict[str, str] = {}
        self.withdrawn: set[str] = set()

    @rule(rater=RATERS)
    def claim(self, rater: int) -> None:
        given = self.desk.next(self.desk.raters[rater], self.round.id)
        if not isinstance(given, Empty):
            self.held[rater].append(given)

    @rule(rater=RATERS, code=CODES, again=st.booleans())
    def submit(self, rater: int, code: str, again: bool) -> None:
        """Anything ever held, in its oldest form, is sent; sometimes twice."""
        for given in self.held[rater][-2:]:
            name = str(uuid.uuid4())
            try:
                accepted = self.desk.submit(given, code, client_uuid=name)
            except (Conflict, NotAllowed):
                continue
            self.acknowledged[accepted.judgement_id] = name
            if again:
                assert self.desk.submit(given, code, client_uuid=name).judgement_id == accepted.judgement_id

    @rule(rater=RATERS, reason=st.sampled_from(("outside_expertise", "possible_phi")))
    def skip(self, rater: int, reason: str) -> None:
        for given in self.held[rater][-1:]:
            try:
                with self.database.write() as conn:
                    assignments.skip(conn, self.desk.raters[rater], given.id, reason, version=given.version)
            except (Conflict, NotAllowed):
                pass

    @rule(rater=RATERS)
    def release(self, rater: int) -> None:
        for given in self.held[rater][-1:]:
            try:
                with self.database.write() as conn:
                    assignments.release(conn, self.desk.raters[rater], given.id, version=given.version)
            except (Conflict, NotAllowed):
                pass

    @rule(rater=RATERS, code=CODES)
    def undo_and_change(self, rater: int, code: str) -> None:
        try:
            with self.database.write() as conn:
                back = submissions.undo_last(conn, self.desk.raters[rater], self.round.id)
                sent = Sent(str(uuid.uuid4()), back.version)
                accepted = submissions.submit(conn, self.desk.raters[rater], back.id, {"category": code}, sent)
        except (NotFound, NotAllowed):
            return
        self.acknowledged[accepted.judgement_id] = sent.client_uuid

    @rule(minutes=st.sampled_from((1, 31, 60 * 24 * 15)))
    def time_passes(self, minutes: int) -> None:
        self.wall.pass_(minutes=minutes)

    @rule(hours=st.sampled_from((-48, 5)))
    def clock_jumps(self, hours: int) -> None:
        from datetime import timedelta

        self.wall.at += timedelta(hours=hours)

    @invariant()
    def holds(self) -> None:
        with self.database.read() as conn:
            given = conn.execute(select(schema.assignment)).all()
            items = {row.id: row for row in conn.execute(select(schema.item)).all()}
            stored = set(conn.execute(select(schema.judgement.c.id)).scalars())
        assert set(self.acknowledged) <= stored
        assert len({(row.item_id, row.rater_id) for row in given}) == len(given)
        taken = [(row.item_id, row.slot) for row in given if row.state in ("open", "submitted")]
        assert len(set(taken)) == len(taken)
        for item in items.values():
            n_held = sum(held == item.id for held, _ in taken)
            assert item.n_held == n_held <= item.slots
            n_submitted = sum(row.item_id == item.id and row.state == "submitted" for row in given)
            assert item.n_submitted == n_submitted
            assert item.only_for is None or {row.rater_id for row in given if row.item_id == item.id} <= {item.only_for}

    def teardown(self) -> None:
        if hasattr(self, "database"):
            with self.database.read() as conn:
                assert integrity.verify(conn) == []
            self.database.close()
            self.folder.cleanup()


Queue.TestCase.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestQueue = Queue.TestCase
