"""The API with processes that compute: jobs, results, views, and who may use them."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from analysis.attribution.case import read
from analysis.attribution.caveats import CAVEATS
from analysis.attribution.config import METHODS
from clinlens.clinic import model_folder
from clinlens.clinic.notes import ClinicConfig, generate
from clinlens.desk.extension import desk
from clinlens.desk.jobs.request import JobInput
from clinlens.desk.jobs.store import NewTask
from clinlens.desk.jobs.turns import written
from clinlens.desk.models import ServedModel
from clinlens.desk.routes import results as results_routes
from clinlens.desk.routes.figures import kinds_of
from clinlens.desk.routes.part import Part
from hooks.config import ModelConfig
from hooks.model import load_afresh
from labeling.database import accounts
from labeling.web.access import still_rates
from labeling.web.application import create
from labeling.web.config import WebConfig
from labeling.web.visit import Visit
from tests.clinlens.desk.conftest import ENDED, wait_for
from tests.clinlens.desk.conftest import job as asked
from tests.labeling.web.premises import HOSTILE, ROLES, Premises, furnish
from tests.tiny import write_tiny_model

NOTE = next(iter(generate(ClinicConfig(n_notes=1))))
TEXT = NOTE.text[: NOTE.answer[0]].rstrip()[-160:]
BASE = "http://127.0.0.1:8765"
SOCKETS = "ws://127.0.0.1:8765/api/ws/jobs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("run")
    (found / "config.yaml").write_text(f"folder: {found}\n")
    return found


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    """Somebody on loopback where nobody has an account, with two models."""
    small = write_tiny_model(folder / "models" / "small", "llama")
    cfg = WebConfig(requests_per_minute=1_000_000)
    app = create(cfg, folder / "clinlens.db", run=folder, extensions=[desk(folder, {"small": small})])
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as found:
        yield found


def post(client: TestClient, **more: Any) -> str:
    """A new job's id."""
    body = {"models": ["clinic"], "methods": ["attn_lrp"], "input": {"text": TEXT, "generate": 2}} | more
    answer = client.post("/api/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["job_id"]


def done(client: TestClient, job: str) -> dict[str, Any]:
    """A job's record, when it has ended."""
    wait_for(lambda: client.get(f"/api/jobs/{job}/status").json()["status"] in ENDED, 120)
    return client.get(f"/api/jobs/{job}/results").json()


@pytest.fixture(scope="module")
def job(client: TestClient) -> str:
    """A job of two models and two methods, done."""
    found = post(client, models=["clinic", "small"], methods=["attn_lrp", "occlusion"], title="Two by two")
    done(client, found)
    return found


def test_the_record_has_the_papers_shape(client: TestClient, job: str) -> None:
    record = client.get(f"/api/jobs/{job}/results").json()
    assert {"job_id", "created_at", "completed_at", "input", "options", "results"} <= set(record)
    named = [(one["model"], one["method"]) for one in record["results"]]
    assert named == [(m, f) for m in ("clinic", "small") for f in ("attn_lrp", "occlusion")]
    for one in record["results"]:
        raw = np.array(one["attribution"]["raw"])
        assert raw.shape == (len(one["input"]["tokens"]), len(one["output"]["tokens"]))
        np.testing.assert_allclose(one["attribution"]["aggregated"]["token_importance"]["input"], raw.sum(1), atol=1e-9)
        assert one["output"]["text"] == "".join(one["output"]["tokens"])
        assert one["faithfulness"]["caveat"].startswith(CAVEATS[one["method"]])


def test_tokens_before_a_job_are_those_of_the_job(client: TestClient, job: str) -> None:
    given = client.get(f"/api/jobs/{job}/results").json()["results"]
    for one in (given[0], given[2]):
        found = client.post("/api/tokens", json={"model": one["model"], "text": TEXT}).json()
        assert (found["tokens"], found["offsets"], found["is_special"]) == tuple(
            one["input"][key] for key in ("tokens", "offsets", "is_special")
        )
        assert found["n_tokens"] <= found["n_context_tokens"]


def test_tokens_are_those_of_the_model_for_hostile_text() -> None:
    cfg = ModelConfig(name="clinic", path=model_folder())
    served, lm = ServedModel(cfg, is_run=True), load_afresh(cfg)
    for text in (*HOSTILE[:5], "naïve  œdème\n\t½ 𝔘 <s>"):
        case = read(text, lm)
        found = served.tokenise(text)
        assert (tuple(found.tokens), found.is_special) == (case.tokens, case.is_special.tolist())
        assert tuple(map(tuple, found.offsets)) == case.offsets


def test_tiles_put_together_are_the_matrix(client: TestClient, job: str) -> None:
    whole = np.array(client.get(f"/api/jobs/{job}/results").json()["results"][0]["attribution"]["raw"])
    rows = []
    for top in range(0, whole.shape[0], 16):
        answer = client.get(f"/api/jobs/{job}/results/0/tiles", params={"rows": f"{top}-{top + 16}", "cols": "0-16"})
        shape = (int(answer.headers["X-Rows"]), int(answer.headers["X-Cols"]))
        rows.append(np.frombuffer(answer.content, "<f4").reshape(shape))
    np.testing.assert_array_equal(np.concatenate(rows), whole.astype("<f4"))
    answer = client.get(f"/api/jobs/{job}/results/0/tiles", params={"rows": "0-999", "cols": "0-999", "level": 12})
    strongest = np.frombuffer(answer.content, "<f4")
    assert strongest.shape == (1,)
    assert abs(strongest[0]) == np.float32(np.abs(whole).max())
    for rows_asked in ("5-5", "0-2000", "x", "-1-3"):
        assert (
            client.get(f"/api/jobs/{job}/results/0/tiles", params={"rows": rows_asked, "cols": "0-1"}).status_code
            == 422
        )


def test_large_matrices_are_left_to_tiles(client: TestClient, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_routes, "MAX_CELLS", 10)
    found = client.get(f"/api/jobs/{job}/results").json()["results"][0]["attribution"]
    assert found["raw"] is None
    assert found["tiles"]["url"] == f"/api/jobs/{job}/results/0/tiles"


def test_the_same_question_is_answered_from_what_is_known(client: TestClient, job: str) -> None:
    again = client.post(
        "/api/jobs",
        json={"models": ["clinic", "small"], "methods": ["occlusion"], "input": {"text": TEXT, "generate": 2}},
    ).json()
    assert again["status"] == "completed"
    assert again["job_id"] != job
    other = client.post(
        "/api/jobs",
        json={
            "models": ["clinic"],
            "methods": ["occlusion"],
            "input": {"text": TEXT, "generate": 2},
            "options": {"seed": 1},
        },
    ).json()
    assert other["status"] == "queued"
    done(client, other["job_id"])


def test_the_same_client_uuid_is_the_same_job(client: TestClient, job: str) -> None:
    number = str(uuid.uuid4())
    first, second = post(client, client_uuid=number), post(client, client_uuid=number)
    assert first == second
    done(client, first)


def test_two_models_are_compared_on_common_units(client: TestClient, job: str) -> None:
    found = client.get("/api/compare", params={"left": f"{job}:0", "right": f"{job}:2"}).json()
    record = client.get(f"/api/jobs/{job}/results").json()["results"]
    for side, result in (("left", record[0]), ("right", record[2])):
        words = [i for i, (start, _) in enumerate(result["input"]["offsets"]) if start >= 0]
        assert sorted(i for unit in found["input"]["units"] for i in unit[side]) == words
    matrix = np.array(found["difference"]["matrix"], float)
    assert (
        list(matrix.shape)
        == found["difference"]["shape"]
        == [len(found["input"]["units"]), len(found["output"]["units"])]
    )
    same = client.get("/api/compare", params={"left": f"{job}:0", "right": f"{job}:0"}).json()
    assert not np.array(same["difference"]["matrix"]).any()
    assert client.get("/api/compare", params={"left": f"{job}:0", "right": f"{job}:9"}).status_code == 404


def test_an_edit_is_a_job_and_ranks_its_tokens(client: TestClient, job: str) -> None:
    tokens = client.get(f"/api/jobs/{job}/results").json()["input"]["tokens"]
    token = next(i for i, text in enumerate(tokens) if text.startswith(" ") and len(text) > 4)
    body = {
        "edits": [{"token": token, "replacement": "fever"}, {"token": token, "replacement": ""}],
        "keep_answer": True,
    }
    made = client.post(f"/api/jobs/{job}/counterfactuals", json=body).json()["jobs"]
    assert made == client.post(f"/api/jobs/{job}/counterfactuals", json=body).json()["jobs"] or len(made) == 2
    texts = [done(client, one["job_id"])["input"]["text"] for one in made]
    start, end = (made[0]["edit"][key] for key in ("start", "end"))
    assert texts == [TEXT[:start] + " fever" + TEXT[end:], TEXT[:start] + TEXT[end:]]
    found = client.get(f"/api/jobs/{job}/sensitivity").json()
    assert len(found["rankings"][0]["effects"]) == 2
    assert all(effect["score_change"] is not None for effect in found["rankings"][0]["effects"])
    assert found["measured"][0]["method"] == "occlusion"
    assert client.get(f"/api/jobs/{job}/metrics").json()["results"][0]["stability"]["n_inputs"] == 2
    assert (
        client.post(f"/api/jobs/{job}/counterfactuals", json={"edits": [{"token": 0, "replacement": "x"}]}).status_code
        == 422
    )


def test_a_follow_up_begins_with_what_was_said_and_each_models_own_answer(client: TestClient, job: str) -> None:
    first = client.get(f"/api/jobs/{job}/results").json()["results"]
    follow = post(client, models=["clinic", "small"], input={"text": "Why?"}, options={"follow_up_of": job})
    record = done(client, follow)
    for answer, result in ((first[0], record["results"][0]), (first[2], record["results"][1])):
        text, turns = result["input"]["text"], result["input"]["turns"]
        assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
        assert [text[turn["start"] : turn["end"]] for turn in turns] == [TEXT, answer["output"]["text"], "Why?"]
    line = client.get(f"/api/jobs/{follow}/timeline").json()
    assert [turn["job_id"] for turn in line["turns"]] == [job, follow]
    last, before = np.array(line["turns"][1]["importance"]), np.array(line["turns"][0]["importance"])
    np.testing.assert_allclose(line["temporal"], before / 3 + 2 * last / 3, atol=1e-9)
    assert before.sum() == pytest.approx(sum(first[0]["attribution"]["aggregated"]["token_importance"]["input"]))
    answer = client.post(
        "/api/jobs",
        json={
            "models": ["clinic"],
            "methods": ["gim"],
            "input": {"text": "Why?"},
            "options": {"follow_up_of": "nothing"},
        },
    )
    assert answer.status_code == 422


def test_a_chat_template_writes_the_turns_where_a_model_has_one() -> None:
    from tests.tiny import chat_tokenizer

    given = JobInput.model_validate(
        {"turns": [{"role": "user", "text": "1 2"}, {"role": "assistant", "text": "3"}], "generate": 1}
    )
    text, turns = written(given, chat_tokenizer())
    assert text == "<s> <|user|> 1 2 <|end|> <|assistant|> 3 <|end|>"
    assert [text[turn.start : turn.end] for turn in turns] == ["1 2", "3"]


def test_figures_and_kinds_of_tokens(client: TestClient, job: str) -> None:
    metrics = client.get(f"/api/jobs/{job}/metrics").json()
    assert {(one["model"], *one["methods"]) for one in metrics["agreement"]} == {
        ("clinic", "attn_lrp", "occlusion"), ("small", "attn_lrp", "occlusion"),
    }  # fmt: skip
    found = client.get(f"/api/jobs/{job}/categories").json()["models"]
    tokens = client.get(f"/api/jobs/{job}/results").json()["input"]["tokens"]
    assert [one["model"] for one in found] == ["clinic", "small"]
    assert len(found[0]["tokens"]) == len(tokens)
    inside = [span for span in NOTE.spans if span.start >= NOTE.answer[0] - 160 and span.status == "affirmed"]
    names = {kind["name"] for token in found[0]["tokens"] for kind in token if kind["source"] == "clinic"}
    assert names & {span.concept for span in inside} or not inside
    wait_for(
        lambda: client.get(f"/api/jobs/{job}/categories").json()["models"][0]["state"]["linguistic"] != "pending", 120
    )


def test_methods_tell_caveats_settings_and_what_they_work_on(client: TestClient) -> None:
    found = client.get("/api/methods").json()
    assert [one["name"] for one in found["methods"]] == list(METHODS) == list(CAVEATS)
    assert all(one["caveat"] and one["description"] and one["settings"] for one in found["methods"])
    assert found["methods"][0]["models"]["clinic"]["is_supported"]


def test_news_begin_with_a_snapshot_and_go_on_after_what_was_seen(client: TestClient, job: str) -> None:
    with client.websocket_connect(f"{SOCKETS}/{job}?after=2") as socket:
        snapshot = socket.receive_json()
        events = [socket.receive_json() for _ in range(snapshot["seq"] - 2)]
    assert snapshot["type"] == "snapshot"
    assert [event["seq"] for event in events] == list(range(3, snapshot["seq"] + 1))
    assert events[-1]["type"] == "completed"
    fresh = post(client, options={"seed": 77})
    with client.websocket_connect(f"{SOCKETS}/{fresh}") as socket:
        kinds = [socket.receive_json()["type"]]
        while kinds[-1] not in ("completed", "failed"):
            kinds.append(socket.receive_json()["type"])
    assert kinds[0] == "snapshot"
    assert kinds[-1] == "completed"


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"host": "evil.example"}]
)
def test_a_socket_opened_by_another_site_is_refused(client: TestClient, job: str, headers: dict[str, str]) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"{SOCKETS}/{job}", headers=headers):
        pass


def test_a_socket_of_a_job_that_is_not_there_is_refused(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"{SOCKETS}/nothing"):
        pass


@pytest.mark.parametrize("text", [*HOSTILE, "a\x00b", "\U0001f600 " * 3])
def test_hostile_text_is_kept_as_it_is(client: TestClient, text: str) -> None:
    job = post(client, input={"text": text, "target": " no"}, title=text[:200])
    client.post(f"/api/jobs/{job}/cancel")
    found = client.get(f"/api/jobs/{job}").json()
    assert (found["input"]["text"], found["name"]) == (text, text[:200])
    listed = client.get("/api/jobs", params={"q": text[:200], "per_page": 200}).json()["jobs"]
    assert job in [one["job_id"] for one in listed]
    assert client.delete(f"/api/jobs/{job}").status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"models": ["no such model"]},
        {"models": []},
        {"methods": ["no such method"]},
        {"input": {"text": "zebrafish"}},
        {"input": {"text": "zebrafish", "target": " a", "generate": 3}},
        {"input": {"text": "", "generate": 3}},
        {"input": {"generate": 3}},
        {"input": {"text": "zebrafish \ud800", "generate": 3}},
        {"input": {"text": "zebrafish", "turns": [{"role": "user", "text": "x"}], "generate": 3}},
        {"options": {"priority": 10}},
        {"options": {"settings": {"attn_lrp": {"zebrafish": 1}}}},
        {"options": {"settings": {"attn_lrp": {"batch_tokens": "zebrafish"}}}},
        {"client_uuid": "zebrafish"},
        {"more": 1},
    ],
)
def test_what_cannot_be_done_is_refused_before_it_is_queued_without_quoting_it(
    client: TestClient, change: dict[str, Any]
) -> None:
    body = {"models": ["clinic"], "methods": ["attn_lrp"], "input": {"text": "zebrafish", "generate": 1}} | change
    answer = client.post("/api/jobs", content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert set(answer.json()) == {"error"}
    assert "zebrafish" not in answer.text


def test_batches_act_on_those_that_are_there(client: TestClient) -> None:
    jobs = [post(client, input={"text": f"batch {n}", "generate": 1}) for n in range(3)]
    raised = client.post("/api/jobs/batch", json={"action": "priority", "priority": 9, "job_ids": [*jobs, "nothing"]})
    assert raised.json() == {"n_done": 3, "n_unknown": 1}
    assert {client.get(f"/api/jobs/{one}/status").json()["priority"] for one in jobs} == {9}
    client.post("/api/jobs/batch", json={"action": "cancel", "job_ids": jobs})
    client.post("/api/jobs/batch", json={"action": "delete", "job_ids": jobs})
    assert all(client.get(f"/api/jobs/{one}/status").status_code == 404 for one in jobs)


def test_features_of_another_model_are_refused(client: TestClient) -> None:
    job = post(client, models=["small"], input={"text": "1 2 3", "features": ["blocks.0.hook_resid_post/1"]})
    wait_for(lambda: client.get(f"/api/jobs/{job}/status").json()["status"] == "failed", 120)
    assert "SAEs are those of the run's model" in client.get(f"/api/jobs/{job}/status").json()["tasks"][0]["problem"]


@pytest.fixture(scope="module")
def premises(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Premises]:
    """Everybody of a review queue, with a desk beside it."""
    place = tmp_path_factory.mktemp("premises")
    (place / "config.yaml").write_text(f"folder: {place}\n")
    found = furnish(place)
    found.app.state.clinlens.worker.close()
    found.app = create(found.config, place / "clinlens.db", database=found.database, extensions=[desk(place)])
    yield found
    found.app.state.clinlens.worker.close()
    found.database.close()


@pytest.mark.parametrize("role", ROLES)
def test_the_desk_is_for_analysts_leads_seniors_and_administrators(role: str, premises: Premises) -> None:
    is_allowed = role in ("analyst", "lead", "senior", "administrator")
    with premises.visitor(role) as visitor:
        status = 200 if is_allowed else 401 if role == "anonymous" else 403
        assert visitor.get("/api/jobs").status_code == status
        assert visitor.post("/api/tokens", json={"model": "clinic", "text": "a"}).status_code == status
        without = {"X-CSRF-Token": ""}
        answer = visitor.post("/api/tokens", json={"model": "clinic", "text": "a"}, headers=without)
        assert answer.status_code == (403 if is_allowed else status)
        row = visitor.app.state.desk.store.add(asked("text"), [NewTask("clinic", "gim", {}, "0" * 16, True)])  # type: ignore[attr-defined]
        if is_allowed:
            with visitor.websocket_connect(f"{SOCKETS}/{row['id']}") as socket:
                assert socket.receive_json()["status"] == "completed"
        else:
            with pytest.raises(WebSocketDisconnect), visitor.websocket_connect(f"{SOCKETS}/{row['id']}"):
                pass


def test_an_analyst_who_still_rates_sees_no_labels(premises: Premises) -> None:
    with premises.visitor("analyst"):
        assert not still_rates(visit_of(premises, "analyst"))
    assert still_rates(visit_of(premises, "rater"))
    part = Part(premises.app.state.desk, {"model": "none", "method": "gim", "job": "x", "result": "0" * 16}, 0)  # type: ignore[arg-type]
    part.body = {"input": {"text": "a", "tokens": ["a"], "offsets": [[0, 1]], "is_special": [False]}}
    part.matrix = np.ones((1, 1))
    assert kinds_of(premises.app.state.desk, part, visit_of(premises, "rater"))["state"]["physicians"] == "still_blind"
    assert kinds_of(premises.app.state.desk, part, visit_of(premises, "analyst"))["state"]["physicians"] == "none"


def visit_of(premises: Premises, role: str) -> Visit:
    """A request by somebody."""
    with premises.database.read() as conn:
        user = accounts.user_of(conn, premises.ids[role])
    return Visit(user, None, premises.database, False, premises.database.now())  # type: ignore[arg-type]


def test_without_accounts_the_desk_is_open_on_loopback_alone(folder: Path, tmp_path: Path) -> None:
    cfg = WebConfig(host="0.0.0.0", names=("desk.example",), proxy_addresses=("10.0.0.1",))  # noqa: S104 - the case
    (tmp_path / "config.yaml").write_text(f"folder: {tmp_path}\n")
    app = create(cfg, tmp_path / "clinlens.db", extensions=[desk(tmp_path)])
    with TestClient(app, base_url="http://desk.example", raise_server_exceptions=False) as stranger:
        assert stranger.get("/api/jobs").status_code == 401


def test_a_desk_whose_jobs_another_server_has_is_closed_and_says_why(client: TestClient, folder: Path) -> None:
    app = create(WebConfig(), folder / "clinlens.db", extensions=[desk(folder)])
    with TestClient(app, base_url=BASE, raise_server_exceptions=False) as second:
        answer = second.get("/api/jobs")
        assert second.get("/api/v1/health").status_code == 200
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "desk_closed")
    assert "written by another process" in answer.json()["error"]["message"]


SERVER = """
import sys
import time
from pathlib import Path
from starlette.testclient import TestClient
from clinlens.desk.extension import desk
from clinlens.serve import serve
from labeling.database import accounts
from labeling.web.access import still_rates
from labeling.web.application import create
from labeling.web.config import WebConfig
from labeling.web.visit import Visit
folder = Path(sys.argv[1])
app = create(WebConfig(), folder / "clinlens.db", run=folder, extensions=[desk(folder)])
with TestClient(app, base_url="http://127.0.0.1:8765") as client:
    app.state.desk.pool.bench = "tests.clinlens.desk.scripted"
    for path in ("jobs", "models", "methods"):
        assert client.get(f"/api/{path}").status_code == 200
    assert client.post("/api/tokens", json={"model": "clinic", "text": "a cough"}).json()["n_tokens"] > 1
    body = {"models": ["clinic"], "methods": ["gim"], "input": {"text": "a cough", "generate": 1}}
    job = client.post("/api/jobs", json=body).json()["job_id"]
    while client.get(f"/api/jobs/{job}/status").json()["status"] != "completed":
        time.sleep(0.2)
    for path in ("status", "results", "metrics", "sensitivity", "timeline"):
        assert client.get(f"/api/jobs/{job}/{path}").status_code == 200
    client.delete(f"/api/jobs/{job}")
print([name for name in ("torch", "transformers", "spacy") if name in sys.modules])
"""


def test_the_server_never_imports_torch(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"folder: {tmp_path}\n")
    paths = os.pathsep.join(filter(None, sys.path))
    found = subprocess.run(
        [sys.executable, "-c", SERVER, str(tmp_path)], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    assert found.stdout == "[]\n", found.stderr
