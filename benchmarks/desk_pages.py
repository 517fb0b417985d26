"""The analyst's pages in real Chromium: from the pointer to the picture, and from the address to the first view.

    python -m benchmarks.desk_pages --json          under a minute; --quick measures fewer moves

1. *Hover.* A job with a matrix of 512 × 512 and two methods, both shown. The pointer goes from token to token. Measured in the
   page from the beginning of the pointer's event to the end of the frame that shows its row: sums, colours, table, style,
   layout, paint.
2. *First view.* A job of 4,096 × 512, whose matrix comes in tiles. Measured from the beginning of the navigation to the frame
   after which the tokens have their colours and the picture of the whole matrix stands, with nothing in the browser's cache.

The server and its answers are real; the numbers in them are made up by a bench without a model.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx

from benchmarks.harness.report import Report, parser_of
from benchmarks.harness.rounds import spread
from sae.errors import UserError
from tests.clinlens.desk.pages.premises import Place, job, served

CHROMIUM = Path("/usr/bin/chromium")
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
LISTEN = """() => {
  window.moves = [];
  document.getElementById("input").addEventListener("pointerover", (event) => {
    if (event.target.place === undefined) return;
    const started = performance.now(), channel = new MessageChannel();
    channel.port1.onmessage = () => window.moves.push([performance.now() - started, performance.now() - event.timeStamp]);
    requestAnimationFrame(() => channel.port2.postMessage(0));
  }, true);
}"""
FIRST_VIEW = """() => new Promise((resolve) => {
  const look = () => (["first-view", "matrix-painted"].every((name) => performance.getEntriesByName(name).length)
    ? requestAnimationFrame(() => setTimeout(() => resolve(performance.now()))) : setTimeout(look, 5));
  look();
})"""


def made(place: Place, body: dict[str, Any]) -> str:
    """A job that is done."""
    with httpx.Client(base_url=place.base, timeout=60) as client:
        job_id = client.post("/api/jobs", json=body).raise_for_status().json()["job_id"]
        while client.get(f"/api/jobs/{job_id}/status").json()["status"] in ("queued", "running"):
            time.sleep(0.1)
    return job_id


class Moves(NamedTuple):
    """What hovering took."""

    each: list[list[float]]
    """Milliseconds of each move: of the work, and with the wait for the frame it begins in."""
    processor_ms: float
    """Processor time of the page's main thread per move; other programs stretch it less than they do the clock."""


def busy_ms(session: Any) -> float:
    """Processor time that the page's main thread has taken."""
    found = session.send("Performance.getMetrics")["metrics"]
    return next(1000 * one["value"] for one in found if one["name"] == "TaskDuration")


def hovered(browser: Any, place: Place, job_id: str, n_moves: int) -> Moves:
    """The pointer goes from token to token."""
    page = browser.new_page(viewport={"width": 1366, "height": 768})
    page.goto(f"{place.base}/desk/jobs/{job_id}")
    page.evaluate(FIRST_VIEW)
    page.click('#toggles [data-method="occlusion"]')
    page.evaluate(LISTEN)
    page.wait_for_timeout(500)
    boxes = page.evaluate(
        "n => [...document.querySelectorAll('#input [role=option]')].slice(1, n + 1).map((one) => one.getBoundingClientRect())"
        ".map((box) => [box.x + box.width / 2, box.y + box.height / 2])",
        n_moves,
    )
    visible = [(x, y) for x, y in boxes if y < 700]
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = busy_ms(session)
    for move in range(n_moves):
        page.mouse.move(*visible[(7 * move) % len(visible)])
        page.wait_for_timeout(30)
    found = Moves(page.evaluate("window.moves"), (busy_ms(session) - before) / n_moves)
    page.close()
    return found


def first_views(browser: Any, place: Place, job_id: str, n_rounds: int) -> list[float]:
    """Seconds of each navigation, each in a browser context of its own."""
    found = []
    for _ in range(n_rounds):
        context = browser.new_context(viewport={"width": 1366, "height": 768})
        page = context.new_page()
        page.goto(f"{place.base}/desk/jobs/{job_id}", wait_until="commit")
        found.append(page.evaluate(FIRST_VIEW) / 1000)
        context.close()
    return found


def measured(browser: Any, place: Place, *, quick: bool) -> Report:
    """Both figures."""
    report = Report()
    report.targets = {"hover_to_repaint_ms": "<= 16", "first_view_s": "<= 1"}
    square = made(place, job(("word " * 511).strip(), generate=512))
    moves = hovered(browser, place, square, 40 if quick else 200)
    works = sorted(one[0] for one in moves.each)
    report.figures["hover_to_repaint_ms"] = spread(works)
    report.peers["hover_to_repaint_p95_ms"] = works[int(0.95 * (len(works) - 1))]
    report.peers["hover_with_wait_for_frame_ms"] = spread([one[1] for one in moves.each]).value
    report.peers["hover_processor_ms"] = moves.processor_ms
    report.say(f"hover: {len(works)} moves over a matrix of 512 × 512, two methods shown")
    large = made(place, job(("word and more words ; " * 819).strip(), methods=("attn_lrp",), generate=512))
    report.figures["first_view_s"] = spread(first_views(browser, place, large, 3 if quick else 9))
    report.say("first view: 4,096 × 512 in tiles, empty cache")
    return report


def main() -> None:
    """Measures and reports."""
    arguments = parser_of(__doc__).parse_args()
    if not CHROMIUM.is_file():
        raise UserError(f"{CHROMIUM} does not exist, expected Debian's Chromium. Install the package chromium.")
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, served(Path(folder) / "run") as place, sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=str(CHROMIUM), args=OPTIONS)
        report = measured(browser, place, quick=arguments.quick)
        browser.close()
    report.deliver(arguments)


if __name__ == "__main__":
    main()
