"""The page is one safe file, the same for the same run, and says what it lacks."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from clinlens.report import pareto, plots
from clinlens.report.config import ReportConfig
from clinlens.report.page import json_for_script, write_report
from sae.errors import UserError
from training.config import CostConfig

HOSTILE = "</script><img src=x onerror=window.broken=1>"
BuildRun = Callable[..., Path]


class Page(HTMLParser):
    """Elements and text of a page, as an HTML parser reads them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[tuple[str, str]] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.blocks.append((self._inside, data))
        else:
            self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def report(run: Path, cfg: ReportConfig | None = None, saes: list[tuple[str, str]] | None = None) -> str:
    return write_report(run, cfg or ReportConfig(), CostConfig(), saes).read_text(encoding="utf-8")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the plots undrawn, which take most of the time, where a test is about the words."""
    for module in (plots, pareto):
        monkeypatch.setattr(module, "draw", lambda figure, alt: plots.Plot("data:image/svg+xml;base64,", alt))


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return report(run)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_refers_to_nothing_outside_itself(page: Page):
    for _, attributes in page.elements:
        assert "src" not in attributes or str(attributes["src"]).startswith("data:image/svg+xml;base64,")
        assert "href" not in attributes or str(attributes["href"]).startswith("#")
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert not page.attributes("link") + page.attributes("iframe") + page.attributes("object")


def test_pictures_refer_to_nothing_outside_themselves(page: Page):
    pictures = [base64.b64decode(str(image["src"]).partition(",")[2]).decode() for image in page.attributes("img")]
    assert len(pictures) == 6
    for picture in pictures:
        assert not re.search(r'(href|src)="(?!#)', picture)
        assert not re.search(r"url\((?!#)", picture)


def test_policy_allows_exactly_the_one_script_and_the_one_style(page: Page):
    (policy,) = (
        meta["content"] for meta in page.attributes("meta") if meta.get("http-equiv") == "Content-Security-Policy"
    )
    directives = dict(part.strip().split(" ", 1) for part in str(policy).split(";"))
    scripts = [text for (name, text), kind in zip(
        [block for block in page.blocks if block[0] == "script"], ("data", "code"), strict=True) if kind == "code"]  # fmt: skip
    for name, (text,) in (
        ("script-src", scripts),
        ("style-src", [text for tag, text in page.blocks if tag == "style"]),
    ):
        assert directives[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert directives["default-src"] == "'none'"
    assert directives["img-src"] == "data:"


def test_text_of_the_corpus_cannot_become_markup(html: str, page: Page):
    assert HOSTILE not in html
    assert "<b>of</b>" not in html
    assert all(image.get("onerror") is None for image in page.attributes("img"))
    assert f"pain {HOSTILE}" in page.text


def test_json_in_a_script_reads_back_as_the_same_text():
    written = json_for_script({"text": HOSTILE + "<!--"})
    assert "<" not in written
    assert json.loads(written) == {"text": HOSTILE + "<!--"}


def test_every_picture_is_described_and_every_header_cell_has_a_scope(page: Page):
    assert all(len(str(image["alt"])) > 40 for image in page.attributes("img"))
    assert all(cell.get("scope") in ("row", "col") for cell in page.attributes("th"))


def test_headings_leave_out_no_level(page: Page):
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_the_same_run_gives_the_same_bytes(run: Path, html: str):
    assert report(run) == html


def test_states_figures_hashes_and_the_caveat(page: Page):
    for words in (
        "no clinical validation",
        "patient text if the corpus has any",
        "aa11",
        "bb22",
        "cc33",
        "dd44",
        "1/2",
    ):
        assert words in page.text
    assert "1 of 2 have a feature with AUROC ≥ 0.95 (1 different feature)" in page.text
    assert "30 documents, 3,000 tokens" in page.text
    assert "02 January 2026, 03:03 UTC" in page.text
    assert "4 of 48 features (8.3 %) never fired" in page.text


@pytest.mark.usefixtures("undrawn")
def test_says_how_many_of_the_features_are_listed(run: Path):
    few = Page(report(run, ReportConfig(features_per_sae=5)))
    assert "Shown here are 20 of 44 live features, at most 5 of each SAE" in few.text


@pytest.mark.usefixtures("undrawn")
def test_shows_only_the_autoencoders_asked_for(run: Path):
    (chosen,) = [("blocks.1.hook_resid_post", "topk-x4-k2-0123abcd")]
    page = Page(report(run, saes=[chosen]))
    assert "1 sparse autoencoder (TopK)" in page.text
    assert "l1-x4-4567cdef" not in page.text


def test_names_an_autoencoder_that_is_missing(run: Path):
    with pytest.raises(UserError, match=r"no metrics\.json, expected a trained SAE"):
        report(run, saes=[("blocks.1.hook_resid_post", "topk-x4-k2-ffffffff")])


def test_says_that_a_run_without_a_store_has_none(tmp_path: Path):
    with pytest.raises(UserError, match="holds no finished activation store"):
        report(tmp_path)


@pytest.mark.usefixtures("undrawn")
def test_says_why_there_are_no_concepts_and_no_costs(build_run: BuildRun, tmp_path: Path):
    page = Page(report(build_run(tmp_path / "bare", has_concepts=False, has_resources=False)))
    assert "needs a corpus with annotated spans, and this run has none" in page.text
    assert "cannot be estimated" in page.text
    assert "Last stage started not recorded" in page.text


@pytest.mark.usefixtures("undrawn")
def test_says_why_an_encoder_has_no_loss_score(build_run: BuildRun, tmp_path: Path):
    page = Page(report(build_run(tmp_path / "encoder", is_encoder=True)))
    assert "this model predicts no next token" in page.text
    assert "There is no panel for the CE loss score" in page.text


@pytest.mark.usefixtures("undrawn")
def test_says_what_was_not_evaluated_and_has_no_examples(build_run: BuildRun, tmp_path: Path):
    run = build_run(tmp_path / "early")
    for path in [*run.glob("saes/*/*/evaluation.json"), *run.glob("examples/*/*.h5"), run / "config.yaml"]:
        path.unlink()
    page = Page(report(run))
    for words in (
        "None of them was evaluated",
        "Run clinlens evaluate",
        "Run clinlens examples",
        "holds no config.yaml",
    ):
        assert words in page.text


def test_probes_and_shrinkage_stand_in_a_table_of_their_own(run: Path, undrawn: None):
    page = report(run)
    assert "Probe, 1" in page
    assert "Probe, 10" in page
    assert "0.850 (0.750–0.875)" in page
    assert page.index("Probe, 1<") < page.index("Probe, 10<")
