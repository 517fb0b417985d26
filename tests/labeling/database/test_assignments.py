"""The queue gives every place once, keeps every judgement, and tells a rater nothing of others."""

import json
import uuid
from dataclasses import asdict

import pytest
from sqlalchemy import delete, exc, insert, select, update

from labeling.database import (
    assignments,
    audit,
    bars,
    calibration,
    candidates,
    conflicts,
    integrity,
    rounds,
    schema,
    skills,
    submissions,
)
from labeling.database.assignments import Empty, next_assignment, save_draft, skip, task_of
from labeling.database.errors import Conflict, NotAllowed, NotFound
from labeling.database.rounds import Round
from labeling.database.skills import skills_of
from labeling.database.submissions import Sent, undo_last
from labeling.database.transaction import Actor
from labeling.identifiers import canonical, new_id
from labeling.queue_policy import QueuePolicy
from labeling.round_settings import RoundSettings
from sae.errors import UserError
from tests.labeling.desk import Desk, Wall, plan


def rows(desk: Desk, table):
    with desk.database.read() as conn:
        return conn.execute(select(table)).all()


def test_gives_every_slot_once_and_says_when_nothing_is_left(desk: Desk):
    opened = desk.open_round(plan(5))
    for _ in range(5):
        for rater in desk.raters:
            given = desk.next(rater, opened.id)
            if not isinstance(given, Empty):
                desk.submit(given)
    found = rows(desk, schema.assignment)
    assert len(found) == 15
    assert len({(row.item_id, row.rater_id) for row in found}) == 15
    assert len({(row.item_id, row.slot) for row in found}) == 15
    assert isinstance(desk.next(desk.raters[0], opened.id), Empty)


def test_every_rater_has_every_feature_in_an_order_of_their_own(desk: Desk):
    opened = desk.open_round(plan(8, slots=4), seed=3)
    orders = []
    for rater in desk.raters:
        order = []
        for _ in range(8):
            given = desk.next(rater, opened.id)
            with desk.database.read() as conn:
                order.append(task_of(conn, rater, given.id).snapshot["feature"])
            desk.submit(given)
        orders.append(tuple(order))
    assert all(sorted(order) == list(range(8)) for order in orders)
    assert len(set(orders)) > 1


def test_a_rater_who_asks_again_keeps_what_they_have(desk: Desk):
    opened = desk.open_round(plan(3))
    assert desk.next(desk.raters[0], opened.id).id == desk.next(desk.raters[0], opened.id).id


def test_the_constraints_forbid_what_the_code_would_have_to_do_wrong(desk: Desk):
    opened = desk.open_round(plan(2))
    given = desk.next(desk.raters[0], opened.id)
    row = {
        "id": new_id(), "item_id": given.item_id, "round_id": opened.id, "slot": given.slot, "stratum": "irr_fixed",
        "state": "open", "reason": "{}", "created_at": "",
    }  # fmt: skip
    with pytest.raises(exc.IntegrityError), desk.database.write() as conn:
        conn.execute(insert(schema.assignment), {**row, "rater_id": desk.raters[1].user_id})
    with pytest.raises(exc.IntegrityError), desk.database.write() as conn:
        conn.execute(insert(schema.assignment), {**row, "slot": 2, "rater_id": desk.raters[0].user_id})


def test_facts_refuse_change_and_deletion(desk: Desk):
    opened = desk.open_round(plan(1, "gold", 4, gold={"category": "drug"}) + plan(1, first=5))
    desk.submit(desk.next(desk.raters[0], opened.id))
    for name in ("judgement", "judgement_label", "audit_event", "codebook_version", "evidence_snapshot", "gold"):
        table = schema.metadata.tables[name]
        key = next(iter(table.primary_key.columns))
        for statement in (delete(table), update(table).values({key.name: key})):
            with pytest.raises(exc.DatabaseError, match="never change"), desk.database.write() as conn:
                conn.execute(statement)


def test_an_expired_lease_frees_the_slot_and_a_late_submission_fills_it(desk: Desk, wall: Wall):
    opened = desk.open_round(plan(1, slots=2))
    late, other = desk.next(desk.raters[0], opened.id), desk.next(desk.raters[1], opened.id)
    desk.submit(other)
    wall.pass_(minutes=31)
    with desk.database.write() as conn:
        assert assignments.expire_leases(conn) == 1
    accepted = desk.submit(late)
    assert (accepted.is_late, accepted.is_surplus) == (True, False)
    assert {row.slot for row in rows(desk, schema.assignment)} == {1, 2}


def test_a_late_submission_to_a_full_item_is_kept_as_surplus(desk: Desk, wall: Wall):
    opened = desk.open_round(plan(1, "single", slots=1))
    late = desk.next(desk.raters[0], opened.id)
    wall.pass_(minutes=31)
    desk.submit(desk.next(desk.raters[1], opened.id))
    assert desk.submit(late, "drug").is_surplus
    assert len(rows(desk, schema.judgement)) == 2
    assert rows(desk, schema.item)[0].n_submitted == 1


def test_a_submission_after_the_round_closed_is_kept(desk: Desk):
    opened = desk.open_round(plan(1))
    given = desk.next(desk.raters[0], opened.id)
    with desk.database.write() as conn:
        rounds.close_round(conn, desk.lead, opened.id)
    desk.submit(given)
    assert len(rows(desk, schema.judgement)) == 1


def test_the_same_request_counts_once_and_gets_the_same_answer(desk: Desk):
    opened = desk.open_round(plan(1))
    given, name = desk.next(desk.raters[0], opened.id), str(uuid.uuid4())
    assert desk.submit(given, client_uuid=name) == desk.submit(given, client_uuid=name)
    with pytest.raises(Conflict, match="other answers"):
        desk.submit(given, "drug", client_uuid=name)
    assert len(rows(desk, schema.judgement)) == 1


def test_an_older_version_is_a_conflict_that_tells_the_state(desk: Desk):
    opened = desk.open_round(plan(1))
    given = desk.next(desk.raters[0], opened.id)
    desk.submit(given)
    with pytest.raises(Conflict) as caught:
        desk.submit(given, "drug")
    assert caught.value.state == {"assignment_id": given.id, "state": "submitted", "version": 2, "lease_until": None}


def test_undo_opens_the_last_submission_and_adds_a_revision(desk: Desk):
    opened = desk.open_round(plan(2))
    first = desk.next(desk.raters[0], opened.id)
    desk.submit(first)
    with desk.database.write() as conn:
        back = undo_last(conn, desk.raters[0], opened.id)
        assert task_of(conn, desk.raters[0], back.id).draft == {"category": "disease"}
    assert desk.next(desk.raters[0], opened.id).id == first.id
    assert desk.submit(back, "drug").revision == 2
    assert [json.loads(row.body)["category"] for row in rows(desk, schema.judgement)] == ["disease", "drug"]


def test_an_undo_that_nobody_followed_leaves_the_judgement(desk: Desk, wall: Wall):
    opened = desk.open_round(plan(1, slots=1))
    desk.submit(desk.next(desk.raters[0], opened.id))
    with desk.database.write() as conn:
        undo_last(conn, desk.raters[0], opened.id)
    wall.pass_(hours=1)
    with desk.database.write() as conn:
        assignments.expire_leases(conn)
    assert rows(desk, schema.assignment)[0].state == "submitted"


def test_possible_phi_takes_the_evidence_from_everybody(desk: Desk):
    desk.open_round(plan(1, slots=3))
    other = desk.open_round(plan(1, slots=3))
    given = desk.next(desk.raters[0], other.id)
    with desk.database.write() as conn:
        skip(conn, desk.raters[0], given.id, "possible_phi", version=given.version)
    assert {row.state for row in rows(desk, schema.item)} == {"quarantined"}
    assert isinstance(desk.next(desk.raters[1], other.id), Empty)


def test_a_skip_needs_one_of_the_reasons_and_frees_the_slot(desk: Desk):
    opened = desk.open_round(plan(1, slots=1))
    given = desk.next(desk.raters[0], opened.id)
    with pytest.raises(UserError, match="expected one of"), desk.database.write() as conn:
        skip(conn, desk.raters[0], given.id, "lunch", version=1)
    with desk.database.write() as conn:
        skip(conn, desk.raters[0], given.id, "outside_expertise", version=1)
    assert desk.next(desk.raters[1], opened.id).slot == 1
    assert isinstance(desk.next(desk.raters[0], opened.id), Empty)


def test_a_draft_survives_the_lease(desk: Desk, wall: Wall):
    opened = desk.open_round(plan(1))
    given = desk.next(desk.raters[0], opened.id)
    with desk.database.write() as conn:
        save_draft(conn, desk.raters[0], given.id, {"category": "drug"})
    wall.pass_(hours=2)
    again = desk.next(desk.raters[0], opened.id)
    with desk.database.read() as conn:
        assert task_of(conn, desk.raters[0], again.id).draft == {"category": "drug"}


def test_conflicts_of_interest_keep_items_away(desk: Desk):
    opened = desk.open_round(plan(3, slots=4))
    rater = desk.raters[0]
    with desk.database.write() as conn:
        conflicts.add_coi_rule(conn, desk.lead, desk.project_id, rater.user_id or "", "document", "1")
        feature = conn.execute(select(schema.feature.c.id).where(schema.feature.c.number == 2)).scalar_one()
        conflicts.add_coi_rule(conn, desk.lead, desk.project_id, rater.user_id or "", "feature", feature)
    given = desk.next(rater, opened.id)
    with desk.database.read() as conn:
        assert task_of(conn, rater, given.id).snapshot["feature"] == 0
    desk.submit(given)
    assert isinstance(desk.next(rater, opened.id), Empty)


def test_a_conflict_is_named_as_people_name_things_and_taken_away_again(desk: Desk):
    opened = desk.open_round(plan(3, slots=4))
    rater = desk.raters[0]
    with desk.database.write() as conn:
        for kind, value in (("feature", "0"), ("feature", "02"), ("sae", plan(1)[0].snapshot.sae.sae_id)):
            conflicts.add_coi_rule(conn, desk.lead, desk.project_id, rater.user_id or "", kind, value)
    assert isinstance(desk.next(rater, opened.id), Empty)
    with desk.database.write() as conn:
        rules = bars.coi_rules(conn, desk.project_id, rater.user_id or "")
        assert [rule.value for rule in rules][:2] == ["0", "2"]
        conflicts.remove_coi_rule(conn, desk.lead, desk.project_id, rules[2].id)
        with pytest.raises(NotFound):
            conflicts.remove_coi_rule(conn, desk.lead, desk.project_id, rules[2].id)
    given = desk.next(rater, opened.id)
    with desk.database.read() as conn:
        assert task_of(conn, rater, given.id).snapshot["feature"] == 1
        actions = [event["action"] for event in audit.events_of(conn, desk.project_id)]
    assert actions.count("coi_rule_added") == 3
    assert actions.count("coi_rule_removed") == 1


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("document", "x"), ("document", "1" * 40), ("document", "²"), ("feature", "none"), ("sae", "topk"), ("item", "1"),
        ("ward", "3"),
    ],
)  # fmt: skip
def test_a_conflict_with_nothing_is_refused(desk: Desk, kind: str, value: str):
    desk.open_round(plan(1))
    with pytest.raises(UserError, match="expected"), desk.database.write() as conn:
        conflicts.add_coi_rule(conn, desk.lead, desk.project_id, desk.raters[0].user_id or "", kind, value)


def test_items_passed_over_are_left_for_later_and_come_round_again(desk: Desk):
    opened = desk.open_round(plan(150, "adaptive", 2))
    for _ in range(75):
        desk.submit(desk.next(desk.raters[1], opened.id))
    given = set()
    while not isinstance(held := desk.next(desk.raters[0], opened.id), Empty):
        given.add(held.item_id)
        desk.submit(held)
    assert len(given) == 150


def test_a_search_never_passes_many_items_that_the_rater_has_had():
    """The worst policy: it takes the last item of its window, each time."""
    waiting, cursors, most_passed = list(range(1, 1501)), {"n_served": 0}, 0
    while len(waiting) > 2 * candidates.WINDOW:
        start = cursors.get("adaptive", 0)
        window = [place for place in waiting if place > start][: candidates.WINDOW] or waiting[: candidates.WINDOW]
        candidates.move(cursors, "adaptive", candidates.Window([], window[0] - 1, window[len(window) // 2] - 1))
        most_passed = max(most_passed, window[-1] - window[0] - len(window))
        waiting.remove(window[-1])
        cursors["n_served"] += 1
        if window[-1] == 1500:
            break
    assert most_passed < 4 * candidates.PATIENCE


@pytest.mark.parametrize(
    "body",
    [
        {"category": 5}, {"category": float("nan")}, {"rationale": "because"}, {"rationale": {"spans": [{"context": "a"}]}},
        {"rationale": {"spans": 3}}, {"rationale": {"text": None}}, {"fires": [1]}, {"stranger": "x"},
    ],
)  # fmt: skip
def test_a_draft_that_no_form_could_hold_is_refused_and_the_one_before_stands(desk: Desk, body: dict):
    opened = desk.open_round(plan(1))
    given = desk.next(desk.raters[0], opened.id)
    with desk.database.write() as conn:
        save_draft(conn, desk.raters[0], given.id, {"category": "drug", "rationale": None})
    with pytest.raises(UserError, match="1 answers of the draft"), desk.database.write() as conn:
        save_draft(conn, desk.raters[0], given.id, {"category": "drug"} | body)
    with desk.database.write() as conn:
        conn.execute(update(schema.draft).values(body=canonical({"category": "drug", "rationale": 5})))
    with desk.database.read() as conn:
        assert task_of(conn, desk.raters[0], given.id).draft == {"category": "drug"}


def test_somebody_elses_task_does_not_exist(desk: Desk):
    opened = desk.open_round(plan(1))
    given = desk.next(desk.raters[0], opened.id)
    with pytest.raises(NotFound), desk.database.read() as conn:
        task_of(conn, desk.raters[1], given.id)
    with pytest.raises(NotAllowed), desk.database.write() as conn:
        next_assignment(conn, desk.lead, opened.id)


def test_a_task_tells_nothing_of_others_nor_of_what_kind_it_is(desk: Desk):
    known = {"category": "drug"}
    gold = plan(2, "gold", 4, gold=known, gold_source="the textbook")
    opened = desk.open_round(gold + plan(2, slots=4, first=10))
    for _ in range(2):
        for rater in desk.raters[1:]:
            desk.submit(desk.next(rater, opened.id), "format")
    given = desk.next(desk.raters[0], opened.id)
    with desk.database.read() as conn:
        task = task_of(conn, desk.raters[0], given.id)
    said = json.dumps({**asdict(task), "codebook": None})
    for secret in ("textbook", "gold", "irr_fixed", "posterior", "Rater", "stratum", "n_held", "family", "format"):
        assert secret not in said
    assert task.answers is None


def test_a_retest_comes_after_the_wash_out_to_the_same_rater_alone(desk: Desk, wall: Wall):
    opened = desk.open_round(plan(1, "single", slots=1), settings=RoundSettings(retest_share=1))
    desk.submit(desk.next(desk.raters[0], opened.id))
    assert isinstance(desk.next(desk.raters[0], opened.id), Empty)
    wall.pass_(days=14, seconds=1)
    assert isinstance(desk.next(desk.raters[1], opened.id), Empty)
    assert desk.next(desk.raters[0], opened.id).stratum == "retest"


def test_calibration_gates_the_main_round(desk: Desk):
    easy = RoundSettings(queue=QueuePolicy(gold_target=0.3))
    first = desk.open_round(plan(4, "calibration", 4, gold={"category": "drug"}), kind="calibration", settings=easy)
    main = desk.open_round(plan(3, first=10), gate_round_id=first.id)
    good, bad = desk.raters[:2]
    assert "calibration round comes first" in desk.next(good, main.id).reason
    for rater, answer in ((good, "drug"), (bad, "disease")):
        for _ in range(4):
            desk.submit(desk.next(rater, first.id), answer)
    assert not isinstance(desk.next(good, main.id), Empty)
    assert "repeated" in desk.next(bad, main.id).reason
    with pytest.raises(NotAllowed, match="Not everybody"), desk.database.read() as conn:
        calibration.feedback(conn, good, first.id)


def test_disagreement_adds_blind_slots_and_then_waits_for_a_senior(desk: Desk):
    settings = RoundSettings(retest_share=0, queue=QueuePolicy(extra_judgements=1))
    opened = desk.open_round(plan(1, slots=3), settings=settings)
    for rater, answer in zip(desk.raters, ("disease", "drug", "format", "drug"), strict=True):
        desk.submit(desk.next(rater, opened.id), answer)
    found = rows(desk, schema.item)[0]
    assert (found.state, found.slots, found.n_extra, found.n_submitted) == ("ambiguous", 4, 1, 4)
    assert sorted(row.stratum for row in rows(desk, schema.assignment)) == ["escalated", *["irr_fixed"] * 3]


def test_an_answer_counts_as_much_as_its_rater_was_right_on_known_items(desk: Desk):
    first = desk.open_round(plan(12, "calibration", 4, gold={"category": "drug"}), kind="calibration")
    good, bad, unknown = (rater.user_id or "" for rater in desk.raters[:3])
    for rater, answer in ((desk.raters[0], "drug"), (desk.raters[1], "disease")):
        for _ in range(12):
            desk.submit(desk.next(rater, first.id), answer)
    with desk.database.read() as conn:
        skills = skills_of(conn, desk.project_id, [good, bad, unknown], "category")
    assert skills == {good: pytest.approx((12 + 8) / 22), bad: pytest.approx(8 / 22)}
    main = desk.open_round(plan(1, "adaptive", 2, first=20))
    for rater, answer in zip(desk.raters[:2], ("format", "disease"), strict=True):
        desk.submit(desk.next(rater, main.id), answer)
    found = json.loads(next(row.detail for row in rows(desk, schema.item) if row.round_id == main.id))
    assert found["distribution"]["format"] > 0.8
    assert found["distribution"]["disease"] < 0.2


def test_an_adaptive_item_stops_when_two_agree(desk: Desk):
    opened = desk.open_round(plan(1, "adaptive", 2))
    for rater in desk.raters[:2]:
        desk.submit(desk.next(rater, opened.id), "drug")
    assert rows(desk, schema.item)[0].state == "consensus"
    assert isinstance(desk.next(desk.raters[2], opened.id), Empty)


def test_an_item_locked_meanwhile_cannot_be_revised(desk: Desk):
    opened = desk.open_round(plan(1))
    given = desk.next(desk.raters[0], opened.id)
    desk.submit(given)
    with desk.database.write() as conn:
        conn.execute(update(schema.item).values(state="locked"))
    with pytest.raises(NotAllowed), desk.database.write() as conn:
        submissions.revise(conn, desk.raters[0], given.id, {"category": "drug"}, Sent(str(uuid.uuid4()), 2))


def test_a_refused_answer_leaves_nothing_behind(desk: Desk):
    opened = desk.open_round(plan(1))
    given = desk.next(desk.raters[0], opened.id)
    n_events = len(rows(desk, schema.audit_event))
    with pytest.raises(UserError) as caught:
        desk.submit(given, "<script>")
    assert "<script>" not in str(caught.value)
    assert len(rows(desk, schema.judgement)) == 0
    assert len(rows(desk, schema.audit_event)) == n_events


def test_a_claim_searches_by_indexes_that_do_not_grow_with_what_the_rater_has_had(desk: Desk):
    if desk.database.dialect != "sqlite":
        pytest.skip("PostgreSQL plans by the size of its tables")
    plans = []
    with desk.database.read() as conn:
        for one, names in ((assignments.HELD, ("rater", "round")), (skills.KNOWN, ("rater", "project", "primary"))):
            text = one.compile(conn, dict.fromkeys(names, "x"))
            found = conn.exec_driver_sql(
                f"EXPLAIN QUERY PLAN {text.text}", tuple(text.filled(dict.fromkeys(names, "x")))
            )
            plans.append(" ".join(row[3] for row in found))
    assert "ix_assignment_held (round_id=? AND rater_id=? AND lease_until>?)" in plans[0]
    assert "ix_assignment_known (rater_id=?)" in plans[1]


def test_how_much_a_rater_was_given_is_written_down_and_counted_where_it_is_not(desk: Desk):
    opened = desk.open_round(plan(4))
    rater = desk.raters[0]
    for n in range(4):
        held = desk.next(rater, opened.id)
        assert json.loads(held.reason)["n_served"] == n
        desk.submit(held)
        if n == 1:  # as an older version left it
            with desk.database.write() as conn:
                conn.execute(update(schema.round_rater).values(cursors="{}"))


def test_a_round_in_which_no_item_could_be_settled_is_not_opened_and_one_that_was_goes_on(desk: Desk):
    contradictory = RoundSettings(retest_share=0, queue=QueuePolicy(min_judgements=5, max_judgements=2))
    with pytest.raises(
        UserError, match=r"queue.min_judgements is 5, expected at most queue.max_judgements, which is 2"
    ):
        desk.open_round(plan(2), settings=contradictory)
    older = desk.open_round(plan(2))
    with desk.database.write() as conn:
        settings = canonical(contradictory.model_dump(mode="json"))
        conn.execute(update(schema.round_).where(schema.round_.c.id == older.id).values(policy=settings))
    held = desk.next(desk.raters[0], older.id)
    assert desk.submit(held).revision == 1


def calibration_of(desk: Desk, n: int, n_gold: int) -> Round:
    """A calibration of some items, the first of which have a known answer."""
    items = [*plan(n_gold, "calibration", 4, gold={"category": "disease"}, gold_source="team")]
    items += plan(n - n_gold, "calibration", 4, first=n_gold)
    return desk.open_round(items, kind="calibration")


def gate_of(desk: Desk, round_id: str, rater: Actor) -> str:
    with desk.database.read() as conn:
        return next(one.gate for one in rounds.gates(conn, round_id) if one.user_id == rater.user_id)


def test_a_calibration_whose_last_item_is_skipped_is_over_all_the_same(desk: Desk):
    opened, rater = calibration_of(desk, 3, 0), desk.raters[0]
    for _ in range(2):
        desk.submit(desk.next(rater, opened.id))
    held = desk.next(rater, opened.id)
    assert gate_of(desk, opened.id, rater) == "pending"
    with desk.database.write() as conn:
        skip(conn, rater, held.id, "display_problem", version=held.version)
    assert gate_of(desk, opened.id, rater) == "passed"


def test_skipping_what_is_known_is_no_way_past_the_gate(desk: Desk):
    opened, rater = calibration_of(desk, 4, 3), desk.raters[0]
    with desk.database.read() as conn:
        known = set(conn.execute(select(schema.gold.c.item_id)).scalars())
    for _ in range(4):
        held = desk.next(rater, opened.id)
        if held.item_id in known:
            with desk.database.write() as conn:
                skip(conn, rater, held.id, "outside_expertise", version=held.version)
        else:
            desk.submit(held)
    assert gate_of(desk, opened.id, rater) == "repeat"


def test_what_a_rater_shall_not_judge_or_nobody_may_see_holds_no_calibration_up(desk: Desk):
    opened = calibration_of(desk, 3, 0)
    barred, other = desk.raters[0], desk.raters[1]
    for rater in (barred, other):
        for _ in range(2):
            desk.submit(desk.next(rater, opened.id))
    left = desk.next(barred, opened.id)
    with desk.database.write() as conn:
        conflicts.add_coi_rule(conn, desk.lead, desk.project_id, barred.user_id or "", "item", left.item_id)
    assert gate_of(desk, opened.id, barred) == "passed"
    with desk.database.read() as conn:
        assert assignments.assignment_of(conn, left.id).skip_reason == "conflict_of_interest"
    last = desk.next(other, opened.id)
    with desk.database.write() as conn:
        assignments.quarantine(conn, desk.lead, desk.project_id, last.item_id)
    assert gate_of(desk, opened.id, other) == "passed"


def test_a_rater_who_joins_a_calibration_is_asked_about_everything(desk: Desk):
    opened = calibration_of(desk, 2, 0)
    for rater in desk.raters:
        for _ in range(2):
            desk.submit(desk.next(rater, opened.id))
    with desk.database.write() as conn:
        rounds.add_raters(conn, desk.lead, opened.id, [desk.lead.user_id or ""])
    for _ in range(2):
        assert gate_of(desk, opened.id, desk.lead) == "pending"
        desk.submit(desk.next(desk.lead, opened.id))
    assert gate_of(desk, opened.id, desk.lead) == "passed"
    with desk.database.read() as conn:
        assert integrity.verify(conn) == []


def test_a_rule_takes_what_a_rater_has_in_hand(desk: Desk, wall: Wall):
    opened, rater = desk.open_round(plan(2)), desk.raters[0]
    held = desk.next(rater, opened.id)
    with desk.database.write() as conn:
        conflicts.add_coi_rule(conn, desk.lead, desk.project_id, rater.user_id or "", "item", held.item_id)
    given = desk.next(rater, opened.id)
    assert given.item_id != held.item_id
    wall.pass_(hours=3)
    assert desk.next(rater, opened.id).item_id == given.item_id
    assert {desk.next(other, opened.id).item_id for other in desk.raters[1:]} <= {held.item_id, given.item_id}
