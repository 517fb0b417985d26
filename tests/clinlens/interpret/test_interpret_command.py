"""Both verbs on a tiny run: files, resuming, refusals, the comparison with physicians."""

import json
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import yaml
from sqlalchemy import select

from clinlens.__main__ import main
from clinlens.interpret.physicians import comparison, physicians, pooled
from clinlens.interpret.windows import drawn, special_tokens
from clinlens.labels import DATABASE
from hooks.store import Store
from labeling import demo
from labeling.database import detection, rounds, submissions
from labeling.database.assignments import Empty, next_assignment
from labeling.database.connection import Database
from labeling.database.detection import Marks
from labeling.database.schema import gold, item
from labeling.database.submissions import Sent
from labeling.database.transaction import PROGRAM, Actor
from tests.clinlens.interpret.answering import answering, reader
from tests.labeling import run_folder

POINT = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def config(tiny_model: Path, tiny_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The config of a run with one trained autoencoder and its examples."""
    folder = tmp_path_factory.mktemp("interpret")
    rows = [json.loads(line) for line in tiny_corpus.read_text().splitlines()]
    corpus = folder / "notes.jsonl"
    corpus.write_text("\n".join(json.dumps(row | {"spans": spans_of(row["text"])}) for row in rows))
    path = folder / "run.yaml"
    sections = {
        "folder": str(folder / "run"),
        "model": {"name": str(tiny_model)},
        "corpus": {
            "name": str(corpus), "id_column": "id", "span_column": "spans", "group_column": "patient", "held_out": 0.8,
        },
        "capture": {"hook_points": [POINT], "context_tokens": 24},
        "sae": [{"architecture": "topk", "expansion_factor": 2, "k": 6}],
        "training": {"n_tokens": 9600, "batch_tokens": 32, "lr": 5e-3},
        "examples": {"window_tokens": 8},
        "tracking": {"wandb": "disabled"},
        "engine": {"kind": "inline"},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(sections))
    for verb in ("capture", "train", "examples"):
        main([verb, str(path)])
    return path


def spans_of(text: str) -> list[dict[str, Any]]:
    """Three concepts in each text."""
    starts = {word: text.index(word) for word in ("fever", "pain", "cough")}
    return [{"start": start, "end": start + len(word), "label": word} for word, start in starts.items()]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    main([*arguments, "--json"])
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_features_are_explained_scored_kept_for_the_owner_and_not_asked_for_again(
    config: Path, capsys: pytest.CaptureFixture[str]
):
    asked = ["interpret", str(config), "--model", "tiny", "--set", "n_features=3"]
    with answering() as there:
        first = said(capsys, *asked, "--endpoint", there.url)
        n_asked = len(there.asked)
        again = said(capsys, *asked, "--endpoint", there.url)
        assert len(there.asked) == n_asked > 3
        assert again == first
        said(capsys, *asked, "--endpoint", there.url, "--fresh")
        assert len(there.asked) == 2 * n_asked
    explained = [one for one in first["features"] if one["explanation"] == "the word fever"]
    assert len(first["features"]) == 3
    assert explained
    folder = config.parent / "run" / "interpretation"
    files = [path for path in folder.rglob("*.json") if path.stem.isdigit()]
    assert len(files) == 3
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    for one in explained:
        assert one["detection"] is None or 0 <= one["detection"]["low"] <= one["detection"]["high"] <= 1


def test_what_an_endpoint_answered_before_it_died_is_kept(config: Path, capsys: pytest.CaptureFixture[str]):
    n_left = 4

    def dying(body: dict[str, Any]) -> tuple[int, bytes]:
        nonlocal n_left
        n_left -= 1
        return reader(body) if n_left >= 0 else (500 if n_left < -99 else 400, b"")

    asked = ["interpret", str(config), "--model", "other", "--set", "n_features=4"]
    folder = config.parent / "run" / "interpretation"
    with answering(dying) as there:
        assert "what is done is kept" in refused(capsys, *asked, "--endpoint", there.url)
        kept = [json.loads(path.read_text()) for path in folder.rglob("*.json") if path.stem.isdigit()]
        assert 1 <= sum(one["origin"]["model"] == "other" for one in kept) < 4
        n_left = 1000
        before = len(there.asked)
        assert len(said(capsys, *asked, "--endpoint", there.url)["features"]) == 4
        assert len(there.asked) - before < 4 * 3


def test_refusals_are_one_sentence(config: Path, capsys: pytest.CaptureFixture[str]):
    run = ["interpret", str(config), "--model", "tiny"]
    assert "no folder, expected one of both" in refused(capsys, *run)
    assert "--allow-remote" in refused(capsys, *run, "--endpoint", "https://models.example.org/v1")
    assert "corpus.shareable" in refused(capsys, *run, "--endpoint", "https://models.example.org/v1", "--allow-remote")
    with answering() as there:
        assert "expected --feature among them" in refused(capsys, *run, "--endpoint", there.url, "--feature", "9999")
        assert "No SAE is called" in refused(capsys, *run, "--endpoint", there.url, "--sae", "nothing-*")
        assert "names no setting" in refused(capsys, *run, "--endpoint", there.url, "--set", "wrong=1")
    assert "cannot be reached" in refused(capsys, *run, "--endpoint", there.url, "--fresh")


def test_a_local_model_answers_without_an_endpoint(config: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]):
    found = said(
        capsys, "interpret", str(config), "--model", str(tiny_model), "--set", "n_features=1", "--set", "most_tokens=4"
    )
    assert found["asked"]["place"].startswith("weights ")
    assert len(found["features"]) == 1


def test_the_quality_verb_writes_one_file_per_sae_and_reads_it_again(config: Path, capsys: pytest.CaptureFixture[str]):
    found = said(capsys, "quality", str(config), "--set", "n_bootstraps=20")
    (path,) = map(Path, found["files"])
    assert path.parent.name == POINT
    assert found["saes"][0]["origin"]["settings"]["n_bootstraps"] == 20
    assert found["saes"][0]["n_concepts"] >= 2
    changed = path.stat().st_mtime_ns
    assert said(capsys, "quality", str(config), "--set", "n_bootstraps=20") == found
    assert path.stat().st_mtime_ns == changed
    assert "No SAE is called" in refused(capsys, "quality", str(config), "--sae", "nothing")
    assert "expected two at least" in refused(capsys, "quality", str(config), "--set", "min_mentions=9999")


def marks(number: int, given: tuple[bool, ...], truth: tuple[bool, ...]) -> Marks:
    return Marks(POINT, "sae", number, "fever", "rater", given, truth)


def test_physicians_marks_are_pooled_by_feature_and_compared():
    truth = (True, True, False, False)
    right, half = truth, (True, False, True, False)
    theirs = pooled([marks(0, right, truth), marks(0, half, truth), marks(1, half, truth), marks(2, right, truth)])
    assert theirs == {(POINT, "sae", 0): 0.75, (POINT, "sae", 1): 0.5, (POINT, "sae", 2): 1.0}
    model = {key: value - 0.25 for key, value in theirs.items()}
    found = comparison(theirs, model, 0)
    assert found is not None
    assert (found["n_features"], found["difference"], found["rank_correlation"]) == (3, -0.25, 1.0)
    assert found["interval"] == [-0.25, -0.25]
    assert comparison(theirs, {(POINT, "sae", 0): 1.0}, 0) is None


def test_a_run_without_a_database_has_no_physicians(tmp_path: Path):
    assert physicians(tmp_path) == {}


def test_windows_hold_no_special_token_and_are_silent_where_they_say_so(config: Path):
    run = config.parent / "run"
    store = Store.open(run / "acts")
    (folder,) = (run / "saes" / POINT).iterdir()
    special = special_tokens(store)
    found = drawn(store, folder, np.arange(60) // 2, 8, 50, 0)
    assert special
    assert not special & {int(one) for ids in found.token_id for one in ids}
    assert max(map(len, found.token_id)) <= 8
    words = [str(i) for i in range(10_000)]
    for feature in range(5):
        assert len(found.silent(feature, words)) == int((~found.fires[:, feature]).sum())
    assert 0 < found.fires.mean() < 1


def test_physicians_scores_are_held_back_while_a_round_is_open(tmp_path: Path):
    folder = run_folder.write(tmp_path / "run")
    made = demo.create(folder / DATABASE, folder)
    with Database.open(folder / DATABASE) as database:
        with database.write() as conn:
            overview = rounds.round_overview(conn, made.round_id)
            rater = next(gate.user_id for gate in overview.raters if gate.n_submitted == 0)
            opened = detection.open_detection(
                conn,
                PROGRAM,
                made.project_id,
                codebook_version_id=overview.round.codebook_version_id,
                rater_ids=[rater],
            )
            values = conn.execute(select(item.c.id, item.c.detail).where(item.c.round_id == opened.id)).all()
        asked = Actor(user_id=rater)
        for _ in values[:3]:
            with database.write() as conn:
                given = next_assignment(conn, asked, opened.id)
                assert not isinstance(given, Empty)
                truth = json.loads(
                    conn.execute(select(gold.c.body).where(gold.c.item_id == given.item_id)).scalar_one()
                )
                submissions.submit(conn, asked, given.id, truth, Sent(str(uuid4()), given.version))
    assert physicians(folder) == {}
    with Database.open(folder / DATABASE) as database, database.write() as conn:
        for one in rounds.rounds(conn, made.project_id):
            if one.state != "closed":
                rounds.close_round(conn, PROGRAM, one.id)
    assert list(physicians(folder).values()) == [1.0] * 3
