"""Detection tasks: made from passages that the label's authors have not seen, where the database holds some."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from labeling.database import detection, rounds, schema
from labeling.database.connection import Database
from labeling.database.rounds import PlannedItem
from labeling.database.transaction import PROGRAM
from labeling.evidence import Context, Snapshot
from labeling.exchange.export import ExportConfig, export
from labeling.exchange.merge import merge
from labeling.exchange.reading import read
from sae.errors import UserError
from tests.labeling.desk import SAE, Desk

LABEL = {(SAE.hook_point, SAE.sae_id, 0): "hearts"}


def evidence(word: str, n_each: int, first: int = 0, n_held_out: int = 0) -> Snapshot:
    """Passages that fire and as many that do not."""
    contexts = [
        Context(
            "contrast" if is_silent else "top", first + 2 * n + is_silent, 0, n < n_held_out, (word, f" {n}"),
            (0.0, 0.0 if is_silent else 1.0 + n), 1, None,
        )
        for n in range(n_each) for is_silent in (False, True)
    ]  # fmt: skip
    return Snapshot(SAE, 0, 0.01, 20.0, tuple(contexts), (), (), "clinic", "0" * 32, "test")


@pytest.fixture
def desk(sqlite: Path):
    with Database.open(sqlite) as database:
        yield Desk.of(database, n_raters=3)


def judged(desk: Desk, snapshot: Snapshot) -> None:
    opened = desk.open_round([PlannedItem(snapshot, "irr_fixed", 2)])
    for rater in desk.raters[:2]:
        desk.submit(desk.next(rater, opened.id))


def texts(desk: Desk) -> list[str]:
    """The passages of the one task of a new detection round."""
    with desk.database.write() as conn:
        opened = detection.open_detection(
            conn, desk.lead, desk.project_id, codebook_version_id=desk.codebook_version_id,
            rater_ids=[desk.raters[2].user_id or ""], labels=LABEL,
        )  # fmt: skip
        details = conn.execute(select(schema.item.c.detail).where(schema.item.c.round_id == opened.id)).scalars().all()
        rounds.close_round(conn, desk.lead, opened.id)
    (detail,) = details
    return ["".join(one["tokens"]) for one in json.loads(detail)["contexts"]]


def test_passages_that_no_author_was_shown_come_first(desk: Desk):
    desk.open_round([PlannedItem(evidence("fresh", 4, first=100), "irr_fixed", 2)])
    with desk.database.write() as conn:
        rounds.close_round(conn, desk.lead, rounds.rounds(conn, desk.project_id)[0].id)
    judged(desk, evidence("seen", 8))
    found = texts(desk)
    assert len(found) == 8
    assert all(text.startswith("fresh") for text in found)


def test_of_evidence_that_was_judged_held_out_documents_come_first(desk: Desk):
    judged(desk, evidence("seen", 12, n_held_out=8))
    assert sorted({text.split()[1] for text in texts(desk)}) == [str(n) for n in range(8)]


def test_too_few_passages_make_no_task(desk: Desk):
    judged(desk, evidence("seen", 3))
    with pytest.raises(UserError, match="with 4 passages in which it fires and 4 in which it is silent"):
        texts(desk)


def test_evidence_that_stayed_elsewhere_is_left_out(desk: Desk, tmp_path: Path):
    judged(desk, evidence("seen", 8))
    with desk.database.read() as conn:
        export(conn, desk.project_id, tmp_path / "out", ExportConfig(), "ClinLens test", "1")
    with Database.open(tmp_path / "other.db", create=True) as other, other.write() as conn:
        merge(conn, read(tmp_path / "out"), PROGRAM, other.now())
        assert detection.evidence_of(conn, desk.project_id) == {}
    judged(desk, evidence("other", 8, first=50))
    assert len(texts(desk)) == 16
