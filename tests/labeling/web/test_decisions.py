"""A lead's and a senior's decisions by the pages: the list of decided items, locks, gates by hand, what waits."""

import re
import time
import uuid

import pytest
import yaml
from sqlalchemy import select

from labeling.codebook import Codebook
from labeling.codebook_file import default_codebook
from labeling.database import adjudication, audit, integrity, projects, roles, rounds, schema
from labeling.database.errors import NotAllowed
from labeling.database.rounds import PlannedItem
from labeling.identifiers import canonical
from labeling.web import alarms
from labeling.web.routes.codebooks import text_of
from tests.labeling.web.premises import PASSWORD, Premises, snapshot

SAME = {"Sec-Fetch-Site": "same-origin"}
REASON = "Both readings are in the passages, and neither prevails."


def test_a_decision_is_listed_signed_locked_and_opened_again(premises: Premises):
    item, project = premises.item, premises.project
    form = {"disposition": "irreducibly_ambiguous", "error_kind": "edge_case", "why": REASON, "revision": "0"}
    with premises.visitor("senior", headers=SAME) as client:
        token = client.headers["X-CSRF-Token"]

        def post(path: str, **fields: str):
            return client.post(path, data={"csrf": token, **fields})

        assert post(f"/items/{item}/adjudication", **form, client_uuid=str(uuid.uuid4())).status_code == 303
        page = client.get(f"/projects/{project}/adjudication").text
        assert "Irreducibly ambiguous" in page
        assert f"/projects/{project}/signatures?object=adjudication:" in page
        assert post(f"/items/{item}/lock", action="lock").status_code == 303
        assert "The item is locked" in client.get(f"/items/{item}/adjudication").text
        again = post(f"/items/{item}/adjudication", **form | {"revision": "1"}, client_uuid=str(uuid.uuid4()))
        assert "Unlock it first" in again.text
        assert "There is no reason" in post(f"/items/{item}/lock", action="unlock", reason=" ").text
        assert post(f"/items/{item}/lock", action="unlock", reason="new evidence").status_code == 303
        assert post(f"/items/{item}/lock", action="burn").status_code == 422
        wanted = {"is_locked": True, "reason": ""}
        made = client.post(f"/api/v1/items/{item}/lock", json=wanted, headers={"Idempotency-Key": str(uuid.uuid4())})
        assert made.json() == {"item_id": item, "is_locked": True}
    with premises.database.read() as conn:
        actions = [one["action"] for one in audit.events_of(conn, project)]
    assert [one for one in actions if "lock" in one] == ["item_locked", "item_unlocked", "item_locked"]


def calibration_of(premises: Premises) -> str:
    """An open calibration round of one item."""
    with premises.database.write() as conn:
        return rounds.open_round(
            conn, premises.actor("lead"), premises.project, kind="calibration", title="First steps",
            codebook_version_id=premises.codebook, items=[PlannedItem(snapshot(80), "calibration", 1)],
            rater_ids=[premises.ids["rater"]],
        ).id  # fmt: skip


def test_a_lead_decides_on_a_gate_by_hand_with_a_reason(premises: Premises):
    round_id, rater = calibration_of(premises), premises.ids["rater"]
    with premises.visitor("lead", headers=SAME) as client:
        path, token = f"/rounds/{round_id}/raters/{rater}/gate", client.headers["X-CSRF-Token"]
        assert "characters, expected" in client.post(path, data={"csrf": token, "gate": "passed", "reason": ""}).text
        given = {"csrf": token, "gate": "repeat", "reason": "We went through the rubric."}
        assert client.post(path, data=given).status_code == 303
        stranger = path.replace(rater, premises.ids["outsider"])
        assert "no part in the round" in client.post(stranger, data=given).text
        main = path.replace(round_id, premises.round)
        assert "of a calibration" in client.post(main, data=given).text
        page = client.get(f"/projects/{premises.project}/rounds").text
    assert "the gate is not passed by Rae Rowan" in page
    with premises.database.read() as conn:
        assert [gate.gate for gate in rounds.gates(conn, round_id)] == ["repeat"]


def test_a_drifting_rater_is_a_task_of_the_lead_by_name(premises: Premises):
    with premises.database.read() as conn:
        pseudonym = projects.pseudonym(projects.pseudonym_key(conn, premises.project), premises.ids["peer"])
        raters = [
            {"rater": pseudonym, "n_ewma_alarms": 1, "n_cusum_alarms": 0, "last_ewma": 0.5, "mean": 0.8},
            {"rater": "R-nobody", "n_ewma_alarms": 0, "n_cusum_alarms": 0, "last_ewma": 0.8, "mean": 0.8},
        ]
        found = alarms.of_drift(conn, premises.project, {"drift": {"raters": raters}})
        assert [one.sentence for one in found] == [
            "Pia Poplar agrees less with the others than expected: 50 % of late, 80 % on the whole."
        ]
        assert alarms.of_drift(conn, premises.project, None) == []


def test_a_codebook_is_edited_as_lines_and_stays_what_it_was():
    written = text_of(default_codebook())
    assert "\nrubric: |\n  ## What you are looking at\n\n" in f"\n{written}"
    assert Codebook.model_validate(yaml.safe_load(written)) == default_codebook()


def test_a_round_behind_a_calibration_says_so_at_home(premises: Premises):
    first = calibration_of(premises)
    with premises.database.write() as conn:
        rounds.open_round(
            conn, premises.actor("lead"), premises.project, kind="main", title="Behind the gate",
            codebook_version_id=premises.codebook, items=[PlannedItem(snapshot(81), "irr_fixed", 1)],
            rater_ids=[premises.ids["rater"]], gate_round_id=first,
        )  # fmt: skip
    with premises.visitor("rater") as client:
        page = client.get("/").text
    assert "It opens when you have passed “First steps”." in page


def test_a_lead_adds_raters_to_a_round(premises: Premises):
    with premises.visitor("lead", headers=SAME) as client:
        path, token = f"/rounds/{premises.round}/raters", client.headers["X-CSRF-Token"]
        assert "no rater of this project" in client.post(path, data={"csrf": token}).text
        stranger = client.post(path, data={"csrf": token, "rater": premises.ids["outsider"]})
        assert "Give them the role first" in stranger.text
        with premises.database.write() as conn:
            roles.grant_role(conn, premises.actor("lead"), premises.project, premises.ids["outsider"], "rater")
        assert "Oda Oak" in client.get(f"/rounds/{premises.round}").text.partition("Add raters")[2]
        assert client.post(path, data={"csrf": token, "rater": premises.ids["outsider"]}).status_code == 303
    with premises.database.write() as conn:
        assert premises.ids["outsider"] in {one.user_id for one in rounds.gates(conn, premises.round)}
        roles.revoke_role(conn, premises.actor("lead"), premises.project, premises.ids["outsider"], "rater")


def test_what_a_new_codebook_made_stale_is_asked_anew_at_a_press(premises: Premises):
    made = calibration_of(premises)
    book = default_codebook().model_copy(update={"title": "Sharper"})
    with premises.database.write() as conn:
        published = projects.publish_codebook(conn, premises.actor("lead"), premises.project, book, "sharper").version
    with premises.visitor("lead", headers=SAME) as client:
        assert f"Rate them anew under version {published.n}" in client.get(f"/rounds/{made}").text
        answer = client.post(f"/rounds/{made}/anew", data={"csrf": client.headers["X-CSRF-Token"]})
        assert answer.status_code == 303
        anew = answer.headers["location"].split("/")[2].split("?")[0]
    with premises.database.read() as conn:
        opened = rounds.round_of(conn, anew)
        assert (opened.kind, opened.codebook_version_id) == ("calibration", published.id)
        assert opened.title == "First steps, rated anew"
        assert rounds.round_overview(conn, anew).n_items == 1


def test_a_rater_signs_their_own_judgement_and_an_analyst_learns_no_name_by_it(premises: Premises):
    page = f"/projects/{premises.project}/signatures"
    with premises.visitor("rater", headers=SAME) as client:
        link = re.search(r"object=(judgement:[0-9a-f-]+)", client.get(f"/rounds/{premises.closed_round}/mine").text)
        assert link
        form = {"csrf": client.headers["X-CSRF-Token"], "object": link[1], "meaning": "rated", "password": PASSWORD}
        assert client.post(page, data=form).status_code == 303
        assert "Rae Rowan" in client.get(page).text
    with premises.visitor("peer") as client:
        assert "Nothing is signed yet." in client.get(page).text
    with premises.visitor("analyst") as client:
        assert "judgement:" in client.get(page).text
        told = client.get(page).text + client.get(f"/projects/{premises.project}/audit").text
        assert not any(name in told for name in ("Rae Rowan", "Pia Poplar"))
    with premises.visitor("lead") as client:
        assert "Rae Rowan" in client.get(page).text
        assert "Pia Poplar" in client.get(f"/projects/{premises.project}/audit").text


def test_evidence_that_stayed_elsewhere_is_neither_decided_on_nor_rated_here(premises: Premises):
    body = {"contexts": [], "is_withheld": True}
    with premises.database.write() as conn:
        one = PlannedItem(snapshot(85), "irr_fixed", 1)
        made = rounds.open_round(
            conn, premises.actor("lead"), premises.project, kind="main", title="From elsewhere", items=[one],
            codebook_version_id=premises.codebook, rater_ids=[premises.ids["second_peer"]],
        ).id  # fmt: skip
    with premises.database.write() as conn:
        held = conn.execute(select(schema.item.c.id).where(schema.item.c.round_id == made)).scalar_one()
        conn.execute(schema.item.update().where(schema.item.c.id == held).values(state="ambiguous", is_free=0))
        conn.exec_driver_sql("DROP TRIGGER evidence_snapshot_no_update")
        mine = schema.evidence_snapshot.c.sha256 == one.snapshot.sha256
        conn.execute(schema.evidence_snapshot.update().where(mine).values(body=canonical(body)))
        assert held not in {due.item_id for due in adjudication.due(conn, premises.actor("senior"), premises.project)}
    with premises.visitor("senior") as client:
        answer = client.get(f"/items/{held}/adjudication")
        assert (answer.status_code, "stayed where it was rated" in answer.text) == (404, True)
    with premises.database.write() as conn, pytest.raises(NotAllowed, match="--evidence"):
        rounds.add_raters(conn, premises.actor("lead"), made, [premises.ids["peer"]])


def test_a_report_is_kept_as_it_is_signed_and_read_again(premises: Premises):
    path = f"/projects/{premises.project}/agreement/report"
    with premises.visitor("analyst", headers=SAME) as client:
        token, deadline = client.headers["X-CSRF-Token"], time.monotonic() + 60
        while (answer := client.post(path, data={"csrf": token})).status_code == 409:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        where = answer.headers["location"]
        assert client.post(path, data={"csrf": token}).headers["location"] == where  # the same one
        name = where.partition("object=")[2]
        assert name in client.get(where).text
        form = {"csrf": token, "object": name, "meaning": "approved", "password": PASSWORD}
        assert client.post(f"/projects/{premises.project}/signatures", data=form).status_code == 303
        listed = client.get(f"/projects/{premises.project}/signatures").text
        assert f"/projects/{premises.project}/reports/{name[7:]}" in listed
        kept = client.get(f"/projects/{premises.project}/reports/{name[7:]}")
        assert (kept.status_code, "GRRAS" in kept.text) == (200, True)
        assert client.get(f"/projects/{premises.project}/reports/none").status_code == 404
    with premises.database.read() as conn:
        assert integrity.verify(conn) == []
