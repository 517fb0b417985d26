"""A rater against themselves, against known answers, against their own certainty; houses, drift, what cannot be judged."""

import numpy as np
import pytest

from benchmarks.harness.rated import simulated, slow_alpha
from labeling.bootstrap import BootstrapConfig
from labeling.cannot_judge import cannot_judge
from labeling.confidence import calibration
from labeling.drift import DriftConfig, alpha_by_period, cusum, ewma, left_out_agreement
from labeling.free_text import normalised, same_words
from labeling.gold import against_gold, pooled_gold, wilson
from labeling.groups import group_agreement
from labeling.retest import retest
from labeling.scale import categories, numbers
from sae.errors import UserError

FEW = BootstrapConfig(n_bootstraps=300)
NAN = np.nan


def test_wilsons_interval_of_his_textbook_example():
    """81 of 263: .255 to .366 (Newcombe 1998, Stat Med 17:857, method 3)."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)  # Newcombe, likewise
    assert wilson(20, 20)[1] == 1.0


def test_gold_accuracy_by_hand():
    gold = np.asarray([0] * 10 + [1] * 6 + [2] * 4, float)
    answers = gold.copy()
    answers[:2], answers[10], answers[16] = 1, 2, NAN
    found = against_gold(answers, gold, categories(["no", "maybe", "yes"]))
    assert found.confusion == ((8, 2, 0), (0, 5, 1), (0, 0, 3))
    assert found.accuracy.value == pytest.approx(16 / 19)
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx(wilson(16, 19))
    maybe = found.classes[1]
    assert (maybe.name, maybe.n_gold) == ("maybe", 6)
    assert maybe.sensitivity.value == pytest.approx(5 / 6)
    assert maybe.specificity.value == pytest.approx(11 / 13)
    assert not found.classes[2].sensitivity.is_reliable


def test_raters_who_share_items_are_resampled_with_them():
    """Four raters who all copy each other know no more than one."""
    rng = np.random.default_rng(5)
    gold = rng.integers(0, 2, 60).astype(float)
    answers = np.where(rng.random(60) < 0.75, gold, 1 - gold)
    again, items = np.where(rng.random(60) < 0.7, answers, 1 - answers), np.char.zfill(np.arange(60).astype(str), 2)
    one = pooled_gold(answers, gold, items, categories(2), FEW, 1)
    four = pooled_gold(np.tile(answers, 4), np.tile(gold, 4), np.tile(items, 4), categories(2), FEW, 4)
    assert one.accuracy.value == against_gold(answers, gold, categories(2)).accuracy.value
    for pair in ((one.accuracy, four.accuracy), (one.classes[0].sensitivity, four.classes[0].sensitivity)):
        assert pair[1][:4] == pytest.approx(pair[0][:4])
        assert pair[1].n_ratings == 4 * pair[0].n_ratings
    alone = retest(answers, again, categories(2), FEW)
    copied = retest(np.tile(answers, 4), np.tile(again, 4), categories(2), FEW, items=np.tile(items, 4).tolist())
    assert copied.ac1[:4] == pytest.approx(alone.ac1[:4])
    right, right_4 = (
        retest(gold, gold, categories(2), FEW),
        retest(np.tile(gold, 4), np.tile(gold, 4), categories(2), FEW, items=np.tile(items, 4).tolist()),
    )
    assert right_4.ac1.low == pytest.approx(right.ac1.low)
    assert right_4.ac1.method == "exact bound, all items alike"


def test_a_class_without_gold_has_no_sensitivity():
    found = against_gold(np.zeros(5), np.zeros(5), categories(2))
    assert found.classes[1].sensitivity.value is None
    assert found.classes[1].specificity.value == 1.0
    assert found.classes[0].specificity.value is None


def test_retest_counts_items_judged_twice_and_says_what_is_missing():
    first = np.asarray([0, 1, 2, 1, NAN, 2] * 5, float)
    second = np.asarray([0, 1, 1, 1, 0, 2] * 5, float)
    found = retest(first, second, categories(3, "ordinal"), FEW, days=[20.0] * 30)
    assert found.percent_agreement.value == pytest.approx(20 / 25)
    assert found.is_enough
    assert found.weighted_kappa is not None
    assert found.weighted_kappa.value is not None
    assert found.kappa.value is not None
    assert found.weighted_kappa.value > found.kappa.value
    early = retest(first[:6], second[:6], categories(3), FEW, days=[20, 3, 3, 20, 3, 20])
    assert (early.is_enough, early.ac2) == (False, None)
    assert early.notes[0].startswith("5 items were judged twice, fewer than 20")
    assert early.notes[1].startswith("2 items were judged again within 14 days")
    assert retest(first[:6], second[:6], categories(3), FEW, n_rated=50).is_enough


def test_a_retest_of_nothing_has_no_value():
    found = retest(np.asarray([0, NAN]), np.asarray([NAN, 1]), categories(2), FEW)
    assert (found.percent_agreement.value, found.kappa.value, found.ac1.value) == (None, None, None)


def test_houses_with_habits_of_their_own_differ():
    rng = np.random.default_rng(0)
    here, there = (simulated(rng, 150, 3, (0.5, 0.5), 0.9, 0.1) for _ in range(2))  # two truths
    found = group_agreement(np.hstack([here, there]), ["a"] * 3 + ["b"] * 3, categories(2), FEW)
    assert found.groups["a"].value == pytest.approx(slow_alpha(here, "nominal"))
    assert found.within.value is not None
    assert found.between.value is not None
    assert found.within.value > 0.7
    assert abs(found.between.value) < 0.2
    assert found.difference.value == pytest.approx(found.within.value - found.between.value)
    assert found.difference.low is not None
    assert found.difference.low > 0.3


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_houses_alike_do_not_differ_and_pairs_add_up(level):
    ratings = simulated(np.random.default_rng(1), 200, 4, (0.4, 0.3, 0.3), 0.7, 0.0)
    scale = numbers("interval", [0, 1, 2]) if level == "interval" else categories(3, level)
    found = group_agreement(ratings, ["a", "a", "b", "b"], scale, FEW)
    assert found.difference.low is not None
    assert found.difference.high is not None
    assert found.difference.low < 0 < found.difference.high
    # of 6 pairs of an item 2 are within and 4 between, and all items weigh the same
    assert found.overall.value == pytest.approx((2 * found.within.value + 4 * found.between.value) / 6, abs=1e-3)  # type: ignore[operator]
    assert found.overall.value == pytest.approx(slow_alpha(ratings, level))


def test_a_house_of_one_has_nobody_to_agree_with():
    found = group_agreement(simulated(np.random.default_rng(2), 40, 3, (0.5, 0.5), 0.8, 0.0), "abb", categories(2), FEW)
    assert found.groups["a"].value is None
    assert found.groups["a"].reason == "No item has ratings of two raters."
    with pytest.raises(UserError, match="3 raters of 1 groups"):
        group_agreement(np.zeros((4, 3)), "aaa", categories(2), FEW)


def test_texts_are_the_same_but_for_case_spaces_and_punctuation():
    assert normalised("  Troponin   elevated. ") == normalised("troponin ELEVATED")
    assert normalised("K+ 3.5") != normalised("K+ 35")
    assert normalised("ﬁbrillation") == "fibrillation"
    found = same_words([["Sepsis", "sepsis.", "shock"], ["a", None, "a"], [None, "b", None]], FEW)
    assert found.value == pytest.approx((1 / 3 + 1) / 2)
    assert (found.n_items, found.n_ratings) == (2, 5)
    assert same_words([["a", None]], FEW).reason == "No item has texts of two raters."


def test_cannot_judge_counts_as_a_category_and_as_missing():
    ratings = simulated(np.random.default_rng(3), 60, 3, (0.5, 0.5), 0.8, 0.0)
    is_cannot = np.zeros(ratings.shape, bool)
    is_cannot[:20] = True
    found = cannot_judge(np.where(is_cannot, NAN, ratings), is_cannot, categories(2, "ordinal"), FEW)
    assert found.share == pytest.approx(1 / 3)
    assert found.outcome.coefficients["alpha_nominal"].value == 1.0
    assert found.as_missing.n_items == 40
    assert found.as_missing.coefficients["alpha_ordinal"].value == pytest.approx(slow_alpha(ratings[20:], "ordinal"))
    whole = np.where(is_cannot, 2, ratings)
    assert found.as_category.coefficients["alpha_nominal"].value == pytest.approx(slow_alpha(whole, "nominal"))
    assert found.as_category.n_categories == 3
    with pytest.raises(UserError, match="60 answers are both a rating"):
        cannot_judge(ratings, is_cannot, categories(2), FEW)


def test_a_fall_raises_an_alarm_soon_and_a_steady_rater_seldom():
    rng = np.random.default_rng(4)
    delays, n_false = [], 0
    for _ in range(50):
        steady, fallen = rng.random(100) < 0.85, rng.random(60) < 0.5
        n_false += bool(cusum(steady).alarms)
        chart = cusum(np.concatenate([steady, fallen]))
        delays.append(next((at - 100 for at in chart.alarms if at >= 100), 60))
    assert np.median(delays) <= 20
    assert n_false <= 10


def test_cusum_by_hand():
    cfg = DriftConfig(expected=0.8, bad=0.6, threshold=1.0)
    right, wrong = np.log(0.6 / 0.8), np.log(0.4 / 0.2)
    chart = cusum(np.asarray([1, 0, 0, 1, 0.5]), cfg)
    expected = [0, wrong, 2 * wrong, 2 * wrong + right, 2 * wrong + right + (right + wrong) / 2]
    assert chart.values == pytest.approx(expected)
    assert chart.alarms == (2,)
    with pytest.raises(UserError, match=r"bad=0.9 is not below expected=0.85"):
        cusum(np.ones(2), DriftConfig(bad=0.9))


def test_ewma_by_hand():
    cfg = DriftConfig(memory=0.5, width=2.2, expected=0.8)
    chart = ewma(np.asarray([0.0, 0.0, 1.0]), cfg)
    assert chart.values == pytest.approx([0.4, 0.2, 0.6])
    assert chart.low[0] == pytest.approx(0.8 - 2.2 * 0.4 * 0.5)
    assert chart.low[1] == pytest.approx(0.8 - 2.2 * 0.4 * np.sqrt(1 / 3 * (1 - 0.5**4)))
    assert chart.alarms == (1,)
    with pytest.raises(UserError, match="values outside 0 to 1 or missing ones"):
        ewma(np.asarray([NAN]), cfg)


def test_left_out_agreement_is_with_the_others():
    found = left_out_agreement(np.asarray([[0, 0, 1], [1, NAN, 1], [NAN, NAN, 0]]))
    assert found == pytest.approx(np.asarray([[0.5, 0.5, 0.0], [1.0, NAN, 1.0], [NAN] * 3]), nan_ok=True)


def test_alpha_of_each_week():
    ratings = simulated(np.random.default_rng(5), 90, 3, (0.5, 0.5), 0.8, 0.1)
    weeks = ["2026-W46"] * 40 + ["2026-W47"] * 50
    found = alpha_by_period(ratings, weeks, categories(2), FEW)
    assert [one.period for one in found] == ["2026-W46", "2026-W47"]
    assert found[0].alpha.value == pytest.approx(slow_alpha(ratings[:40], "nominal"))
    assert found[1].alpha.value == pytest.approx(slow_alpha(ratings[40:], "nominal"))


def test_stated_confidence_beside_the_truth():
    stated = np.asarray([0.9] * 10 + [0.5] * 10)
    is_right = np.asarray([1] * 6 + [0] * 4 + [1] * 5 + [0] * 5)
    found = calibration(stated, is_right, 10, FEW)
    assert [(one.low, one.confidence, one.accuracy.value) for one in found.bins] == [
        (0.5, pytest.approx(0.5), 0.5),
        (0.9, pytest.approx(0.9), 0.6),
    ]
    assert found.calibration_error.value == pytest.approx(0.15)
    assert found.overconfidence.value == pytest.approx(0.15)
    assert found.brier.value == pytest.approx((6 * 0.01 + 4 * 0.81 + 10 * 0.25) / 20)
    assert not found.brier.is_reliable
    with pytest.raises(UserError, match="2 confidences for 1 judgements"):
        calibration(np.ones(2), np.ones(1))
