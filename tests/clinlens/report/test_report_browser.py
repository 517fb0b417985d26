"""The page in a real browser, from disk, by keyboard."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clinlens.report.config import ReportConfig
from clinlens.report.page import write_report
from training.config import CostConfig

CHROMIUM = Path("/usr/bin/chromium")
HOSTILE = "</script><img src=x onerror=window.broken=1>"
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"needs {CHROMIUM} (apt-get install chromium)"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def tab() -> Iterator[Any]:
    """One tab for all tests: opening it takes longer than a test."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS)
        yield browser.new_page()
        browser.close()


@pytest.fixture(scope="module")
def path(run: Path) -> Path:
    return write_report(run, ReportConfig(), CostConfig())


@pytest.fixture
def page(tab: Any, path: Path) -> Iterator[Any]:
    """The report at 1366 × 768; at the end nothing was reported on the console and nothing was requested."""
    trouble: list[str] = []
    listeners = {
        "console": lambda message: trouble.append(message.text),
        "pageerror": lambda error: trouble.append(str(error)),
        "request": lambda request: trouble.append(request.url) if is_foreign(request.url, path) else None,
    }
    for event, listener in listeners.items():
        tab.on(event, listener)
    tab.set_viewport_size({"width": 1366, "height": 768})
    tab.goto("about:blank")
    tab.goto(path.as_uri())
    yield tab
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    assert trouble == []


def is_foreign(url: str, path: Path) -> bool:
    return not url.startswith(("data:", "about:")) and url.partition("#")[0] != path.as_uri()


def chosen(page: Any) -> int:
    return int(page.locator("#list button[aria-current]").get_attribute("data-index"))


def focus_by_tab(page: Any, selector: str) -> None:
    """Presses Tab until an element has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"Tab never reached {selector}")


def test_the_first_tab_stop_leads_past_the_head(page: Any):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the summary"


def test_features_can_be_read_with_the_keyboard_alone(page: Any):
    focus_by_tab(page, "#list button")
    indices = [int(button.get_attribute("data-index")) for button in page.locator("#list button").all()]
    assert chosen(page) == indices[0]
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert chosen(page) == indices[2]
    assert page.locator("#detail h3").inner_text() == f"Feature {indices[2]}"
    page.keyboard.press("ArrowUp")
    assert chosen(page) == indices[1]
    page.keyboard.press("End")
    assert chosen(page) == indices[-1]
    page.keyboard.press("Home")
    assert chosen(page) == indices[0]
    assert page.evaluate("document.activeElement.dataset.index") == str(indices[0])


def test_another_sae_a_filter_and_an_order_can_be_chosen_by_keyboard(page: Any):
    focus_by_tab(page, "#sae")
    page.keyboard.press("ArrowDown")
    assert "L1, layer 0" in page.locator("#detail").inner_text()
    focus_by_tab(page, "#filter")
    page.keyboard.type("FEVER")
    assert "of 11 listed features match" in page.locator("#status").inner_text()
    focus_by_tab(page, "#sort")
    page.keyboard.type("concept")
    assert page.locator("#list button").first.get_attribute("data-index") == "5"


def test_a_filter_that_matches_nothing_says_so(page: Any):
    page.locator("#filter").fill("no such token")
    assert "No listed feature matches" in page.locator("#detail").inner_text()
    page.locator("#filter").fill("")
    assert page.locator("#detail h3").count() == 1


def test_a_concept_leads_to_its_feature(page: Any):
    page.locator("#concepts a", has_text="8").first.click()
    page.wait_for_function("document.querySelector('#detail h3').textContent === 'Feature 8'")
    assert "not recovered" in page.locator("#detail").inner_text()
    assert page.evaluate("document.activeElement.dataset.index") == "8"


def test_hostile_text_is_shown_and_not_run(page: Any):
    assert page.locator("#detail .tokens b").first.inner_text() == HOSTILE
    assert page.evaluate("window.broken") is None
    assert page.locator("img[onerror]").count() == 0


def test_whitespace_is_visible_and_the_peak_carries_its_value(page: Any):
    page.locator("#values").check()
    tokens = "".join(page.locator("#detail .tokens").all_inner_texts())
    assert "↵" in tokens or "⇥" in tokens or "∅" in tokens
    peak = page.locator("#detail .tokens b").first
    value = page.locator("#detail .contexts .value").first.inner_text()
    assert peak.get_attribute("title") == f"activation {value}"
    assert value in page.evaluate("element => getComputedStyle(element, '::after').content", peak.element_handle())


def test_the_page_is_never_wider_than_the_window(page: Any):
    for width in (480, 1366, 1920):
        page.set_viewport_size({"width": width, "height": 768})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
