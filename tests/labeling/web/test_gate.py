"""What every request passes and every answer carries: headers, hosts, origins, tokens, sizes, rates, the log."""

import json
import logging
import uuid
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from pydantic import ValidationError
from starlette.testclient import TestClient

from labeling.database import sessions
from labeling.web.access import Allow, rights_of
from labeling.web.application import ROUTERS, create
from labeling.web.config import WebConfig
from labeling.web.gate import HEADERS, Gate, JSONLines, host_name
from labeling.web.throttle import Throttle
from sae.errors import UserError
from tests.labeling.web.premises import PASSWORD, PEOPLE, Premises

BASE = "http://127.0.0.1:8765"
SAME = {"Sec-Fetch-Site": "same-origin"}


def client_of(premises: Premises, base: str = BASE, address: tuple[str, int] = ("127.0.0.1", 1)) -> TestClient:
    return TestClient(
        premises.app, base_url=base, client=address, raise_server_exceptions=False, follow_redirects=False
    )


def application(tmp_path: Path, **config: Any) -> TestClient:
    """One of its own, without accounts."""
    cfg = WebConfig(**config)
    app = create(cfg, tmp_path / "clinlens.db")
    base = "https://lens.example" if cfg.is_secure else BASE
    return TestClient(app, base_url=base, client=("10.0.0.9", 1), raise_server_exceptions=False, follow_redirects=False)


@pytest.mark.parametrize(
    "path", ["/sign-in", "/nowhere", "/api/v1/nowhere", "/api/openapi.json", "/", "/static/0/no.js"]
)
def test_every_answer_carries_the_strict_headers(premises: Premises, path: str):
    headers = client_of(premises).get(path).headers
    assert all(headers[name] == value for name, value in HEADERS.items())
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"


def test_assets_are_cached_by_their_hash_and_are_no_others(premises: Premises):
    from labeling.web import assets

    client = client_of(premises)
    for name in assets.assets():
        found = client.get(assets.address(name))
        assert found.status_code == 200
        assert "immutable" in found.headers["Cache-Control"]
        assert "://" not in found.text.replace("http://www.w3.org/2000/svg", ""), f"{name} names another server"
    for path in (
        "/static/0000/site.css",
        f"/static/{assets.digest()}/..%2Fgate.py",
        f"/static/{assets.digest()}/gate.py",
    ):
        assert client.get(path).status_code == 404


def test_templates_hold_no_script_style_handler_or_foreign_address():
    folder = Path(__file__).parents[3] / "labeling" / "web" / "templates"
    for path in folder.glob("*.html"):
        text = path.read_text()
        assert not any(word in text for word in ("style=", "<style", "onclick", "onload", "://", "|safe"))
        scripts = text.count("<script")
        assert scripts == text.count('<script type="module" src="{{ asset(') + text.count(
            '<script type="application/json"'
        )


def test_with_tls_cookies_and_transport_are_strict(tmp_path: Path):
    key = tmp_path / "key.pem"
    client = application(tmp_path, host="0.0.0.0", names=("lens.example",), tls_certificate=key, tls_key=key)  # noqa: S104
    assert "max-age=63072000" in client.get("/").headers["Strict-Transport-Security"]
    state = client.app.state.clinlens  # type: ignore[attr-defined]
    token = state.look()
    form = {"institution": "North", "login": "ann.admin", "display_name": "Ann", "password": PASSWORD}
    made = client.post(f"/setup/{token}", data=form, headers=SAME)
    cookie = made.headers["set-cookie"]
    assert cookie.startswith("__Host-clinlens=")
    assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"))
    assert "Domain" not in cookie
    assert client.get(f"/setup/{token}").status_code == 404, "the link works once"
    state.database.close()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "clinlens"])
def test_another_host_name_is_refused(premises: Premises, host: str):
    answer = client_of(premises).get("/sign-in", headers={"Host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_host")


def test_host_names_are_read_without_ports():
    assert [host_name(one) for one in ("LOCALHOST:80", "[::1]:8765", "lens.example.")] == [
        "localhost",
        "::1",
        "lens.example",
    ]


def unsafe_routes() -> list[tuple[str, str, Allow]]:
    return [
        (method, route.path, rights_of(route))
        for router in ROUTERS
        for route in router.routes
        for method in route.methods - {"GET"}
    ]  # type: ignore[misc]


def test_no_change_is_taken_from_another_site_or_without_the_sessions_token(premises: Premises):
    n_checked = 0
    for method, path, allow in unsafe_routes():
        address = path.format(**premises.places())
        with premises.visitor("lead") as client:
            for headers in (
                {"Sec-Fetch-Site": "cross-site"},
                {"Sec-Fetch-Site": "same-site"},
                {"Origin": "http://evil.example"},
            ):
                refused = client.request(method, address, headers=headers)
                assert refused.json()["error"]["code"] == "foreign_origin", path
            if "public" not in allow.rights:
                for token in ("", "x" * 43):
                    client.headers["X-CSRF-Token"] = token
                    answer = client.request(method, address, headers={**SAME, "Idempotency-Key": str(uuid.uuid4())})
                    assert answer.status_code == 403
                    assert "older than your session" in answer.text, path
                n_checked += 1
    assert n_checked > 25


def test_every_write_by_the_api_needs_a_key_and_a_repeat_is_answered_as_before(premises: Premises):
    path = "/api/v1/projects"
    with premises.visitor("administrator") as client:
        assert client.post(path, json={"name": "Once"}, headers=SAME).status_code == 428
        headers = {**SAME, "Idempotency-Key": str(uuid.uuid4())}
        first = client.post(path, json={"name": "Once"}, headers=headers)
        again = client.post(path, json={"name": "Once"}, headers=headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert first.json() == again.json()
        other = client.post(path, json={"name": "Twice"}, headers=headers)
        assert other.json()["error"]["code"] == "key_used"
    with premises.visitor("lead") as client:
        assert client.post(path, json={"name": "Once"}, headers=headers).status_code == 403, (
            "the answer is the sender's alone"
        )


def test_a_submission_beside_an_older_state_is_a_conflict_that_tells_the_current_one(premises: Premises):
    with premises.visitor("rater") as client:
        path = f"/api/v1/assignments/{premises.assignment}/draft"
        headers = {**SAME, "Idempotency-Key": str(uuid.uuid4())}
        assert client.put(path, json={"answers": {}}, headers=headers).status_code == 428
        conflict = client.put(path, json={"answers": {}}, headers={**headers, "If-Match": '"77"'})
    assert conflict.status_code == 409
    assert conflict.json()["error"]["current"]["version"] == 1


def test_too_large_a_body_is_refused_whether_or_not_its_length_is_announced(premises: Premises):
    def chunks():
        for _ in range(40):
            yield b"x" * 65_536

    with premises.visitor("rater") as client:
        big = client.post("/sign-out", content=b"x" * (2 << 20), headers=SAME)
        assert big.status_code == 413
        headers = {**SAME, "Idempotency-Key": str(uuid.uuid4())}
        assert client.post("/api/v1/session/extension", content=chunks(), headers=headers).status_code == 413


def test_who_asks_too_often_waits_and_nobody_is_locked_out(tmp_path: Path):
    client = application(tmp_path, requests_per_minute=3)
    answers = [client.get("/").status_code for _ in range(4)]
    assert answers[-1] == 429
    now = [0.0]
    throttle = Throttle(60, clock=lambda: now[0])
    assert [throttle.wait_s("a") for _ in range(60)] == [0] * 60
    assert throttle.wait_s("a") == 1
    assert throttle.wait_s("b") == 0
    now[0] = 1.5
    assert throttle.wait_s("a") == 0


def test_wrong_passwords_never_say_which_part_was_wrong(premises: Premises):
    client = client_of(premises)
    said = []
    for login in (PEOPLE["outsider"][0], "nobody.known"):
        answer = client.post("/sign-in", data={"login": login, "password": "wrong password here"}, headers=SAME)
        assert answer.status_code == 403
        said.append(answer.text.replace(login, ""))
    assert said[0] == said[1]
    assert "set-cookie" not in answer.headers


def test_signing_in_leads_to_local_addresses_alone(premises: Premises):
    for following in ("//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil"):
        form = {"login": PEOPLE["analyst"][0], "password": PASSWORD, "next": following}
        answer = client_of(premises).post("/sign-in", data=form, headers=SAME)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_session_ends_for_good_when_one_signs_out(premises: Premises):
    with premises.visitor("analyst") as client:
        assert client.get("/account").status_code == 200
        assert client.post("/sign-out", headers=SAME).status_code == 303
        client.cookies.set(premises.config.cookie, client.cookies.get(premises.config.cookie) or "")
        assert client.get("/account").headers["location"] == "/sign-in?next=/account"


def test_an_idle_session_is_over(premises: Premises, monkeypatch: pytest.MonkeyPatch):
    with premises.visitor("analyst") as client:
        assert client.get("/api/v1/me").json()["idle_s"] >= 890
        monkeypatch.setattr(sessions, "IDLE_MIN", 0)
        assert client.get("/api/v1/me").status_code == 401


def test_a_failure_of_ours_is_a_number_and_neither_page_nor_log_quotes_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    cfg = WebConfig()
    app = create(cfg, tmp_path / "clinlens.db")
    broken = APIRouter()

    @broken.get("/api/v1/broken")
    def fail() -> None:
        raise ValueError("a patient's words")

    app.include_router(broken)
    client = TestClient(app, base_url=BASE, raise_server_exceptions=False)
    with caplog.at_level(logging.INFO, "clinlens.web"):
        answer = client.get("/api/v1/broken?text=patient")
    assert answer.status_code == 500
    assert answer.json()["error"].keys() == {"code", "message", "id"}
    lines = [JSONLines().format(record) for record in caplog.records if record.name == "clinlens.web"]
    assert answer.json()["error"]["id"] in " ".join(lines)
    assert "patient" not in answer.text + " ".join(lines)
    assert all(json.loads(line) for line in lines)


def test_nothing_but_loopback_is_listened_on_without_tls_or_a_proxy():
    with pytest.raises(UserError, match="can be reached from other machines without TLS"):
        WebConfig(host="0.0.0.0").refuse_open_door()  # noqa: S104
    WebConfig().refuse_open_door()
    WebConfig(host="0.0.0.0", proxy_addresses=("10.0.0.1",)).refuse_open_door()  # noqa: S104
    with pytest.raises(UserError, match="Give the other one too"):
        WebConfig(tls_key=Path("key.pem"))
    with pytest.raises(UserError, match="no IP address"):
        WebConfig(proxy_addresses=("the proxy",))
    with pytest.raises(UserError, match="anybody could send it"):
        WebConfig(proxy_user_header="X-User")
    with pytest.raises(ValidationError):
        WebConfig(port=70_000)


SECRET = {"X-ClinLens-Proxy": "s3cret"}
PROXY = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "9.9.9.9, 198.51.100.7"}


def proxied(premises: Premises, address: str, headers: dict[str, str]) -> TestClient:
    cfg = WebConfig(
        proxy_addresses=("10.0.0.1",), proxy_user_header="X-Remote-User", proxy_secret="s3cret", names=("lens.example",)
    )
    app = create(cfg, "unused", database=premises.database)
    return TestClient(app, base_url="http://lens.example", client=(address, 1), headers=headers, follow_redirects=False)


def test_the_declared_proxys_word_counts_for_who_signed_in(premises: Premises):
    headers = {**PROXY, **SECRET, "X-Remote-User": PEOPLE["rater"][0]}
    answer = proxied(premises, "10.0.0.1", headers).get("/sign-in")
    assert answer.status_code == 303
    assert "__Host-clinlens=" in answer.headers["set-cookie"]


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("10.0.0.2", {**PROXY, **SECRET, "X-Remote-User": PEOPLE["rater"][0]}),
        ("10.0.0.1", {**PROXY, "X-ClinLens-Proxy": "guess", "X-Remote-User": PEOPLE["rater"][0]}),
        ("10.0.0.1", {**PROXY, **SECRET, "X-Remote-User": "nobody.known"}),
        ("10.0.0.1", {**PROXY, **SECRET}),
    ],
    ids=["another address", "another secret", "nobody here", "no name"],
)
def test_nobody_elses_word_does(premises: Premises, address: str, headers: dict[str, str]):
    answer = proxied(premises, address, headers).get("/sign-in")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers


def test_only_a_declared_proxy_says_where_a_request_came_from():
    gate = Gate(lambda *_: None, WebConfig(proxy_addresses=("10.0.0.1",)))  # type: ignore[arg-type]
    headers = [(name.lower().encode(), value.encode()) for name, value in PROXY.items()]
    scope = {"type": "http", "scheme": "http", "client": ("10.0.0.1", 5), "headers": headers}
    seen = gate.as_the_proxy_says(scope)
    assert (seen["scheme"], seen["client"], seen["headers"]) == ("https", ("198.51.100.7", 0), [])
    stranger = gate.as_the_proxy_says({**scope, "client": ("10.0.0.2", 5)})
    assert (stranger["scheme"], stranger["client"]) == ("http", ("10.0.0.2", 5))
    assert stranger["headers"] == [], "forged headers are dropped"
