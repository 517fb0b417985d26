"""The concept page and its files, through the application; who may see labels; what a bad file does."""

import csv
import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from clinlens.desk.pages.ablation_plot import plot
from clinlens.desk.pages.traces import example_query
from labeling.database import roles
from tests.clinlens.desk.pages.premises import HOSTILE, TRACE, application, write_trace
from tests.labeling.web.premises import Premises, furnish

BASE = "http://127.0.0.1:8765"
PAGE = f"/desk/traces/{TRACE}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_trace(folder)
    return folder


@pytest.fixture(scope="module")
def client(run: Path) -> Iterator[TestClient]:
    with TestClient(application(run), base_url=BASE) as found:
        yield found


def test_the_page_holds_the_sentence_the_caveat_and_every_figure_as_text(client: TestClient):
    text = client.get(PAGE).text
    for wanted in (
        "can be read from layer 1 on",
        "no clinical validation",
        "0.66",
        "Nothing was steered",
        "a" * 64,
        "failing heart",
    ):
        assert wanted in text, wanted
    assert HOSTILE not in text
    assert "&lt;img src=x" in text


def test_every_kind_of_file_can_be_read_by_other_programs(client: TestClient):
    whole = client.get(f"{PAGE}/trace.json")
    assert whole.json()["concept"]["name"] == "heart failure"
    assert whole.headers["content-disposition"] == f'attachment; filename="{TRACE}-trace.json"'
    for name, n_rows in (("layers.csv", 8), ("nodes.csv", 4), ("edges.csv", 3)):
        rows = list(csv.reader(io.StringIO(client.get(f"{PAGE}/{name}").text)))
        assert len(rows) == n_rows + 1
        assert {len(row) for row in rows} == {len(rows[0])}
    for name in ("ribbon.svg", "flow.svg"):
        drawing = ET.fromstring(client.get(f"{PAGE}/{name}").text)  # noqa: S314 - made here
        assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
        assert not [one for one in drawing.iter() if one.get("style") or one.tag.endswith("script")]


def test_the_graph_links_nodes_that_it_has_by_measured_effects(client: TestClient):
    graph = client.get(f"{PAGE}/graph.json").json()
    ids = {node["node_id"] for node in graph["nodes"]}
    assert [link["weight"] for link in graph["links"]] == [0.5], "what one kind of evidence alone links is no link"
    assert all({link["source"], link["target"]} <= ids for link in graph["links"])
    assert "no clinical validation" in graph["clinlens"]["caveat"]
    assert len(graph["clinlens"]["sha256"]) == 64


def test_a_permalink_to_another_state_of_the_record_says_so(client: TestClient, run: Path):
    sha256 = client.get(f"{PAGE}/trace.json").json()["sha256"]
    assert "not the record" not in client.get(f"{PAGE}?sha256={sha256}").text
    assert "not the record that the link was made for" in client.get(f"{PAGE}?sha256={'0' * 64}").text


@pytest.mark.parametrize("name", ["nothing-here", "..%2F..%2Fconfig", "a.graph", "x" * 300])
def test_what_is_no_trace_is_not_found(client: TestClient, name: str):
    assert client.get(f"/desk/traces/{name}").status_code == 404
    assert client.get(f"{PAGE}/secrets.txt").status_code == 404


def test_a_file_that_is_no_trace_is_a_mistake_in_one_sentence(client: TestClient, run: Path):
    (run / "traces" / "broken.json").write_text('{"concept": {}}')
    found = client.get("/desk/traces/broken")
    (run / "traces" / "broken.json").unlink()
    assert found.status_code == 422
    assert "is no concept trace, expected what `clinlens trace` writes" in found.text.replace("&#39;", "'")


def test_a_run_without_traces_says_how_to_make_one(tmp_path: Path):
    with TestClient(application(tmp_path / "run"), base_url=BASE) as client:
        assert "clinlens trace RUN" in client.get("/desk/traces").text


def test_the_example_asks_for_the_best_features_of_one_layer(run: Path):
    record = json.loads((run / "traces" / f"{TRACE}.json").read_text())
    query = example_query(record)
    assert "blocks.1.hook_resid_post%2F7%2Cblocks.1.hook_resid_post%2F8" in query
    assert "blocks.0" not in query


def test_effects_and_controls_stand_on_one_axis():
    drawn = plot([{"node": "n", "layer": 1, "effect": -0.5, "interval": [-1.0, 0.0], "controls": [0.5, 1.0]}])
    (row,) = drawn.rows
    assert row.low < row.x < row.high == drawn.zero < row.controls[0] < row.controls[1]
    assert row.x - row.low == pytest.approx(row.high - row.x)
    assert plot([]).rows == []


class House(NamedTuple):
    """A server with accounts, and its people."""

    premises: Premises
    app: FastAPI

    def visitor(self, role: str) -> TestClient:
        """Somebody's client."""
        client = TestClient(self.app, base_url=BASE, follow_redirects=False)
        session = self.premises.session(role)
        if session is not None:
            client.cookies.set(self.premises.config.cookie, session.token)
        return client


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    found = furnish(tmp_path_factory.mktemp("house"))
    with found.database.write() as conn:
        roles.grant_role(conn, found.actor("lead"), found.project, found.ids["rater"], "analyst")
    run = tmp_path_factory.mktemp("run")
    write_trace(run)
    app = application(run, database=found.database, cfg=found.config)
    with TestClient(app, base_url=BASE):
        yield House(found, app)
    for one in (found.app, app):
        one.state.clinlens.worker.close()
    found.database.close()


def test_labels_are_kept_from_an_analyst_who_still_rates(house: House):
    blind = house.visitor("rater")
    page = blind.get(PAGE)
    assert page.status_code == 200
    assert "failing heart" not in page.text
    assert "You rate in a round that is not closed" in page.text
    for name in ("trace.json", "graph.json", "nodes.csv", "flow.svg"):
        assert "diagnosis" not in blind.get(f"{PAGE}/{name}").text, name
    assert "failing heart" in house.visitor("analyst").get(PAGE).text


@pytest.mark.parametrize(
    ("role", "status"),
    [("anonymous", 303), ("outsider", 403), ("second_peer", 403), ("lead", 200), ("administrator", 200)],
)
def test_the_desk_is_for_analysts_leads_seniors_and_administrators(house: House, role: str, status: int):
    client = house.visitor(role)
    assert client.get("/desk").status_code == status
    assert client.get(PAGE).status_code == status


def test_who_may_use_the_desk_finds_it_from_home(house: House):
    (house.app.state.clinlens.run / "report.html").write_text("<html></html>")
    assert 'href="/desk"' in house.visitor("analyst").get("/").text
    assert 'href="/desk"' not in house.visitor("second_peer").get("/").text
