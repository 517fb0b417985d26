"""Explanations for Neuronpedia: one per feature, in the physicians' words, as decided, and never without the caveat."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labeling.codebook import Codebook
from labeling.database import adjudication, projects, roles, submissions
from labeling.database.connection import Database
from labeling.database.submissions import Sent
from labeling.database.transaction import PROGRAM
from labeling.exchange import neuronpedia
from labeling.exchange.export import ExportConfig, export
from labeling.identifiers import new_id
from labeling.queue_policy import QueuePolicy
from labeling.round_settings import RoundSettings
from tests.labeling.desk import CODEBOOK, Desk, plan

WITH_CONCEPTS = Codebook.model_validate(
    {
        **CODEBOOK.model_dump(mode="json"),
        "questions": [
            *CODEBOOK.model_dump(mode="json")["questions"],
            {"key": "concept", "kind": "concepts", "name": "Concept", "is_required": False},
        ],
        "vocabulary": {"name": "Small 1", "terms": [{"code": "T1", "name": "Heart failure"}]},
    }
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Database.open(tmp_path / "ours.db", create=True) as database:
        desk = Desk.of(database, n_raters=3)
        with database.write() as conn:
            made = projects.publish_codebook(conn, PROGRAM, desk.project_id, WITH_CONCEPTS)
            roles.grant_role(conn, PROGRAM, desk.project_id, desk.lead.user_id or "", "senior")
        desk.codebook_version_id = made.version.id
        yield desk


def judge(desk: Desk, answers: list[dict[str, Any]]) -> None:
    settings = RoundSettings(retest_share=0, queue=QueuePolicy(max_extra_rounds=0))
    round_id = desk.open_round(plan(1), settings=settings).id
    for rater, answer in zip(desk.raters, answers, strict=True):
        held = desk.next(rater, round_id)
        with desk.database.write() as conn:
            submissions.submit(conn, rater, held.id, answer, Sent(new_id(), held.version))


def decide(desk: Desk, disposition: str, answers: dict[str, Any]) -> None:
    why = "The passages name a drug and its dose."
    with desk.database.write() as conn:
        item_id = adjudication.due(conn, desk.lead, desk.project_id)[0].item_id
        made = adjudication.Decision(disposition, answers, "ambiguous_text", why, new_id(), 0)
        adjudication.decide(conn, desk.lead, item_id, made)


def explained(desk: Desk, folder: Path) -> tuple[list[dict[str, Any]], int]:
    with desk.database.read() as conn:
        found = export(conn, desk.project_id, folder, ExportConfig(neuronpedia=True), "ClinLens test", "1")
    return json.loads((folder / neuronpedia.FILE).read_text()), found["n_left_out_as_ambiguous"]


def test_a_feature_asked_about_twice_has_one_explanation_with_words_codes_and_category(desk: Desk, tmp_path: Path):
    said = {"category": "disease", "concept": {"words": "weak heart", "codes": ["T1"]}}
    judge(desk, [said, said, {"category": "disease"}])
    judge(desk, [{"category": "disease"}] * 3)
    rows, n_left_out = explained(desk, tmp_path / "one")
    assert [row["description"] for row in rows] == ["weak heart; Heart failure [T1] (disease)"]
    assert rows[0]["notes"].startswith("3 physicians; probability ")
    assert rows[0]["notes"].endswith(neuronpedia.CAVEAT)
    assert n_left_out == 0


def test_what_was_decided_is_the_explanation(desk: Desk, tmp_path: Path):
    judge(desk, [{"category": code} for code in ("disease", "disease", "drug")])
    decide(desk, "decided", {"category": "format"})
    rows, _ = explained(desk, tmp_path / "one")
    assert [row["description"] for row in rows] == ["format"]
    assert "decided by a senior" in rows[0]["notes"]


def test_what_was_decided_to_be_ambiguous_is_left_out_and_counted(desk: Desk, tmp_path: Path):
    judge(desk, [{"category": code} for code in ("disease", "disease", "drug")])
    decide(desk, "irreducibly_ambiguous", {})
    assert explained(desk, tmp_path / "one") == ([], 1)
