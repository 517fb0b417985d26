"""A lead's and a senior's decisions by the pages: the list of decided items, locks, gates by hand, what waits."""

import uuid

import yaml

from labeling.codebook import Codebook
from labeling.codebook_file import default_codebook
from labeling.database import audit, rounds
from labeling.database.rounds import PlannedItem
from labeling.web import alarms
from labeling.web.routes.codebooks import text_of
from tests.labeling.web.premises import Premises, snapshot

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
    from labeling.database import projects

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
