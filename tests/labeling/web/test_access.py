"""Who may use which address: every route × every role, and nothing of others in what a rater is sent."""

import io
import re
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from clinlens.report.page import json_for_script
from labeling.exchange import reading
from labeling.web.access import rights_of
from labeling.web.application import ROUTERS
from tests.labeling.web.premises import GOLD_SECRET, PEOPLE, ROLES, SECRET, Premises, answers

PROJECT = {"lead", "rater", "senior", "analyst"}
SIGNED_IN = {*PROJECT, "outsider", "administrator"}
EVERYBODY = {*SIGNED_IN, "anonymous"}
MATRIX: dict[str, set[str]] = {
    "GET /": EVERYBODY,
    "GET /static/{version}/{name}": EVERYBODY,
    "GET /favicon.ico": EVERYBODY,
    "GET /api/openapi.json": EVERYBODY,
    "GET /api/v1/health": EVERYBODY,
    "GET /setup/{token}": EVERYBODY,
    "POST /setup/{token}": EVERYBODY,
    "GET /invitations/{token}": EVERYBODY,
    "POST /invitations/{token}": EVERYBODY,
    "GET /sign-in": EVERYBODY,
    "POST /sign-in": EVERYBODY,
    "POST /sign-out": SIGNED_IN,
    "GET /report": SIGNED_IN,
    "GET /account": SIGNED_IN,
    "POST /account/password": SIGNED_IN,
    "POST /account/sessions": SIGNED_IN,
    "POST /account/second-factor": SIGNED_IN,
    "POST /account/second-factor/confirmation": SIGNED_IN,
    "GET /api/v1/me": SIGNED_IN,
    "POST /api/v1/session/extension": SIGNED_IN,
    "GET /api/v1/projects": SIGNED_IN,
    "POST /api/v1/projects": {"administrator"},
    "GET /projects/new": {"administrator"},
    "POST /projects": {"administrator"},
    "GET /people": {"administrator"},
    "POST /people": {"administrator"},
    "POST /people/{user_id}/invitation": {"administrator"},
    "POST /people/{user_id}/status": {"administrator"},
    "POST /api/v1/people": {"administrator"},
    "GET /projects/{project_id}/members": {"lead"},
    "POST /projects/{project_id}/members/{user_id}/roles": {"lead"},
    "POST /projects/{project_id}/members/{user_id}/conflicts": {"lead"},
    "POST /projects/{project_id}/members/{user_id}/conflicts/{rule_id}/removal": {"lead"},
    "GET /projects/{project_id}/rounds": {"lead"},
    "POST /projects/{project_id}/rounds": {"lead"},
    "GET /projects/{project_id}/rounds/new": {"lead"},
    "GET /api/v1/projects/{project_id}/rounds": {"lead"},
    "POST /api/v1/projects/{project_id}/rounds": {"lead"},
    "POST /projects/{project_id}/detection": {"lead"},
    "GET /rounds/{round_id}": {"lead"},
    "POST /rounds/{round_id}/state": {"lead"},
    "POST /api/v1/rounds/{round_id}/state": {"lead"},
    "POST /rounds/{round_id}/raters/{user_id}/gate": {"lead"},
    "POST /rounds/{round_id}/raters": {"lead"},
    "POST /api/v1/rounds/{round_id}/raters": {"lead"},
    "POST /rounds/{round_id}/anew": {"lead"},
    "POST /api/v1/rounds/{round_id}/anew": {"lead"},
    "GET /codebooks/{codebook_id}": PROJECT,
    "GET /projects/{project_id}/codebooks": PROJECT,
    "POST /projects/{project_id}/codebooks": {"lead"},
    "GET /api/v1/codebooks/{codebook_id}/concepts": PROJECT,
    "POST /api/v1/projects/{project_id}/codebooks": {"lead"},
    "POST /rounds/{round_id}/next": {"rater"},
    "GET /rounds/{round_id}/mine": {"rater"},
    "GET /assignments/{assignment_id}": {"rater"},
    "POST /assignments/{assignment_id}/judgement": {"rater"},
    "POST /assignments/{assignment_id}/skip": {"rater"},
    "POST /api/v1/rounds/{round_id}/assignments": {"rater"},
    "GET /api/v1/assignments/{assignment_id}": {"rater"},
    "PUT /api/v1/assignments/{assignment_id}/draft": {"rater"},
    "POST /api/v1/assignments/{assignment_id}/judgement": {"rater"},
    "POST /api/v1/assignments/{assignment_id}/skip": {"rater"},
    "POST /api/v1/assignments/{assignment_id}/notes": {"rater"},
    "POST /api/v1/rounds/{round_id}/undo": {"rater"},
    "GET /projects/{project_id}/adjudication": {"senior"},
    "GET /items/{item_id}/adjudication": {"senior"},
    "POST /items/{item_id}/adjudication": {"senior"},
    "POST /items/{item_id}/lock": {"senior"},
    "POST /api/v1/items/{item_id}/lock": {"lead", "senior"},
    "GET /api/v1/projects/{project_id}/adjudication": {"senior"},
    "GET /api/v1/items/{item_id}/adjudication": {"senior"},
    "POST /api/v1/items/{item_id}/adjudication": {"senior"},
    "GET /projects/{project_id}/agreement": {"analyst", "lead"},
    "GET /projects/{project_id}/agreement/report": {"analyst", "lead"},
    "POST /projects/{project_id}/agreement/report": {"analyst", "lead"},
    "GET /projects/{project_id}/reports/{report_id}": {"analyst", "lead"},
    "GET /projects/{project_id}/export.zip": {"analyst", "lead"},
    "GET /api/v1/projects/{project_id}/agreement": {"analyst", "lead"},
    "GET /projects/{project_id}/signatures": PROJECT,
    "POST /projects/{project_id}/signatures": PROJECT,
    "GET /api/v1/projects/{project_id}/signatures": PROJECT,
    "GET /projects/{project_id}/audit": {"lead", "analyst"},
    "POST /projects/{project_id}/audit/check": {"lead", "analyst"},
    "GET /api/v1/projects/{project_id}/audit": {"lead", "analyst"},
    "GET /api/v1/projects/{project_id}/audit/check": {"lead", "analyst"},
}
"""Written down by hand, so that a route that is opened by mistake differs from it."""
REFUSALS = ("not_signed_in", "not_allowed", "not_found", "still_blind")
UNKNOWN = "or none that you may know of"


def routes() -> list[str]:
    return [f"{method} {route.path}" for router in ROUTERS for route in router.routes for method in route.methods]


def asked(client: TestClient, premises: Premises, name: str) -> Any:
    """A request without any content; 5xx is never an answer to that."""
    method, path = name.split(" ", 1)
    body = {} if path.startswith("/api/") else None
    headers = {"Idempotency-Key": str(uuid.uuid4()), "Sec-Fetch-Site": "same-origin"}
    address = path.format(**premises.places())
    response = client.request(method, address, json=body if method != "GET" else None, headers=headers)
    assert response.status_code < 500, name
    return response


def is_refused(response: Any) -> bool:
    """By the roles; a page that finds nothing of that name says so in other words."""
    if response.headers.get("location", "").startswith("/sign-in?next="):
        return True
    if response.headers.get("content-type", "").startswith("application/json") and response.status_code in (
        401,
        403,
        404,
    ):
        error = response.json()["error"]
        return error["code"] in REFUSALS and "You have submitted nothing" not in error["message"]
    words = ("You are not signed in", "This is not for your role", UNKNOWN)
    return response.status_code in (401, 403, 404) and any(word in response.text for word in words)


def test_every_route_stands_in_the_matrix():
    assert sorted(routes()) == sorted(MATRIX)
    assert len(routes()) == len(set(routes()))


def test_a_route_that_names_no_role_keeps_the_application_from_starting(premises: Premises):
    from fastapi import APIRouter

    from labeling.web.access import refuse_unguarded

    open_door = APIRouter()
    open_door.get("/open")(lambda: "anybody")
    with pytest.raises(RuntimeError, match="/open"):
        refuse_unguarded([*ROUTERS, open_door])
    assert all(rights_of(route) for router in ROUTERS for route in router.routes)
    assert isinstance(premises.app, FastAPI)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gets_what_the_matrix_gives_it_and_nothing_else(premises: Premises, role: str):
    wrong = []
    for name, allowed in MATRIX.items():
        with premises.visitor(role) as client:
            refused = is_refused(asked(client, premises, name))
        if refused == (role in allowed):
            wrong.append(name)
    assert wrong == []


def test_a_peers_task_and_a_foreign_project_do_not_exist_for_a_rater(premises: Premises):
    with premises.visitor("peer") as client:
        assert asked(client, premises, "GET /api/v1/assignments/{assignment_id}").status_code == 404
    with premises.visitor("outsider") as client:
        assert asked(client, premises, "GET /api/v1/projects/{project_id}/rounds").status_code == 404


def test_a_lead_who_rates_sees_nothing_of_others_before_the_round_is_closed(premises: Premises):
    from labeling.database import roles

    with premises.database.write() as conn:
        roles.grant_role(conn, premises.actor("lead"), premises.project, premises.ids["peer"], "analyst")
    with premises.visitor("peer") as client:
        for name in ("agreement", "export.zip", "audit", "agreement/report"):
            response = client.get(f"/projects/{premises.project}/{name}")
            assert response.status_code == 403
            assert "what others said is shown to you when that round is closed" in response.text
    with premises.database.write() as conn:
        roles.revoke_role(conn, premises.actor("lead"), premises.project, premises.ids["peer"], "analyst")


# What a rater is sent

FORBIDDEN = re.compile(
    "|".join(
        [
            SECRET, GOLD_SECRET, "irr_fixed", "adaptive", "retest", "escalated", "stratum", "posterior", '"gold', "n_held",
            *(name for role, (_, name, _) in PEOPLE.items() if role != "rater"),
            *(login for role, (login, _, _) in PEOPLE.items() if role != "rater"),
        ]
    )
)  # fmt: skip
ACTIONS = (
    "home",
    "next",
    "page",
    "body",
    "draft",
    "submit",
    "undo",
    "skip",
    "note",
    "mine",
    "rubric",
    "concepts",
    "wrong",
)


class Work:
    """A rater at work, who looks at every answer for what it must not hold."""

    def __init__(self, client: TestClient, premises: Premises) -> None:
        self.client, self.premises = client, premises
        self.task = premises.assignment

    def send(self, method: str, path: str, version: int = 1, body: Any = None) -> Any:
        headers = {"Idempotency-Key": str(uuid.uuid4()), "If-Match": f'"{version}"', "Sec-Fetch-Site": "same-origin"}
        response = self.client.request(method, path, json=body, headers=headers)
        assert response.status_code < 500
        found = FORBIDDEN.search(response.text) or FORBIDDEN.search(str(response.headers))
        assert found is None, f"{method} {path} holds {found and found[0]!r}"
        return response

    def act(self, action: str) -> None:
        place = f"/api/v1/assignments/{self.task}"
        own = answers("diagnosis", words="my own words")
        body = self.send("GET", place)
        version = body.json().get("version", 1)
        match action:
            case "home":
                self.send("GET", "/")
            case "next":
                found = self.send("POST", f"/api/v1/rounds/{self.premises.round}/assignments", body={}).json()
                self.task = found.get("assignment") or self.task
            case "page":
                self.send("GET", f"/assignments/{self.task}")
            case "draft":
                self.send("PUT", f"{place}/draft", version, {"answers": own})
            case "submit":
                self.send("POST", f"{place}/judgement", version, {"answers": own})
            case "undo":
                found = self.send("POST", f"/api/v1/rounds/{self.premises.round}/undo", body={}).json()
                self.task = found.get("assignment") or self.task
            case "skip":
                self.send("POST", f"{place}/skip", version, {"reason": "outside_expertise"})
            case "note":
                self.send("POST", f"{place}/notes", version, {"body": "odd"})
            case "mine":
                self.send("GET", f"/rounds/{self.premises.round}/mine")
            case "rubric":
                self.send("GET", f"/codebooks/{self.premises.codebook}")
            case "concepts":
                self.send("GET", f"/api/v1/codebooks/{self.premises.codebook}/concepts?query=heart")
            case "wrong":
                self.send("POST", f"{place}/judgement", version + 3, {"answers": {"category": "nothing"}})


@given(st.lists(st.sampled_from(ACTIONS), min_size=6, max_size=14))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_a_rater_is_sent_holds_peers_answers_gold_strata_or_names(premises: Premises, actions: list[str]):
    with premises.visitor("rater") as client:
        work = Work(client, premises)
        for action in actions:
            work.act(action)


def test_what_the_panel_said_is_shown_after_the_end_in_shares_without_names(premises: Premises):
    with premises.visitor("rater") as client:
        text = client.get(f"/rounds/{premises.closed_round}/mine").text
    assert "100 %" in text
    assert "what the panel said" in text
    assert all(name not in text for role, (_, name, _) in PEOPLE.items() if role != "rater")


def test_a_senior_sees_what_was_said_but_not_by_whom(premises: Premises):
    with premises.visitor("senior") as client:
        page = client.get(f"/items/{premises.item}/adjudication").text
        body = client.get(f"/api/v1/items/{premises.item}/adjudication").text
    for text in (page, body):
        assert SECRET in text
        for role in ("rater", "peer", "second_peer"):
            assert premises.ids[role] not in text
            assert not any(name in text for name in PEOPLE[role][:2])


def test_a_report_older_than_a_round_shows_its_raters_no_labels(premises: Premises, tmp_path: Path):
    listed = {"saes": [{"index": [1], "labels": [{"leading": SECRET, "words": "</script> é"}]}, {"index": [2]}]}
    head = '<head><meta charset="utf-8"></head><p>figures</p>'
    script = f'<script type="application/json" id="features-data">{json_for_script(listed)}</script><p>end</p>'
    (tmp_path / "report.html").write_text(head + script, encoding="utf-8")
    state = premises.app.state.clinlens
    state.run = tmp_path
    try:
        with premises.visitor("rater") as client:
            seen = client.get("/report").text
        with premises.visitor("analyst") as client:
            whole = client.get("/report").text
    finally:
        state.run = None
    assert SECRET not in seen
    assert seen == head + script.replace(f',"labels":{json_for_script(listed["saes"][0]["labels"])}', "")
    assert whole == head + script


def test_what_an_analyst_downloads_can_be_imported(premises: Premises, tmp_path: Path):
    with premises.visitor("analyst") as client:
        packed = client.get(f"/projects/{premises.project}/export.zip").content
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(tmp_path / "export")
    found = reading.read(tmp_path / "export").bundle
    assert len(found.judgements) > 0
    assert (tmp_path / "export/soft_labels.jsonl").read_text().count("\n") == len(found.soft_labels) > 0
