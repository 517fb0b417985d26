"""The queue: rules that always hold, the order of steps, spacing, the seed, and the words it gives."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.eligibility import History, Rater, Served, barred, why_not
from labeling.policy import Choice, Empty, choose
from labeling.pool import STRATA, Candidate, Pool, shuffled
from labeling.queue_policy import QueuePolicy
from sae.errors import UserError

NO_GOLD = QueuePolicy(gold_hazard=0)
GOOD = np.asarray([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
RATER = Rater("r", GOOD)
EVEN = (1 / 3, 1 / 3, 1 / 3)
NEW = History()


def item(item_id: str, stratum: str = "adaptive", **more: object) -> Candidate:
    return Candidate(item_id, "adaptive", item_id, EVEN)._replace(stratum=stratum, **more)  # type: ignore[arg-type]


def served(found: Choice | Empty) -> str:
    assert isinstance(found, Choice), found
    return found.item_id


def test_steps_follow_their_order():
    every = [
        item("single", "single"), item("adaptive"), item("fixed", "irr_fixed", slots=3), item("gold", "gold"),
        item("retest", "retest", only_for=frozenset({"r"}), due_day=5), item("calibration", "calibration"),
    ]  # fmt: skip
    always_gold, history, order = QueuePolicy(gold_hazard=1), History(today=5), []
    for number in range(6):
        found = choose(every, RATER, history, always_gold)
        order.append(served(found))
        history = History(history.rated | {order[-1]}, n_served=number + 1, today=5)
    assert order == ["calibration", "retest", "gold", "fixed", "adaptive", "single"]
    last = choose(every, RATER, history, always_gold)
    assert isinstance(last, Empty)
    assert last.barred == {"rated": 6}
    assert last.sentence == (
        "Nothing to rate in this round of 6 items: 6 already answered or skipped by this rater in this round."
    )


@pytest.mark.parametrize(
    ("candidate", "bar"),
    [
        (item("a", authors=frozenset({"r"})), "authored"),
        (item("a", sites=frozenset({"ward 3"})), "treated"),
        (item("a", adjudicators=frozenset({"r"})), "adjudicator"),
        (item("a", excluded=frozenset({"r"})), "excluded"),
        (item("mine"), "excluded"),
        (item("a", "retest", only_for=frozenset({"other"})), "for_others"),
        (item("a", "retest", only_for=frozenset({"r"}), due_day=15), "not_due"),
        (item("a", posterior=(0.95, 0.03, 0.02), n_judgements=2), "settled"),
        (item("a", n_judgements=6), "full"),
        (item("a", "irr_fixed", slots=3, n_judgements=3), "full"),
        (item("a", "irr_fixed", slots=3, n_judgements=2, n_open=1), "being_judged"),
        (item("a", n_judgements=2, n_open=1), "being_judged"),
        (item("seen"), "rated"),
    ],
)
def test_each_rule_keeps_an_item_from_the_rater_and_is_named(candidate: Candidate, bar: str):
    rater = replace(RATER, sites=frozenset({"ward 3"}), excluded_items=frozenset({"mine"}))
    history = History(rated=frozenset({"seen"}), today=14)
    assert why_not(candidate, rater, history, NO_GOLD) == bar
    found = choose([candidate], rater, history, NO_GOLD)
    assert isinstance(found, Empty)
    assert list(found.barred) == [bar]


@pytest.mark.parametrize(
    "candidate",
    [
        item("a", posterior=(0.95, 0.03, 0.02), n_judgements=1),
        item("a", "irr_fixed", posterior=(0.95, 0.03, 0.02), slots=3, n_judgements=2),
        item("a", n_judgements=0, n_open=1),
        item("a", "retest", only_for=frozenset({"r"}), due_day=14),
        item("a", "calibration", n_judgements=40),
        item("a", "gold", n_judgements=40),
    ],
)
def test_what_no_rule_forbids_may_be_served(candidate: Candidate):
    assert why_not(candidate, RATER, History(today=14), NO_GOLD) is None


def test_an_extra_blind_round_makes_room_for_more_judgements():
    full = item("a", n_judgements=6)
    assert why_not(full, RATER, NEW, NO_GOLD) == "full"
    assert served(choose([full], RATER, History(extra_rounds={"a": 1}), NO_GOLD)) == "a"


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Candidate], Rater, History]:
    """Pools in which all rules may meet."""
    names, places = ("r", "s"), ("x", "y")
    some = st.frozensets(st.sampled_from(names))
    found = []
    for number in range(draw(st.integers(1, 12))):
        best = draw(st.sampled_from((0.4, 0.8, 0.9, 0.95)))
        found.append(
            Candidate(
                str(number), draw(st.sampled_from(STRATA)), draw(st.sampled_from(("f", "g", "h"))),
                (best, (1 - best) / 2, (1 - best) / 2), draw(st.integers(0, 7)), draw(st.integers(0, 3)),
                draw(st.sampled_from((None, 2, 4))), draw(st.sampled_from(("", "heart"))), draw(some),
                draw(st.frozensets(st.sampled_from(places))), draw(some), draw(some), draw(some),
                draw(st.sampled_from((None, 3, 9))),
            )
        )  # fmt: skip
    ids = st.frozensets(st.sampled_from([one.item_id for one in found]), max_size=3)
    rater = Rater(
        "r", GOOD, draw(st.sampled_from(("", "heart"))), frozenset(draw(st.sampled_from(((), ("x",))))), draw(ids)
    )
    recent = tuple(Served(one.item_id, one.family, one.stratum) for one in found[: draw(st.integers(0, 3))])
    history = History(draw(ids), recent, draw(st.integers(0, 50)), 5, {"0": draw(st.integers(0, 2))})
    return found, rater, history


@settings(max_examples=60, deadline=None)
@given(situations())
def test_rules_for_a_pool_are_those_for_one_item(situation: tuple[list[Candidate], Rater, History]):
    found, rater, history = situation
    bars = barred(Pool.of(found), rater, history, QueuePolicy())
    for place, one in enumerate(found):
        named = [name for name, mask in bars.items() if mask[place]]
        expected = why_not(one, rater, history, QueuePolicy())
        assert named == ([] if expected is None else [expected])


@settings(max_examples=60, deadline=None)
@given(situations(), st.integers(0, 5), st.randoms())
def test_a_choice_is_allowed_and_does_not_depend_on_the_order_of_the_items(
    situation: tuple[list[Candidate], Rater, History], seed: int, random: object
):
    found, rater, history = situation
    chosen = choose(found, rater, history, QueuePolicy(), seed)
    shuffled_items = sorted(found, key=lambda one: random.random())  # type: ignore[attr-defined]
    assert choose(shuffled_items, rater, history, QueuePolicy(), seed) == chosen
    if isinstance(chosen, Choice):
        one = next(one for one in found if one.item_id == chosen.item_id)
        assert why_not(one, rater, history, QueuePolicy()) is None
    else:
        may = [one for one in found if why_not(one, rater, history, QueuePolicy()) is None]
        assert {one.stratum for one in may} <= {"gold"}, "only gold waits for its draw"


def test_the_order_is_the_raters_own_and_the_seeds():
    some = [item(str(number), "calibration") for number in range(30)]

    def order(rater_id: str, seed: int) -> list[str]:
        found: list[str] = []
        for number in range(30):
            history = History(frozenset(found), n_served=number)
            found.append(served(choose(some, replace(RATER, rater_id=rater_id), history, NO_GOLD, seed)))
        return found

    assert order("r", 1) == order("r", 1)
    assert len({tuple(order(rater, seed)) for rater in ("r", "s") for seed in (1, 2)}) == 4


def test_no_item_of_a_window_loses_every_draw():
    """The database shows the policy the next few items alone, and searches from the first of them on."""
    n_items, width = 1500, 32
    waiting, longest = [item(f"i{n}", "irr_fixed", slots=1) for n in range(n_items)], 0
    for n_served in range(n_items):
        chosen = served(choose(waiting[:width], RATER, History(n_served=n_served), NO_GOLD))
        place = next(place for place, one in enumerate(waiting) if one.item_id == chosen)
        del waiting[place]
        if len(waiting) > width:
            longest = max(longest, n_served - int(waiting[0].item_id[1:]))
    assert 50 < longest < 400  # one in 32 each time: 32 ln(1500) = 234 for the slowest


def test_gold_comes_about_once_in_fifteen_and_never_twice_in_a_row():
    pool = Pool.of([item(f"g{n}", "gold") for n in range(100)] + [item(f"a{n}", "single") for n in range(700)])
    strata, history = [], NEW
    rated: set[str] = set()
    for number in range(700):
        found = served(choose(pool, RATER, history, QueuePolicy(), 3))
        strata.append("gold" if found[0] == "g" else "single")
        rated.add(found)
        history = History(frozenset(rated), (Served(found, found, strata[-1]),), number + 1)
    gold = np.asarray(strata) == "gold"
    assert not (gold[1:] & gold[:-1]).any()
    # after gold no draw: 1 / (15 + 1) of all; standard deviation of the count about √(700 · .0625 · .94) = 6.4
    assert 700 / 16 - 26 < gold.sum() < 700 / 16 + 26


def test_the_fixed_stratum_is_full_at_its_quota():
    assert served(choose([item("a", "irr_fixed", slots=3, n_judgements=2)], RATER, NEW, NO_GOLD)) == "a"
    assert isinstance(choose([item("a", "irr_fixed", slots=3, n_judgements=3)], RATER, NEW, NO_GOLD), Empty)


def test_the_adaptive_step_serves_what_this_rater_knows_most_about():
    # the rater tells classes 0 and 1 apart, and knows nothing of 2 against 1
    expert = Rater("r", np.asarray([[0.95, 0.025, 0.025], [0.05, 0.475, 0.475], [0.05, 0.475, 0.475]]))
    some = [item("zero or one", posterior=(0.5, 0.5, 0.0)), item("one or two", posterior=(0.0, 0.5, 0.5))]
    found = choose(some, expert, NEW, NO_GOLD)
    assert served(found) == "zero or one"
    assert isinstance(found, Choice)
    assert found.step == "adaptive"
    # H(.5, .25, .25) − ½ (H(.95, .025, .025) + H(.05, .475, .475)) = 1.5 − .5 (.336397 + 1.236397)
    assert found.reason["information_bits"] == pytest.approx(0.7136, abs=1e-4)
    assert "expected to tell most (0.71 bits; best answer so far 0.50), after 0 judgements of it." in found.sentence


def test_an_own_specialty_breaks_near_ties_and_no_more():
    heart = replace(RATER, specialty="heart")
    same = [item("a", specialty="lung"), item("b", specialty="heart"), item("c", specialty="lung")]
    assert served(choose(same, heart, NEW, NO_GOLD)) == "b"
    clear = [item("a", specialty="lung"), item("b", specialty="heart", posterior=(0.85, 0.1, 0.05))]
    assert served(choose(clear, heart, NEW, NO_GOLD)) == "a"


def test_features_of_a_family_are_kept_apart_while_there_is_enough_else():
    some = [item("a", family="x"), item("b", family="y")]
    for first, other in (("x", "b"), ("y", "a")):
        assert served(choose(some, RATER, History(recent=(Served("z", first, "adaptive"),)), NO_GOLD)) == other
    found = choose(some[:1], RATER, History(recent=(Served("z", "x", "adaptive"),)), NO_GOLD)
    assert served(found) == "a"
    assert isinstance(found, Choice)
    assert not found.reason["is_spaced"]
    assert "its family was shown just before" in found.sentence
    long_ago = tuple(Served(str(n), "x" if n == 0 else "w", "adaptive") for n in range(6))
    again = choose([item("a", family="x")], RATER, History(recent=long_ago), NO_GOLD)
    assert isinstance(again, Choice)
    assert again.reason["is_spaced"], "five others lie between"


def test_coverage_serves_the_item_with_the_fewest_judgements():
    some = [item("a", "single", n_judgements=2), item("b", "single", n_judgements=1), item("c", "single", n_open=2)]
    assert served(choose(some, RATER, NEW, NO_GOLD)) == "b"


def test_a_rater_before_calibration_gets_nothing_else():
    waiting = replace(RATER, is_calibrated=False)
    some = [item("a"), item("c", "calibration")]
    assert served(choose(some, waiting, NEW, NO_GOLD)) == "c"
    found = choose(some, waiting, History(frozenset({"c"})), NO_GOLD)
    assert isinstance(found, Empty)
    assert found.sentence.startswith("The calibration round is answered")


def test_an_empty_round_says_so_and_a_mixed_one_counts_every_reason():
    assert choose([], RATER, NEW, NO_GOLD) == Empty({}, "This round has no items.")
    some = [item("a", n_judgements=6), item("b", authors=frozenset({"r"})), item("g", "gold")]
    found = choose(some, RATER, NEW, NO_GOLD)
    assert isinstance(found, Empty)
    assert found.barred == {"authored": 1, "full": 1}
    assert found.sentence.endswith(
        "1 the rater suggested its label; 1 has all the judgements it may have in this round; 1 kept for later."
    )


def test_a_pool_is_kept_up_to_date_and_refuses_an_item_twice():
    pool = Pool.of([item("a"), item("b")])
    pool.update("a", 2, 0, np.asarray([0.95, 0.03, 0.02]))
    assert served(choose(pool, RATER, NEW, NO_GOLD)) == "b"
    assert why_not(item("a", posterior=(0.95, 0.03, 0.02), n_judgements=2), RATER, NEW, NO_GOLD) == "settled"
    with pytest.raises(UserError, match="2 candidates have 1 different ids"):
        Pool.of([item("a"), item("a")])


def test_shuffling_gives_every_place_to_every_item_evenly():
    code = Pool.of([item(str(number)) for number in range(10)]).code
    first = np.asarray([shuffled(code, seed, "r").argmin() for seed in range(2000)])
    counts = np.bincount(first, minlength=10)
    assert counts.min() > 140
    assert counts.max() < 260, "2,000 / 10 ± 4.5 standard deviations of 13.4"
