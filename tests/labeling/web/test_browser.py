"""The pages in a real browser: by keyboard alone, without a connection, with hostile notes, for everybody's eyes."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from clinlens.serve import listening
from labeling.database.judgements import judgement_table
from tests.labeling.web.premises import HOSTILE, Premises, furnish

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs {CHROMIUM} (apt-get install chromium)"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Premises, str]]:
    """A server that listens, and where."""
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        premises = furnish(tmp_path_factory.mktemp("browser"), port=port)
        server = uvicorn.Server(uvicorn.Config(premises.app, log_config=None, access_log=False, server_header=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield premises, f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()
        premises.app.state.clinlens.worker.close()
        premises.database.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS)
        yield opened
        opened.close()


class Window:
    """Somebody's browser window; what it reports and whom it asks is written down."""

    def __init__(self, browser: Any, place: tuple[Premises, str], role: str, **more: Any) -> None:
        self.premises, self.base = place
        self.context = browser.new_context(viewport={"width": 1366, "height": 768}, **more)
        session = self.premises.session(role)
        if session is not None:
            cookie = {"name": self.premises.config.cookie, "value": session.token, "url": self.base, "httpOnly": True}
            self.context.add_cookies([{**cookie, "sameSite": "Strict"}])
        self.trouble: list[str] = []
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", self.look)

    def look(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:", "about:", "blob:")):
            self.trouble.append(f"asks {request.url}")

    def go(self, path: str) -> Any:
        self.page.goto(self.base + path, wait_until="load")
        return self.page

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


def pages_of(premises: Premises, role: str) -> list[str]:
    """Every page that a role can look at."""
    project, round_id = f"/projects/{premises.project}", premises.round
    found = {
        "anonymous": ["/sign-in", "/nowhere"],
        "administrator": ["/", "/people", "/account", "/projects/new"],
        "rater": [
            "/", f"/assignments/{premises.assignment}", f"/rounds/{round_id}/mine", f"/rounds/{premises.closed_round}/mine",
            f"/codebooks/{premises.codebook}", f"{project}/codebooks",
        ],
        "senior": [f"{project}/adjudication", f"/items/{premises.item}/adjudication", f"{project}/signatures"],
        "analyst": [f"{project}/agreement", f"{project}/audit", f"{project}/signatures"],
        "lead": [
            f"{project}/rounds", f"{project}/rounds/new", f"/rounds/{round_id}", f"{project}/members", f"{project}/codebooks",
        ],
    }  # fmt: skip
    return found[role]


@pytest.mark.parametrize("role", ["anonymous", "administrator", "rater", "senior", "analyst", "lead"])
def test_every_page_is_accessible_asks_nobody_else_and_breaks_no_policy(
    place: tuple[Premises, str], browser: Any, role: str
):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    tags = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
    with Window(browser, place, role) as strict, Window(browser, place, role, bypass_csp=True) as looked_into:
        for path in pages_of(place[0], role):
            page = strict.go(path)
            assert page.evaluate("window.broken") is None
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
            trouble = [text for text in strict.trouble if "404 (Not Found)" not in text]
            assert trouble == [], path
            found = axe.run(looked_into.go(path), options=tags).response["violations"]
            assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == [], path


def test_pages_can_be_read_at_four_times_the_size(place: tuple[Premises, str], browser: Any):
    for role, paths in (("rater", 4), ("lead", 2), ("senior", 2)):
        with Window(browser, place, role) as window:
            window.page.set_viewport_size({"width": 342, "height": 192})  # 1366 × 768 at 400 %
            for path in pages_of(place[0], role)[:paths]:
                page = window.go(path)
                assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), (
                    path
                )


def test_hostile_notes_are_shown_as_the_text_they_are(place: tuple[Premises, str], browser: Any):
    with Window(browser, place, "rater") as window:
        page = window.go(f"/assignments/{place[0].assignment}")
        text = page.locator("#evidence").inner_text()
        assert all(hostile in text for hostile in HOSTILE if "\u202e" not in hostile)
        assert "·gnp.exe··" in text
        assert page.locator("#evidence script, #evidence img, #evidence svg, #evidence iframe").count() == 0
        assert page.evaluate("window.broken") is None
        assert window.trouble == []


def until(page: Any, expression: str, argument: Any = None) -> None:
    """Waits until something is so. Playwright's own way evaluates text as script, which the pages' policy forbids."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if page.evaluate(expression, argument):
                return
        except Exception as error:  # the page went on to another one meanwhile
            if "navigat" not in str(error) and "destroyed" not in str(error):
                raise
        page.wait_for_timeout(50)
    pytest.fail(f"it was never so that {expression}; the page says {page.inner_text('main')[-400:]!r}")


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def tab_to(page: Any, selector: str) -> None:
    """Presses Tab until an element has the focus."""
    for _ in range(40):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab never reached {selector}")


def test_a_whole_rating_is_done_by_keyboard_alone(place: tuple[Premises, str], browser: Any):
    premises = place[0]
    with Window(browser, place, "second_peer") as window:
        page = window.go("/")
        tab_to(page, f'form[action="/rounds/{premises.round}/next"] button')
        press(page, "Enter")
        page.wait_for_url("**/assignments/*")
        first = page.url
        press(page, "?")
        assert page.evaluate("document.getElementById('help').open")
        press(page, "Escape", "r")
        assert page.evaluate("document.getElementById('rubric').open")
        press(page, "r", "v")
        assert page.locator("#show-values").is_checked()
        press(page, "1")
        page.keyboard.type("heart f")
        page.wait_for_selector("#found-concept li")
        press(page, "Enter")
        assert page.locator('.chips [data-code="heart_failure"]').count() == 1
        tab_to(page, '[name="concept.words"]')
        page.keyboard.type("failing heart")
        tab_to(page, '[name="interpretability"]')
        press(page, "4", "3", "2", "1", "5")
        assert page.evaluate("document.activeElement.name") == "rationale.text"
        page.keyboard.type("All of the passages speak of it.")
        press(page, "Shift+Tab", "e", "Shift+ArrowRight", "Enter")
        assert page.locator(".spans li").count() == 1
        until(page, "document.getElementById('saved').textContent.startsWith('Saved')")
        press(page, "q", "Control+Enter")
        until(page, "first => location.href !== first && location.pathname.startsWith('/assignments/')", first)
        assert window.trouble == []
    with premises.database.read() as conn:
        rows = judgement_table(conn, premises.project).rows
    mine = next(row for row in rows if row.rater_id == premises.ids["second_peer"] and row.round_id == premises.round)
    assert mine.answers["category"] == "diagnosis"
    assert mine.answers["concept"] == {"codes": ["heart_failure"], "words": "failing heart"}
    assert [mine.answers[key] for key in ("interpretability", "monosemanticity", "confidence")] == ["s4", "s3", "s5"]
    assert mine.answers["rationale"]["spans"][0]["end"] - mine.answers["rationale"]["spans"][0]["start"] == 2
    assert 0 < mine.active_ms <= mine.wall_ms


def test_undo_opens_the_last_submission_with_its_answers(place: tuple[Premises, str], browser: Any):
    with Window(browser, place, "second_peer") as window:
        window.go("/")
        window.page.click(f'form[action="/rounds/{place[0].round}/next"] button')
        window.page.wait_for_url("**/assignments/*")
        before = window.page.url
        press(window.page, "u")
        until(window.page, "before => location.href !== before", before)
        window.page.wait_for_load_state()
        assert window.page.locator('[name="category"]:checked').get_attribute("value") == "diagnosis"
        assert window.page.locator(".spans li").count() == 1


def test_a_draft_survives_a_lost_connection(place: tuple[Premises, str], browser: Any):
    premises = place[0]
    with Window(browser, place, "rater") as window:
        page = window.go(f"/assignments/{premises.assignment}")
        window.context.set_offline(True)
        page.fill('[name="concept.words"]', "written in a tunnel")
        until(page, "document.getElementById('saved').textContent.includes('kept in this browser')")
        window.context.set_offline(False)
        until(page, "document.getElementById('saved').textContent.startsWith('Saved')")
        page = window.go(f"/assignments/{premises.assignment}")
        assert page.input_value('[name="concept.words"]') == "written in a tunnel"
        window.context.set_offline(True)
        page.fill('[name="concept.words"]', "and the page was closed")
        until(page, "document.getElementById('saved').textContent.includes('kept in this browser')")
        window.context.set_offline(False)
        page = window.go(f"/assignments/{premises.assignment}")
        until(page, "document.querySelector('[name=\"concept.words\"]').value === 'and the page was closed'")
        until(page, "Object.keys(localStorage).every((name) => !name.startsWith('clinlens-draft-'))")
    with premises.visitor("rater") as client:
        kept = client.get(f"/api/v1/assignments/{premises.assignment}").json()["draft"]
    assert kept["concept"]["words"] == "and the page was closed"


def test_shortcuts_can_be_changed_and_switched_off(place: tuple[Premises, str], browser: Any):
    with Window(browser, place, "rater") as window:
        page = window.go(f"/assignments/{place[0].assignment}")
        press(page, "?")
        page.fill('[aria-label="Key for: Rubric"]', "b")
        press(page, "Tab", "Escape", "b")
        assert page.evaluate("document.getElementById('rubric').open")
        press(page, "b", "?")
        page.uncheck("#keys-on")
        press(page, "Escape", "b", "s", "u")
        assert page.locator("dialog[open]").count() == 0


def test_a_session_that_is_about_to_end_is_announced_and_can_be_extended(place: tuple[Premises, str], browser: Any):
    with Window(browser, place, "analyst") as window:
        window.page.clock.install()
        page = window.go("/account")
        page.clock.fast_forward((15 * 60 - 90) * 1000)
        page.wait_for_selector("#idle[open]")
        assert "signed out in about" in page.inner_text("#idle-text")
        page.click("#idle-stay")
        until(page, "!document.getElementById('idle').open")


def test_reading_and_rating_work_without_scripts(place: tuple[Premises, str], browser: Any):
    premises = place[0]
    with Window(browser, place, "peer", java_script_enabled=False) as window:
        page = window.go("/")
        page.click(f'form[action="/rounds/{premises.round}/next"] button')
        page.wait_for_url("**/assignments/*")
        for key, value in {
            "category": "anatomy", "interpretability": "s1", "monosemanticity": "s1", "clinical_relevance": "s1",
            "protected_attribute": "none", "confidence": "s2",
        }.items():  # fmt: skip
            page.check(f'[name="{key}"][value="{value}"]')
        page.fill('[name="rationale.text"]', "too short")
        page.click("#submit")
        assert "expected 20" in page.inner_text("#problem") or "cites 0 passages" in page.inner_text("#problem")
        assert page.is_checked('[name="category"][value="anatomy"]'), "what was typed is kept"
        page.fill('[name="rationale.text"]', "It is about parts of the body alone.")
        page.check('[name="rationale.cite"][value="0"]')
        before = page.url
        page.click("#submit")
        page.wait_for_load_state()
        assert "problem" not in page.url
        assert page.url != before
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with premises.database.read() as conn:
                rows = judgement_table(conn, premises.project).rows
            if any(row.answers.get("category") == "anatomy" for row in rows):
                return
        pytest.fail("the judgement was not stored")
