"""The desk's pages in a real browser, on a real server whose numbers are made up: by pointer, by keyboard, for everybody's eyes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest

from analysis.views.combination import combined
from analysis.views.intensity import intensity
from analysis.views.reduction import reduced
from analysis.views.temporal import decay_weights
from analysis.views.window import input_centred, largest_window, output_centred
from tests.clinlens.desk.pages.premises import HOSTILE, NOTE, TRACE, Place, job, served, write_trace

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
TAGS = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]},
    "resultTypes": ["violations"],
}

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs {CHROMIUM} (apt-get install chromium)"),
    pytest.mark.xdist_group("desk-browser"),
]


class Desk(NamedTuple):
    """A server with jobs that are done."""

    place: Place
    client: httpx.Client
    small: str
    """Two models, two methods."""
    large: str
    """One result that comes in tiles."""

    def made(self, body: dict[str, Any]) -> str:
        """A job, done."""
        job_id = self.client.post("/api/jobs", json=body).raise_for_status().json()["job_id"]
        deadline = time.monotonic() + 30
        while self.client.get(f"/api/jobs/{job_id}/status").json()["status"] in ("queued", "running"):
            assert time.monotonic() < deadline, "the job never ended"
            time.sleep(0.05)
        return job_id

    def result(self, job_id: str, number: int = 0) -> dict[str, Any]:
        """One result of a job."""
        return self.client.get(f"/api/jobs/{job_id}/results").json()["results"][number]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with served(tmp_path_factory.mktemp("desk") / "run") as place, httpx.Client(base_url=place.base) as client:
        write_trace(place.run)
        empty = Desk(place, client, "", "")
        small = empty.made(job(models=["clinic", "clinic-second"], title="Small"))
        yield Desk(place, client, small, empty.made(job("word and " * 350, methods=("attn_lrp",), generate=300)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS)
        yield opened
        opened.close()


class Window:
    """A browser window; what it reports and whom it asks is written down."""

    def __init__(self, browser: Any, desk: Desk, **more: Any) -> None:
        self.base = desk.place.base
        self.context = browser.new_context(viewport={"width": 1366, "height": 768}, **more)
        self.page, self.trouble = self.context.new_page(), []
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("request", self.look)

    def look(self, request: Any) -> None:
        """Notes whoever else is asked."""
        if not request.url.startswith((self.base, self.base.replace("http", "ws"), "data:", "about:", "blob:")):
            self.trouble.append(f"asks {request.url}")

    def go(self, path: str) -> Any:
        """A page."""
        self.page.goto(self.base + path, wait_until="load")
        return self.page

    def job(self, job_id: str) -> Any:
        """A job's page, with its result."""
        page = self.go(f"/desk/jobs/{job_id}")
        until(
            page,
            "document.querySelectorAll('#input [role=option]').length > 0 && document.querySelector('#focus-table tbody')",
        )
        return page

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


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
        page.wait_for_timeout(40)
    pytest.fail(f"it was never so that {expression}; the page says {page.inner_text('main')[-600:]!r}")


def module(page: Any, name: str, work: str, argument: Any = None) -> Any:
    """What a function makes of one of the page's modules."""
    address = page.evaluate("document.querySelector('script[type=module]').src").rsplit("/", 1)[0]
    return page.evaluate(
        f"async ([address, argument]) => {{ const found = await import(address); return ({work})(found, argument); }}",
        [f"{address}/{name}", argument],
    )


def test_every_page_is_accessible(desk: Desk, browser: Any):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    job_page = f"/desk/jobs/{desk.small}"
    pages = {
        "/desk": "document.querySelector('.jobs')",
        "/desk/new": "document.querySelectorAll('#methods input').length > 3",
        job_page: "document.querySelector('#panel-metrics table') && document.querySelector('#category-shares table')",
        f"/desk/compare?left={desk.small}:0&right={desk.small}:2": "document.querySelector('#aligned table')",
        "/desk/traces": "true",
        f"/desk/traces/{TRACE}?job={desk.small}": "document.querySelector('#example-strips .strip')",
    }
    opening = """() => {
        for (const one of document.querySelectorAll("#cells, #panel-metrics, #panel-edits, #panel-origin")) one.open = true;
        const mode = document.getElementById("category-mode"); mode.value = "compare"; mode.onchange();
        for (const one of document.querySelectorAll("#toggles button")) if (one.ariaPressed !== "true") one.click(); }"""
    with Window(browser, desk, bypass_csp=True) as window:  # axe is put into the page, which the policy forbids
        for path, is_ready in pages.items():
            page = window.go(path)
            if path == job_page:
                until(page, "document.querySelector('#category-mode').onchange !== null")
                page.evaluate(opening)
            until(page, is_ready)
            found = axe.run(page, options=TAGS).response["violations"]
            assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == [], path
            assert window.trouble == [], path


def test_every_page_asks_nobody_else_and_breaks_no_policy(desk: Desk, browser: Any):
    with Window(browser, desk) as window:
        for path in (
            "/desk",
            "/desk/new",
            f"/desk/jobs/{desk.small}",
            "/desk/compare",
            "/desk/traces",
            f"/desk/traces/{TRACE}",
        ):
            page = window.go(path)
            page.wait_for_timeout(150)
            assert page.evaluate("window.broken") is None
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
            assert window.trouble == [], path


def test_pages_can_be_read_at_four_times_the_size(desk: Desk, browser: Any):
    with Window(browser, desk) as window:
        window.page.set_viewport_size({"width": 342, "height": 192})
        for path in ("/desk", "/desk/new", f"/desk/jobs/{desk.small}", f"/desk/traces/{TRACE}"):
            page = window.go(path)
            page.wait_for_timeout(300)
            assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path


def test_the_browser_sums_and_scales_as_the_server_does(desk: Desk, browser: Any):
    values = np.sin(np.arange(300 * 270, dtype=float)).reshape(300, 270).astype(np.float32)
    with Window(browser, desk) as window:
        page = window.go(f"/desk/jobs/{desk.small}")
        sums = """({ Matrix }) => { const row = (i) => Array.from({ length: 270 }, (_, j) => Math.sin(270 * i + j)),
            rows = Array.from({ length: 300 }, (_, i) => row(i));
            const made = Matrix.of(rows); made.top = 2; const tile = made.tile(2, 0, 0);
            return [[...made.sumRows(248, 262).sums], [...made.sumColumns(250, 258).sums], [...tile.values]]; }"""
        rows, columns, small = module(page, "matrix.js", sums)
        formulas = """({ windowBound, windowOf, minMax, combined, decayWeights, temporal }, [one, other]) => [windowBound(300, 270),
            windowOf(255, 255, 14, 300), [...minMax(one)], [...combined([one, other])], decayWeights(3, 0.5),
            [...temporal([one.slice(0, 2), one], [0.25, 0.75])]]"""
        one, other = values[0].tolist(), values[1].tolist()
        bound, window_of, scaled, both, weights, turns = module(page, "aggregation.js", formulas, [one, other])
    np.testing.assert_allclose(rows, input_centred(values, 255, 14), atol=1e-4)
    np.testing.assert_allclose(columns, output_centred(values, 254, 9), atol=1e-4)
    np.testing.assert_allclose(np.reshape(small, (75, 68)), reduced(values, 2), atol=1e-6)
    assert bound == largest_window(300, 270) == 135
    assert window_of == [248, 262]
    np.testing.assert_allclose(scaled, intensity(values[0]), atol=1e-6)
    np.testing.assert_allclose(both, combined([values[0][:, None], values[1][:, None]])[:, 0], atol=1e-6)
    np.testing.assert_allclose(weights, decay_weights(3))
    np.testing.assert_allclose(turns, [v * (1 if i < 2 else 0.75) for i, v in enumerate(one)], rtol=1e-5)


def test_hovering_a_token_shows_what_it_gives_to_each_output_token(desk: Desk, browser: Any):
    raw = np.array(desk.result(desk.small)["attribution"]["raw"])
    with Window(browser, desk) as window:
        page = window.job(desk.small)
        assert page.inner_text("#title") == "Small"
        page.locator("#input [role=option]").nth(3).hover()
        until(page, "document.getElementById('focus-title').textContent.startsWith('From')")
        strongest = int(np.abs(raw[3]).argmax())
        assert page.inner_text("#focus-table tbody th").startswith(f"{strongest} ")
        assert page.locator("#input .framed").count() == 1
        page.locator("#window").fill("3")
        page.locator("#output [role=option]").nth(2).hover()
        until(page, "document.getElementById('focus-title').textContent.startsWith('To')")
        strongest = int(np.abs(raw[:, 1:4].sum(1)).argmax())
        assert page.inner_text("#focus-table tbody th").startswith(f"{strongest} ")
        assert page.locator("#output .framed").count() == 3
        assert window.trouble == []


def test_tokens_are_reached_held_and_released_by_keyboard(desk: Desk, browser: Any):
    with Window(browser, desk) as window:
        page = window.job(desk.small)
        page.focus("#input")
        for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight"):
            page.keyboard.press(key)
        until(page, "document.getElementById('focus-text').textContent.startsWith('Summed over input tokens 1–2')")
        at = page.get_attribute("#input", "aria-activedescendant")
        assert page.locator(f"#{at}").get_attribute("aria-selected") == "true"
        page.keyboard.press("End")
        page.keyboard.press("Escape")
        until(page, "document.getElementById('focus-title').textContent === 'All tokens'")
        page.focus("#output")
        page.keyboard.press("ArrowRight")
        until(page, "document.getElementById('focus-title').textContent.startsWith('To')")


def test_two_methods_blend_where_both_are_strong(desk: Desk, browser: Any):
    results = [
        desk.result(desk.small, number)["attribution"]["aggregated"]["token_importance"]["input"] for number in (0, 1)
    ]
    levels = [np.abs(one) / np.abs(one).max() for one in results]
    inks = np.array([[0, 114, 178], [213, 94, 0]]) / 255
    with Window(browser, desk) as window:
        page = window.job(desk.small)
        page.click('#toggles [data-method="occlusion"]')
        until(page, "document.querySelectorAll('#toggles [aria-pressed=true]').length === 2")
        colours = page.evaluate(
            "[...document.querySelectorAll('#input [role=option]')].map((one) => getComputedStyle(one).backgroundColor)"
        )
    for index in range(1, 8):
        shares = [0.78 * np.float32(one[index]) for one in levels]
        expected = 255 * np.prod([1 - share * (1 - ink) for share, ink in zip(shares, inks, strict=True)], axis=0)
        found = [float(part) for part in colours[index].strip("rgba()").split(",")[:3]]
        np.testing.assert_allclose(found, expected, atol=1.01)


def test_a_large_matrix_comes_in_tiles_and_sums_as_the_whole_does(desk: Desk, browser: Any):
    result = desk.result(desk.large)
    assert result["attribution"]["raw"] is None
    with Window(browser, desk) as window:
        page = window.job(desk.large)
        until(
            page,
            "document.getElementById('loaded').textContent === '' && performance.getEntriesByName('matrix-painted').length",
        )
        page.locator("#input [role=option]").nth(5).hover()
        until(page, "document.getElementById('focus-title').textContent.startsWith('From')")
        told = page.inner_text("#focus-table tbody tr")
        url = result["attribution"]["tiles"]["url"]
        row = np.frombuffer(desk.client.get(f"{url}?rows=5-6&cols=0-300").content, "<f4")
        assert told.startswith(f"{int(np.abs(row).argmax())} ")
        page.locator("#heatmap").scroll_into_view_if_needed()
        box = page.locator("#heatmap canvas.over").bounding_box()
        page.mouse.move(box["x"] + 50, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + 200, box["y"] + 90, steps=3)
        page.mouse.up()
        until(page, "!document.getElementById('whole').hidden")
        page.click("#whole")
        until(page, "document.getElementById('whole').hidden")
        assert window.trouble == []


def test_a_job_is_made_in_the_form_and_followed_to_its_end(desk: Desk, browser: Any):
    with Window(browser, desk) as window:
        page = window.go("/desk/new")
        until(page, "document.querySelectorAll('#methods input').length > 3")
        page.click("#send")
        until(page, "!document.getElementById('problem').hidden")
        assert "expected" in page.inner_text("#problem")
        page.fill("[name=text]", "Slowly the fever fell")
        until(page, "document.getElementById('count').textContent.includes('tokens of')")
        assert page.locator("#preview span").count() > 3
        page.fill("[name=generate]", "3")
        page.fill("[name=title]", "Made by hand")
        page.click("#send")
        page.wait_for_url("**/desk/jobs/*")
        until(page, "document.getElementById('status').textContent === 'running'")
        until(
            page,
            "document.getElementById('status').innerText === 'completed' && document.querySelectorAll('#output span').length === 3",
        )
        assert page.inner_text("#title") == "Made by hand"
        assert window.trouble == []


def test_a_lost_socket_is_opened_again_after_the_last_message(desk: Desk, browser: Any):
    script = """async ({ Live }, id) => {
        const opened = [], states = [], Real = window.WebSocket, asked = window.fetch;
        window.WebSocket = class extends EventTarget { constructor(url) { super(); this.url = url; opened.push(this); }
            close() {} };
        const live = new Live(id, (state) => states.push({ ...state }));
        const tell = (socket, data) => socket.dispatchEvent(new MessageEvent("message", { data: JSON.stringify(data) }));
        const task = (status) => ({ model: "m", method: "f", status });
        tell(opened[0], { type: "snapshot", seq: 4, status: "running", progress: 0.25, tasks: [task("running")] });
        tell(opened[0], { type: "progress", seq: 3, progress: 0 });
        tell(opened[0], { type: "task", seq: 5, status: "running", progress: 0.5, task: task("completed") });
        window.fetch = () => Promise.reject(new Error("no server"));
        opened[0].dispatchEvent(new Event("close"));
        await new Promise((resolve) => setTimeout(resolve, 700));
        window.fetch = asked;
        tell(opened[1], { type: "completed", seq: 6, status: "completed", progress: 1 });
        window.WebSocket = Real;
        const told = states.map((one) => [one.status, one.progress]);
        return [opened.map((one) => new URL(one.url).search), told, states[1].tasks[0].status, live.isOver];
    }"""
    with Window(browser, desk) as window:
        urls, states, task, is_over = module(window.go("/desk"), "live.js", script, desk.small)
    assert urls == ["?after=0", "?after=5"]
    assert states == [["running", 0.25], ["running", 0.5], ["completed", 1]], "what was heard before is heard once"
    assert (task, is_over) == ("completed", True)


def test_what_is_hovered_at_the_left_is_framed_at_the_right_across_tokenisers(desk: Desk, browser: Any):
    with Window(browser, desk) as window:
        page = window.go(f"/desk/compare?left={desk.small}:0&right={desk.small}:2")
        until(page, "document.querySelectorAll('#right-input [role=option]').length > 0")
        page.locator("#left-input [role=option]").nth(2).hover()  # “admitted”, which the other model reads in two
        until(page, "document.querySelectorAll('#right-input .framed').length === 2")
        assert "admitted" in page.inner_text("#remark")
        assert "common units" in page.inner_text("#difference-size")
        assert window.trouble == []


def test_a_follow_up_has_a_timeline_and_shares_of_the_turns(desk: Desk, browser: Any):
    turn = {"turns": [{"role": "user", "text": "And what of the cough ?"}]}
    follow = desk.made(
        {"models": ["clinic"], "methods": ["attn_lrp"], "input": turn, "options": {"follow_up_of": desk.small}}
    )
    with Window(browser, desk) as window:
        page = window.job(follow)
        until(page, "document.querySelectorAll('#timeline li').length === 2")
        assert page.locator("#timeline [aria-current=step]").inner_text().startswith("Turn 2")
        page.click("#panel-turns summary")
        until(page, "document.querySelectorAll('#panel-turns tbody tr').length === 2")
        page = window.go(f"/desk/new?follow_up_of={desk.small}")
        until(page, "document.querySelectorAll('#turns li').length === 2")
        assert NOTE.split()[0] in page.inner_text("#turns")
        assert window.trouble == []


def test_an_edited_token_shows_both_attributions_and_a_ranking(desk: Desk, browser: Any):
    with Window(browser, desk) as window:
        page = window.job(desk.small)
        page.click("#panel-edits summary")
        until(page, "document.querySelectorAll('#panel-edits [role=option]').length > 0")
        page.locator("#panel-edits [role=option]").nth(5).click()
        page.fill(".edits input", "kidney")
        page.click("#panel-edits button.primary")
        until(page, "document.querySelectorAll('#panel-edits .beside .strip').length === 2")
        assert "kidney" in page.inner_text("#panel-edits .beside > div:last-child")
        until(page, "document.querySelector('#panel-edits').textContent.includes('Edits by what they did')")
        assert window.trouble == []


def test_kinds_of_tokens_are_highlighted_and_shown_alone(desk: Desk, browser: Any):
    with Window(browser, desk) as window:
        page = window.job(desk.small)
        until(page, "document.getElementById('category-mode').onchange !== null")
        page.select_option("#category-mode", "highlight")
        until(page, "document.querySelectorAll('#category-list button').length > 1")
        chip = page.locator("#category-list button", has_text="symptom")
        page.locator("#category-list button[aria-pressed=true]").first.click()
        chip.click()
        assert "dyspnoea" in page.locator("#input .category").first.inner_text()
        page.select_option("#category-mode", "isolate")
        until(page, "document.querySelectorAll('#input .gone').length > 10")
        assert page.locator("#input [role=option]:visible").count() == page.locator("#input .category").count()


def test_jobs_are_found_chosen_and_deleted_together(desk: Desk, browser: Any):
    for number in range(2):
        desk.made(job(f"zebra {number}", title=f"Zebra {number}", generate=1))
    with Window(browser, desk) as window:
        page = window.go("/desk")
        page.fill("[name=q]", "zebra")
        until(page, "document.querySelectorAll('.jobs tbody tr').length === 2")
        for box in page.locator(".jobs tbody input").all():
            box.check()
        page.click("[data-action=delete]")
        page.click("#sure button[value=no]")
        assert page.locator(".jobs tbody tr").count() == 2
        page.click("[data-action=delete]")
        page.click("#sure button[value=yes]")
        until(page, "document.querySelectorAll('.jobs tbody tr').length === 0")
        assert window.trouble == []
    assert desk.client.get("/api/jobs?q=zebra").json()["total"] == 0


def test_a_failed_job_says_why_and_can_be_tried_again(desk: Desk, browser: Any):
    failed = desk.made(job("Fail at once", methods=("attn_lrp",)))
    with Window(browser, desk) as window:
        page = window.go(f"/desk/jobs/{failed}")
        until(page, "document.getElementById('tasks').textContent.includes('ran out of memory')")
        assert page.is_visible("#retry")
        assert page.is_hidden("#result")


def test_a_record_is_saved_and_no_cell_of_a_table_is_a_formula(desk: Desk, browser: Any):
    with Window(browser, desk) as window:
        page = window.job(desk.small)
        page.click("#export")
        with page.expect_download() as saved:
            page.click("[data-export=csv]")
        rows = Path(saved.value.path()).read_text().splitlines()
        assert rows[0] == "model,method,side,place,token,importance"
        assert module(page, "exports.js", "({ cell }) => [cell('=1+1'), cell('a,b'), cell(-2)]") == [
            "'=1+1",
            '"a,b"',
            "-2",
        ]


def test_the_concept_page_shows_links_with_two_kinds_of_evidence_first(desk: Desk, browser: Any):
    with Window(browser, desk) as window:
        page = window.go(f"/desk/traces/{TRACE}")
        until(page, "document.querySelectorAll('.flow .hidden-edge').length > 0")
        seen = "[...document.querySelectorAll('.flow .edge')].filter((one) => !one.classList.contains('hidden-edge')).length"
        assert page.evaluate(seen) == 3
        page.uncheck("[data-kind=cosine]")
        assert page.evaluate(seen) == 2
        page.uncheck("#strong-only")
        assert page.evaluate(seen) == 5
        page.locator(".flow a").first.focus()
        assert "is linked to 2 features" in page.inner_text("#node-status")
        page.keyboard.press("Enter")
        until(page, "document.activeElement.classList.contains('node')")
        assert HOSTILE in page.inner_text("main")
        assert page.evaluate("window.broken") is None
        assert window.trouble == []


def test_the_concept_page_can_be_read_without_scripts(desk: Desk, browser: Any):
    with Window(browser, desk, java_script_enabled=False) as window:
        page = window.go(f"/desk/traces/{TRACE}")
        assert "no clinical validation" in page.inner_text("main")
        assert page.locator("svg.drawing").count() == 3
        assert page.locator(".flow a").count() == 4
