"""Two houses' facts in one database: what came from elsewhere stands beside one's own and replaces nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling.codebook import Codebook
from labeling.database import judgements, projects
from labeling.database.connection import Database
from labeling.database.transaction import PROGRAM
from labeling.exchange.export import ExportConfig, export
from labeling.exchange.merge import merge
from labeling.exchange.reading import read
from tests.labeling.desk import CODEBOOK, Desk, plan

OTHER = Codebook.model_validate({**CODEBOOK.model_dump(mode="json"), "title": "The other house's"})
LATER = Codebook.model_validate({**CODEBOOK.model_dump(mode="json"), "title": "Our second"})


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Desk]:
    with Database.open(tmp_path / "ours.db", create=True) as database:
        yield Desk.of(database, n_raters=2)


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Desk]:
    with Database.open(tmp_path / "theirs.db", create=True) as database:
        yield Desk.of(database, n_raters=2, house="University Hospital")


def rate(desk: Desk, category: str) -> None:
    round_id = desk.open_round(plan(1, slots=2)).id
    for rater in desk.raters:
        desk.submit(desk.next(rater, round_id), category)


def take_in(desk: Desk, other: Desk, folder: Path) -> dict:
    with other.database.read() as conn:
        export(conn, other.project_id, folder, ExportConfig(), "ClinLens test", "1")
    with desk.database.write() as conn:
        return merge(conn, read(folder), PROGRAM, desk.database.now(), desk.project_id)


def label_of(desk: Desk) -> judgements.FeatureLabel:
    with desk.database.read() as conn:
        (label,) = judgements.labels_of_features(conn, desk.project_id).values()
    return label


def current(desk: Desk) -> projects.CodebookVersion:
    with desk.database.read() as conn:
        found = projects.latest_codebook(conn, desk.project_id)
    assert found is not None
    return found


def test_judgements_of_two_houses_under_the_same_codebook_count_together(ours: Desk, theirs: Desk, tmp_path: Path):
    rate(ours, "disease")
    rate(theirs, "drug")
    take_in(ours, theirs, tmp_path / "export")
    label = label_of(ours)
    assert label.n_raters == 4
    assert label.distribution == {"disease": 0.5, "drug": 0.5}


def test_another_houses_codebook_replaces_neither_labels_nor_the_current_version(
    ours: Desk, theirs: Desk, tmp_path: Path
):
    with theirs.database.write() as conn:
        theirs.codebook_version_id = projects.publish_codebook(conn, PROGRAM, theirs.project_id, OTHER).version.id
    rate(ours, "disease")
    rate(theirs, "drug")
    take_in(ours, theirs, tmp_path / "export")
    assert label_of(ours).distribution == {"disease": 1.0}
    assert current(ours).id == ours.codebook_version_id
    with ours.database.write() as conn:
        made = projects.publish_codebook(conn, PROGRAM, ours.project_id, LATER).version
        numbers = [version.n for version in projects.codebooks(conn, ours.project_id)]
    assert (made.n, numbers) == (4, [1, 2, 3, 4]), "theirs have 2 and 3"
    assert current(ours).id == made.id


def test_where_no_codebook_was_published_the_newest_that_came_is_current(theirs: Desk, tmp_path: Path):
    rate(theirs, "drug")
    with theirs.database.write() as conn:
        made = projects.publish_codebook(conn, PROGRAM, theirs.project_id, LATER).version
    with theirs.database.read() as conn:
        export(conn, theirs.project_id, tmp_path / "export", ExportConfig(), "ClinLens test", "1")
    with Database.open(tmp_path / "empty.db", create=True) as database:
        with database.write() as conn:
            into = merge(conn, read(tmp_path / "export"), PROGRAM, database.now())["project"]
        with database.read() as conn:
            found = projects.latest_codebook(conn, into)
    assert found is not None
    assert found.id == made.id


def test_tables_for_other_tools_are_of_the_current_codebook(ours: Desk, theirs: Desk, tmp_path: Path):
    with theirs.database.write() as conn:
        theirs.codebook_version_id = projects.publish_codebook(conn, PROGRAM, theirs.project_id, OTHER).version.id
    rate(ours, "disease")
    rate(theirs, "drug")
    take_in(ours, theirs, tmp_path / "export")
    with ours.database.read() as conn:
        export(conn, ours.project_id, tmp_path / "both", ExportConfig(neuronpedia=True), "ClinLens test", "1")
    text = (tmp_path / "both/neuronpedia-explanations.json").read_text()
    assert "disease" in text
    assert "drug" not in text
