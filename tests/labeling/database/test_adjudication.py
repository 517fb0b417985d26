"""Seniors see no names and decide once; signatures are bound to what was signed; a new codebook flags what was asked."""

import json
import uuid
from dataclasses import asdict

import pytest
from sqlalchemy import select

from labeling.database import (
    accounts,
    adjudication,
    assignments,
    audit,
    conflicts,
    integrity,
    judgements,
    projects,
    rerating,
    roles,
    rounds,
    schema,
    signatures,
)
from labeling.database.adjudication import Decision
from labeling.database.errors import Conflict, NotAllowed
from labeling.database.submissions import Sent, revise, undo_last
from labeling.database.transaction import Actor
from labeling.queue_policy import QueuePolicy
from labeling.round_settings import RoundSettings
from sae.errors import UserError
from tests.labeling.desk import CODEBOOK, Desk, Wall, plan

WHY = "The passages name a drug and its dose."


@pytest.fixture
def due(desk: Desk) -> tuple[Desk, Actor, str]:
    """A project in which three raters disagree on one item, and a senior who rates nowhere."""
    settings = RoundSettings(retest_share=0, queue=QueuePolicy(max_extra_rounds=0))
    opened = desk.open_round(plan(1, slots=3), settings=settings)
    for rater, answer in zip(desk.raters, ("disease", "drug", "format"), strict=False):
        desk.submit(desk.next(rater, opened.id), answer)
    with desk.database.write() as conn:
        for rater in desk.raters:
            roles.grant_role(conn, desk.lead, desk.project_id, rater.user_id or "", "senior")
        senior = desk.lead
        roles.grant_role(conn, desk.lead, desk.project_id, senior.user_id or "", "senior")
        item_id = adjudication.due(conn, senior, desk.project_id)[0].item_id
    return desk, senior, item_id


def decision(revision: int = 0, **changes: object) -> Decision:
    values = {"disposition": "decided", "answers": {"category": "drug"}, "error_kind": "edge_case", "rationale": WHY}
    return Decision(**{**values, "client_uuid": str(uuid.uuid4()), "revision": revision, **changes})  # type: ignore[arg-type]


def test_a_case_holds_answers_without_names(due: tuple[Desk, Actor, str]):
    desk, senior, item_id = due
    with desk.database.read() as conn:
        case = adjudication.case_of(conn, senior, item_id)
    assert case.distribution == {"disease": 1, "drug": 1, "format": 1}
    said = json.dumps({**asdict(case), "codebook": None})
    assert not any((rater.user_id or "-") in said for rater in desk.raters)


def test_who_rated_an_item_does_not_decide_it(due: tuple[Desk, Actor, str]):
    desk, _, item_id = due
    with desk.database.read() as conn:
        assert adjudication.due(conn, desk.raters[0], desk.project_id) == []
    with pytest.raises(NotAllowed, match="as a rater"), desk.database.write() as conn:
        adjudication.decide(conn, desk.raters[0], item_id, decision())


def test_a_decision_counts_once_and_a_second_senior_is_told(due: tuple[Desk, Actor, str]):
    desk, senior, item_id = due
    one = decision()
    for _ in range(2):
        with desk.database.write() as conn:
            assert adjudication.decide(conn, senior, item_id, one).revision == 1
    with pytest.raises(Conflict, match="in between"), desk.database.write() as conn:
        adjudication.decide(conn, senior, item_id, decision())
    with desk.database.read() as conn:
        label = next(iter(judgements.labels_of_features(conn, desk.project_id).values()))
        assert integrity.verify(conn) == []
    assert (label.winner, label.disposition, label.state) == ("drug", "decided", "adjudicated")
    assert set(label.distribution) == {"disease", "drug", "format"}


def test_it_may_be_irreducibly_ambiguous_but_not_without_a_reason(due: tuple[Desk, Actor, str]):
    desk, senior, item_id = due
    with pytest.raises(UserError, match="no reason"), desk.database.write() as conn:
        adjudication.decide(conn, senior, item_id, decision(rationale="so"))
    with desk.database.write() as conn:
        adjudication.decide(conn, senior, item_id, decision(disposition="irreducibly_ambiguous", answers={}))


def test_a_signature_is_void_when_the_decision_is_opened_again(due: tuple[Desk, Actor, str]):
    desk, senior, item_id = due
    proof = accounts.Proof(senior.user_id or "", "password", desk.database.now())
    with desk.database.write() as conn:
        made = adjudication.decide(conn, senior, item_id, decision())
        signed = signatures.sign(
            conn, senior, desk.project_id, f"adjudication:{made.adjudication_id}", "adjudicated", proof
        )
        assert signatures.is_valid(conn, desk.project_id, signed)
        adjudication.lock_item(conn, senior, item_id)
    with pytest.raises(NotAllowed), desk.database.write() as conn:
        adjudication.decide(conn, senior, item_id, decision(1))
    with desk.database.write() as conn:
        adjudication.unlock_item(conn, senior, item_id, "new evidence")
        found = signatures.signatures_of(conn, desk.project_id)
    assert [one.void_reason for one in found] == ["new evidence"]


def test_a_signature_wants_a_fresh_proof_of_the_signer(due: tuple[Desk, Actor, str], wall: Wall):
    desk, senior, item_id = due
    with desk.database.write() as conn:
        made = adjudication.decide(conn, senior, item_id, decision())
    name = f"adjudication:{made.adjudication_id}"
    old = accounts.Proof(senior.user_id or "", "password", desk.database.now())
    wall.pass_(minutes=3)
    for proof in (old, accounts.Proof(desk.raters[0].user_id or "", "password", desk.database.now())):
        with pytest.raises(NotAllowed), desk.database.write() as conn:
            signatures.sign(conn, senior, desk.project_id, name, "adjudicated", proof)


def test_a_new_codebook_flags_open_items_keeps_judgements_and_asks_anew(desk: Desk):
    opened = desk.open_round(plan(2), settings=RoundSettings(retest_share=1))
    given = desk.next(desk.raters[0], opened.id)
    desk.submit(desk.next(desk.raters[1], opened.id))  # which plans a retest
    changed = CODEBOOK.model_copy(update={"rubric": "Look twice."})
    with desk.database.write() as conn:
        published = projects.publish_codebook(conn, desk.lead, desk.project_id, changed, "after discussion")
        with pytest.raises(UserError, match="is published"):
            projects.publish_codebook(conn, desk.lead, desk.project_id, changed)
    assert (published.version.n, published.n_stale, published.changes) == (2, 2, ["rubric was changed."])
    desk.submit(given)
    with desk.database.write() as conn:
        assert len(conn.execute(select(schema.judgement)).all()) == 2
        anew = rerating.rerate(conn, desk.lead, opened.id, published.version.id)
    assert desk.next(desk.raters[0], anew.id).id != given.id
    assert "Every feature" in desk.next(desk.raters[2], opened.id).reason


def test_a_senior_who_may_still_be_asked_sees_no_case(due: tuple[Desk, Actor, str]):
    desk, _, item_id = due
    fourth = desk.raters[3]  # of the round, which is full
    with desk.database.write() as conn:
        assert adjudication.due(conn, fourth, desk.project_id) == []
        with pytest.raises(NotAllowed, match="You rate in an open round that asks about this feature"):
            adjudication.case_of(conn, fourth, item_id)
        round_id = conn.execute(select(schema.item.c.round_id).where(schema.item.c.id == item_id)).scalar_one()
        rounds.close_round(conn, desk.lead, round_id)
        assert [one.item_id for one in adjudication.due(conn, fourth, desk.project_id)] == [item_id]


def test_a_conflict_of_interest_keeps_a_senior_from_a_case(due: tuple[Desk, Actor, str]):
    desk, senior, item_id = due
    with desk.database.write() as conn:
        conflicts.add_coi_rule(conn, desk.lead, desk.project_id, senior.user_id or "", "item", item_id)
        assert adjudication.due(conn, senior, desk.project_id) == []
        with pytest.raises(NotAllowed, match="conflict of interest"):
            adjudication.decide(conn, senior, item_id, decision())


def test_who_has_seen_a_case_is_not_added_to_its_round(due: tuple[Desk, Actor, str]):
    desk, senior, item_id = due
    with desk.database.write() as conn:
        round_id = conn.execute(select(schema.item.c.round_id).where(schema.item.c.id == item_id)).scalar_one()
        audit.append(conn, desk.project_id, senior, "case_shown", f"item:{item_id}")
    with desk.database.write() as conn, pytest.raises(NotAllowed, match="has seen as a senior"):
        rounds.add_raters(conn, desk.lead, round_id, [senior.user_id or ""])


def test_a_decided_or_locked_item_loses_no_judgement_by_a_skip(desk: Desk):
    opened = desk.open_round(plan(1, slots=1, stratum="single"))
    rater = desk.raters[0]
    held = desk.next(rater, opened.id)
    desk.submit(held)
    with desk.database.write() as conn:
        reopened = undo_last(conn, rater, opened.id)
        adjudication.lock_item(conn, desk.lead, held.item_id)
        with pytest.raises(NotAllowed, match="Your judgement stays as it is"):
            assignments.skip(conn, rater, held.id, "outside_expertise", version=reopened.version)


def test_a_rating_is_signed_by_its_rater_and_void_once_it_is_revised_or_withdrawn(desk: Desk):
    opened = desk.open_round(plan(2, slots=1, stratum="single"))
    rater, proof = desk.raters[0], accounts.Proof(desk.raters[0].user_id or "", "password", desk.database.now())
    made = []
    for _ in range(2):
        held = desk.next(rater, opened.id)
        made.append((held, f"judgement:{desk.submit(held).judgement_id}"))
    with desk.database.write() as conn:
        theirs = accounts.Proof(desk.lead.user_id or "", "password", desk.database.now())
        with pytest.raises(NotAllowed, match="somebody else's"):
            signatures.sign(conn, desk.lead, desk.project_id, made[0][1], "rated", theirs)
        with pytest.raises(NotAllowed, match="expected a senior's decision"):
            signatures.sign(conn, rater, desk.project_id, made[0][1], "adjudicated", proof)
        for _, name in made:
            signatures.sign(conn, rater, desk.project_id, name, "rated", proof)
        reopened = undo_last(conn, rater, opened.id)
        assignments.skip(conn, rater, reopened.id, "outside_expertise", version=reopened.version)
        first = made[0][0]
        sent = Sent(str(uuid.uuid4()), first.version + 1)
        revise(conn, rater, first.id, {"category": "drug"}, sent)
        found = {one.object: one.void_reason for one in signatures.signatures_of(conn, desk.project_id)}
        assert found == {made[0][1]: "the judgement was revised", made[1][1]: "the judgement was withdrawn"}
        with pytest.raises(NotAllowed, match="expected one that stands"):
            signatures.sign(conn, rater, desk.project_id, made[0][1], "rated", proof)


@pytest.mark.parametrize(
    ("disposition", "answers", "winner"),
    [("decided", {"category": "format"}, "format"), ("irreducibly_ambiguous", {}, None)],
)
def test_a_decision_holds_when_the_feature_is_judged_again_in_a_later_round(
    due: tuple[Desk, Actor, str], disposition: str, answers: dict[str, str], winner: str | None
):
    desk, senior, item_id = due
    with desk.database.write() as conn:
        adjudication.decide(conn, senior, item_id, decision(disposition=disposition, answers=answers))
        rounds.close_round(conn, desk.lead, rounds.rounds(conn, desk.project_id)[-1].id)
    again = desk.open_round(plan(1, slots=3))
    desk.submit(desk.next(desk.raters[0], again.id), "drug")
    with desk.database.write() as conn:
        rounds.close_round(conn, desk.lead, again.id)
        (label,) = judgements.labels_of_features(conn, desk.project_id).values()
    assert (label.winner, label.disposition, label.state) == (winner, disposition, "adjudicated")
    assert label.distribution == {"disease": 0.25, "drug": 0.5, "format": 0.25}
