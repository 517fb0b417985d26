"""Exports hold everything, come out the same twice, and go into another database and out of it unchanged."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from sqlalchemy import Connection, func, select

from labeling.database import accounts, adjudication, assignments, roles, rounds, schema, submissions
from labeling.database.assignments import Assignment, next_assignment
from labeling.database.connection import Database
from labeling.database.submissions import Sent
from labeling.database.transaction import PROGRAM, Actor
from labeling.exchange import manifest as manifests
from labeling.exchange.export import ExportConfig, export
from labeling.exchange.merge import merge
from labeling.exchange.reading import Export, read
from labeling.identifiers import new_id, sha256
from labeling.queue_policy import QueuePolicy
from labeling.round_settings import RoundSettings
from sae import artefact
from sae.errors import UserError
from tests.labeling.desk import Desk, plan

FACTS = {"saes", "raters", "rounds", "items", "judgements", "skips", "adjudications", "snapshots", "soft_labels"}


def test_an_export_goes_into_an_empty_database_and_comes_out_equal(rated: Desk, tmp_path: Path):
    written(rated, tmp_path / "one", evidence=True)
    with Database.open(tmp_path / "other.db", create=True) as other:
        with other.write() as conn:
            found = merge(conn, read(tmp_path / "one"), PROGRAM, other.now())
        with other.read() as conn:
            export(conn, found["project"], tmp_path / "two", ExportConfig(evidence=True), "ClinLens test", "1")
    for path in sorted((tmp_path / "one").iterdir()):
        if path.name not in ("audit.jsonl", manifests.FILE):
            assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
    one, two = (manifests.parsed(tmp_path / name) for name in ("one", "two"))
    assert one.input_digest == two.input_digest


def test_an_export_made_twice_has_the_same_bytes(rated: Desk, tmp_path: Path):
    written(rated, tmp_path / "one", agreement=True, cleanlab=True, neuronpedia=True)
    written(rated, tmp_path / "two", agreement=True, cleanlab=True, neuronpedia=True)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)


def test_every_judgement_is_one_row_in_every_format(rated: Desk, tmp_path: Path):
    found = written(rated, tmp_path / "one")
    lines = (tmp_path / "one/judgements.jsonl").read_text().splitlines()
    assert len(lines) == found["n_judgements"] == 12
    assert parquet.read_table(tmp_path / "one/judgements.parquet").num_rows == 12
    assert len((tmp_path / "one/judgements.csv").read_text().splitlines()) == 13


def test_names_and_text_of_the_corpus_stay_at_home_unless_asked_for(rated: Desk, tmp_path: Path):
    written(rated, tmp_path / "plain")
    everything = b"".join(path.read_bytes() for path in (tmp_path / "plain").iterdir())
    assert b" heart" not in everything
    assert b"rater." not in everything
    assert b"Rater 1" not in everything
    found = written(rated, tmp_path / "full", evidence=True, names=True)
    assert "text of the corpus" in found["warning"]
    assert b" heart" in (tmp_path / "full/snapshots.jsonl").read_bytes()
    assert b"Rater 1" in (tmp_path / "full/raters.jsonl").read_bytes()


def test_the_same_export_twice_is_imported_once(rated: Desk, tmp_path: Path):
    written(rated, tmp_path / "one")
    with Database.open(tmp_path / "other.db", create=True) as other:
        with other.write() as conn:
            first = merge(conn, read(tmp_path / "one"), PROGRAM, other.now())
        with other.write() as conn:
            second = merge(conn, read(tmp_path / "one"), PROGRAM, other.now())
    assert first["new"]["judgement"] == 12
    assert second["is_known"]
    assert second["new"] == {}


def test_evidence_that_stayed_away_leaves_its_hash(rated: Desk, tmp_path: Path):
    written(rated, tmp_path / "one")
    with Database.open(tmp_path / "other.db", create=True) as other:
        with other.write() as conn:
            found = merge(conn, read(tmp_path / "one"), PROGRAM, other.now())
        with other.read() as conn:
            export(conn, found["project"], tmp_path / "two", ExportConfig(evidence=True), "ClinLens test", "1")
    assert found["new"]["withheld_snapshot"] == 4
    assert not (tmp_path / "two/snapshots.jsonl").exists()
    assert (tmp_path / "one/items.jsonl").read_bytes() == (tmp_path / "two/items.jsonl").read_bytes()


def test_two_institutions_are_merged_into_one_table(rated: Desk, tmp_path: Path):
    with Database.open(tmp_path / "other.db", create=True) as database:
        other = Desk.of(database, n_raters=2, house="University Hospital")
        rate(other, n_items=3, n_raters=2)
        written(other, tmp_path / "theirs")
    with rated.database.write() as conn:
        found = merge(conn, read(tmp_path / "theirs"), PROGRAM, rated.database.now())
    assert found["project"] == rated.project_id
    written(rated, tmp_path / "both")
    rows = [json.loads(line) for line in (tmp_path / "both/judgements.jsonl").read_text().splitlines()]
    assert len(rows) == 12 + 6
    assert {row["institution"] for row in rows} == {"General Hospital", "University Hospital"}
    assert {row["codebook"] for row in rows} == {1, 2}
    assert sorted({row["round"] for row in rows}) == [1, 2]


def test_raters_of_two_houses_on_the_same_items_stand_side_by_side(rated: Desk, tmp_path: Path):
    written(rated, tmp_path / "ours", evidence=True)
    with Database.open(tmp_path / "other.db", create=True) as other:
        with other.write() as conn:
            merge(conn, read(tmp_path / "ours"), PROGRAM, other.now())
        add_rater_there(other, rated.project_id)
        with other.read() as conn:
            export(conn, rated.project_id, tmp_path / "theirs", ExportConfig(), "ClinLens test", "1")
    with rated.database.write() as conn:
        found = merge(conn, read(tmp_path / "theirs"), PROGRAM, rated.database.now())
    assert found["new"] == {"institution": 1, "user_account": 1, "assignment": 1, "judgement": 1, "item": 0}
    written(rated, tmp_path / "both")
    assert len((tmp_path / "both/judgements.jsonl").read_text().splitlines()) == 13


def test_a_round_that_travels_is_rated_where_it_comes_to_and_comes_home(tmp_path: Path):
    with Database.open(tmp_path / "ours.db", create=True) as database:
        desk = Desk.of(database, n_raters=1)
        round_id = desk.open_round(plan(2, slots=2)).id
        for _ in range(2):
            desk.submit(desk.next(desk.raters[0], round_id))
        written(desk, tmp_path / "ours", evidence=True)
        with Database.open(tmp_path / "theirs.db", create=True) as other:
            with other.write() as conn:
                merge(conn, read(tmp_path / "ours"), PROGRAM, other.now())
                house = accounts.add_institution(conn, PROGRAM, "University Hospital")
                rater = accounts.add_user(conn, PROGRAM, login="x.y", display_name="X Y", institution_id=house.id)
                rounds.add_raters(conn, PROGRAM, round_id, [rater.id])
            for _ in range(2):
                with other.write() as conn:
                    held = next_assignment(conn, Actor(rater.id), round_id)
                    assert isinstance(held, Assignment)
                    submissions.submit(
                        conn, Actor(rater.id), held.id, {"category": "drug"}, Sent(new_id(), held.version)
                    )
            with other.read() as conn:
                export(conn, desk.project_id, tmp_path / "theirs", ExportConfig(), "ClinLens test", "1")
        with database.write() as conn:
            merge(conn, read(tmp_path / "theirs"), PROGRAM, database.now())
        with database.read() as conn:
            houses = per_item(conn)
    assert sorted(houses.values()) == [2, 2]


def per_item(conn: Connection) -> dict[str, int]:
    """Raters of each item who submitted."""
    held = schema.assignment.c
    query = select(held.item_id, func.count(held.rater_id.distinct())).where(held.state == "submitted")
    return {row[0]: row[1] for row in conn.execute(query.group_by(held.item_id))}


BAD = {
    "words in place of a rationale": ("judgements.jsonl", "answers", {"category": "drug", "rationale": "because"}),
    "a passage without its ends": (
        "judgements.jsonl", "answers", {"category": "drug", "rationale": {"spans": [{"context": "a"}], "text": ""}},
    ),
    "a truth that is no answer": ("items.jsonl", "gold", {"category": ["drug"]}),
    "settings of nothing": ("rounds.jsonl", "policy", {"nonsense": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_foreign_export_with_what_no_rater_could_say_is_refused_before_anything_is_taken_in(
    rated: Desk, tmp_path: Path, name: str
):
    file, field, value = BAD[name]
    written(rated, tmp_path / "one")
    path = tmp_path / "one" / file
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0][field] = value
    if field == "answers":
        lines[0]["answers_sha256"] = sha256(value)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    as_if_written(tmp_path / "one")
    with pytest.raises(UserError, match=rf"{file}, line 1 holds .* Nothing was imported"):
        read(tmp_path / "one")


def as_if_written(folder: Path) -> None:
    """Gives every file the hash that the manifest states of it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for file in manifest["files"]:
        data = (folder / file).read_bytes()
        manifest["files"][file] = manifests.listed(data).model_dump()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def rated(tmp_path: Path):
    with Database.open(tmp_path / "ours.db", create=True) as database:
        desk = Desk.of(database, n_raters=3)
        rate(desk, n_items=4, n_raters=3)
        yield desk


def rate(desk: Desk, n_items: int, n_raters: int) -> None:
    round_id = desk.open_round(plan(n_items, slots=n_raters)).id
    for number, rater in enumerate(desk.raters[:n_raters]):
        for place in range(n_items):
            held = desk.next(rater, round_id)
            desk.submit(held, ("disease", "drug", "format")[(number * place) % 3])


def written(desk: Desk, folder: Path, **asked: bool) -> dict:
    with desk.database.read() as conn:
        return export(conn, desk.project_id, folder, ExportConfig(**asked), "ClinLens test", "1")


def add_rater_there(database: Database, project_id: str) -> None:
    from sqlalchemy import insert, select

    from labeling.database import accounts, audit, schema
    from labeling.identifiers import canonical, new_id, sha256

    answers = {"category": "drug"}
    with database.write() as conn:
        house = accounts.add_institution(conn, PROGRAM, "University Hospital")
        rater = accounts.add_user(conn, PROGRAM, login="x.y", display_name="X Y", institution_id=house.id)
        item = conn.execute(select(schema.item).order_by(schema.item.c.id)).first()
        held = {
            "id": new_id(), "item_id": item.id, "round_id": item.round_id, "rater_id": rater.id, "slot": 99, "stratum": "irr_fixed",
            "state": "submitted", "reason": "{}", "created_at": database.now(),
        }  # fmt: skip
        conn.execute(insert(schema.assignment), held)
        version = conn.execute(select(schema.codebook_version.c.id)).scalar_one()
        row = {
            "id": new_id(), "assignment_id": held["id"], "revision": 1, "codebook_version_id": version,
            "snapshot_sha256": item.snapshot_sha256, "body": canonical(answers), "body_sha256": sha256(answers), "active_ms": 1,
            "wall_ms": 1, "has_seen_explanation": 0, "is_late": 0, "submitted_at": database.now(), "client_uuid": new_id(),
        }  # fmt: skip
        audit.record(conn, schema.judgement, row, project_id, PROGRAM, "judgement_submitted")


@pytest.mark.parametrize("name", ["judgements.jsonl", "codebook-1.json", "raters.jsonl", "soft_labels.csv"])
def test_a_changed_file_is_refused_by_its_hash(rated: Desk, tmp_path: Path, name: str):
    written(rated, tmp_path / "one")
    path = tmp_path / "one" / name
    path.write_bytes(path.read_bytes()[:-2] + b"!\n")
    with pytest.raises(UserError, match=r"has the hash .* it was changed after the export"):
        read(tmp_path / "one")


def test_a_file_too_many_or_too_few_is_refused(rated: Desk, tmp_path: Path):
    written(rated, tmp_path / "one")
    (tmp_path / "one/extra.txt").write_text("x")
    with pytest.raises(UserError, match="manifest does not list"):
        read(tmp_path / "one")
    (tmp_path / "one/extra.txt").unlink()
    (tmp_path / "one/skips.jsonl").unlink()
    with pytest.raises(UserError, match="is missing, expected every file the manifest lists"):
        read(tmp_path / "one")
    (tmp_path / "one/manifest.json").unlink()
    with pytest.raises(UserError, match=r"holds no manifest.json, expected a folder"):
        read(tmp_path / "one")


NOBODY = "00000000-0000-7000-8000-000000000000"
CONTRADICTIONS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "a judgement of another feature": ("judgements.jsonl", {"feature": 77}),
    "a judgement of other evidence": ("judgements.jsonl", {"snapshot_sha256": "1" * 64}),
    "a judgement of another kind of round": ("judgements.jsonl", {"round_kind": "detection"}),
    "a place taken twice": ("items.jsonl", {"place": 1}),
    "a state that there is not": ("items.jsonl", {"state": "nonsense"}),
    "a repetition of nothing": ("items.jsonl", {"retest_of": NOBODY}),
    "a gate that is the round itself": ("rounds.jsonl", {"gate": "id"}),
    "a skip twice": ("skips.jsonl", None),
    "a decision's request twice": ("adjudications.jsonl", None),
    "a decision of an unknown kind": ("adjudications.jsonl", {"error_kind": "whim"}),
    "a decision that is no answer": ("adjudications.jsonl", {"answers": {"category": ["drug"]}}),
    "evidence of no document": ("snapshots.jsonl", {"body": {"contexts": [{"tokens": []}]}}),
    "an autoencoder without a name": ("saes.jsonl", {"body": {}}),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_an_export_whose_manifest_is_right_and_whose_records_contradict_each_other_is_refused(
    settled: Desk, tmp_path: Path, name: str
):
    file, change = CONTRADICTIONS[name]
    written(settled, tmp_path / "one", evidence=True)
    path = tmp_path / "one" / file
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    if change is None:
        lines.append({**lines[0], **({"id": new_id(), "revision": 2} if "client_uuid" in lines[0] else {})})
    for line in lines if change else ():
        line |= {key: line["id"] if value == "id" else value for key, value in (change or {}).items()}
        if "body" in (change or {}):
            line["sha256"] = sha256(line["body"])
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    as_if_written(tmp_path / "one")
    with pytest.raises(UserError, match=rf"{file}, line \d+.* Nothing was imported"):
        read(tmp_path / "one")


def test_what_the_database_refuses_is_one_sentence_without_its_rows(rated: Desk, tmp_path: Path):
    written(rated, tmp_path / "one")
    export_read = read(tmp_path / "one")
    first = export_read.bundle.judgements[0]
    with rated.database.read() as conn:
        before = conn.execute(select(func.count()).select_from(schema.judgement)).scalar_one()
    # a judgement of a new name, under the request's name of one that is here
    twice = first.model_copy(update={"judgement_id": new_id(), "revision": 9})
    changed = Export(
        export_read.manifest.model_copy(update={"software": "another"}),
        replace(export_read.bundle, judgements=(twice,)),
    )
    said = r"contradicts another one.* Nothing was imported"
    with pytest.raises(UserError, match=said) as caught, rated.database.write() as conn:
        merge(conn, changed, PROGRAM, rated.database.now())
    assert first.client_uuid not in str(caught.value)
    assert caught.value.__suppress_context__
    with rated.database.read() as conn:
        assert conn.execute(select(func.count()).select_from(schema.judgement)).scalar_one() == before


@pytest.fixture
def settled(tmp_path: Path):
    """A project with judgements, a skip and a senior's decision."""
    with Database.open(tmp_path / "ours.db", create=True) as database:
        desk = Desk.of(database, n_raters=4)
        settings = RoundSettings(retest_share=0, queue=QueuePolicy(max_extra_rounds=0))
        round_id = desk.open_round(plan(2, slots=3), settings=settings).id
        for rater, answer in zip(desk.raters, ("disease", "drug", "format"), strict=False):
            for _ in range(2):
                desk.submit(desk.next(rater, round_id), answer)
        other = desk.open_round(plan(1, first=5)).id
        held = desk.next(desk.raters[0], other)
        with database.write() as conn:
            assignments.skip(conn, desk.raters[0], held.id, "outside_expertise", version=held.version)
            roles.grant_role(conn, PROGRAM, desk.project_id, desk.lead.user_id or "", "senior")
            due = adjudication.due(conn, desk.lead, desk.project_id)[0].item_id
            made = adjudication.Decision(
                "decided", {"category": "drug"}, "edge_case", "It names a drug and its dose.", new_id(), 0
            )
            adjudication.decide(conn, desk.lead, due, made)
        yield desk


def test_a_whole_project_goes_through_all_checks(settled: Desk, tmp_path: Path):
    written(settled, tmp_path / "one", evidence=True)
    bundle = read(tmp_path / "one").bundle
    assert (len(bundle.skips), len(bundle.adjudications), len(bundle.snapshots)) == (1, 1, 3)


def test_evidence_that_could_name_a_patient_never_leaves(tmp_path: Path):
    with Database.open(tmp_path / "ours.db", create=True) as database:
        desk = Desk.of(database, n_raters=2)
        held = desk.next(desk.raters[0], desk.open_round(plan(2, slots=2)).id)
        with database.write() as conn:
            assignments.skip(conn, desk.raters[0], held.id, "possible_phi", version=held.version)
            item = conn.execute(select(schema.item).where(schema.item.c.id == held.item_id)).one()
        found = written(desk, tmp_path / "one", evidence=True)
    bundle = read(tmp_path / "one").bundle
    assert item.snapshot_sha256 not in {one.sha256 for one in bundle.snapshots}
    assert (len(bundle.snapshots), len(bundle.items), found["n_evidence_withheld"]) == (1, 2, 1)


def test_an_earlier_export_stays_valid_until_the_new_one_is_complete(
    rated: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    written(rated, tmp_path / "one", cleanlab=True)
    before = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    whole = artefact.write_bytes

    def full(path: Path, data: bytes) -> None:
        if path.name == "judgements.csv":
            raise OSError(28, "No space left on device")
        whole(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(artefact, "write_bytes", full)
        with pytest.raises(OSError, match="No space"):
            written(rated, tmp_path / "one", evidence=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()} == before
    read(tmp_path / "one")
    written(rated, tmp_path / "one", evidence=True)
    assert read(tmp_path / "one").manifest.has_evidence
    assert not (tmp_path / "one/cleanlab-labels.csv").exists(), "the earlier export's"


def test_an_export_that_was_killed_while_files_were_swapped_is_made_again(
    rated: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    replace_file = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.name == "items.jsonl":
            raise KeyboardInterrupt
        return replace_file(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            written(rated, tmp_path / "one")
    with pytest.raises(UserError, match=r"holds no manifest.json"):
        read(tmp_path / "one")
    written(rated, tmp_path / "one")
    assert len(read(tmp_path / "one").bundle.judgements) == 12


def test_a_users_own_file_is_never_replaced_whatever_it_is_called(rated: Desk, tmp_path: Path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/judgements.csv").write_text("my own")
    with pytest.raises(UserError, match=r"1 files that no export wrote \(judgements.csv first\)"):
        written(rated, tmp_path / "one")
    assert [path.read_text() for path in (tmp_path / "one").iterdir()] == ["my own"]
