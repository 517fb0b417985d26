"""Weights on planted panels: the steady weigh more, the few are drawn to the mean, and nobody is silenced."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labeling.consensus import ConsensusConfig, consensus
from labeling.learnability import LearnabilityConfig, combined, learnability
from labeling.ratings import Ratings
from labeling.schools import residuals, schools
from labeling.weights import WeightsConfig, ac1, formula, leave_one_out, weights
from sae.errors import UserError
from tests.labeling.panels import even, simulated, two_schools

CFG = WeightsConfig()
NONE: dict[int, tuple[np.ndarray, np.ndarray]] = {}


def pairs(table: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Answers of two columns from their cross table."""
    rows = [(a, b) for a, line in enumerate(table) for b, n in enumerate(line) for _ in range(n)]
    first, second = np.asarray(rows).T
    return first, second


@pytest.mark.parametrize(
    ("table", "expected"),
    [([[40, 9], [6, 45]], 0.700748), ([[80, 10], [5, 5]], 0.808), ([[118, 5], [2, 0]], 0.940776)],
)
def test_ac1_of_published_tables(table: list[list[int]], expected: float):
    """Feinstein and Cicchetti 1990 (two tables); Gwet 2008."""
    found = ac1(*pairs(table), 2)
    assert found.ac1 == pytest.approx(expected, abs=1e-6)
    assert found.low is not None
    assert expected - 0.2 < found.low < expected


def test_the_lower_bound_covers_the_value_of_many_pairs():
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray]:
        first = rng.integers(0, 3, n)
        return first, np.where(rng.random(n) < 0.7, first, rng.integers(0, 3, n))

    truth = ac1(*draw(200_000), 3).ac1
    assert truth is not None
    lows = [ac1(*draw(60), 3).low for _ in range(400)]
    covered = np.mean([low is not None and low <= truth for low in lows])
    assert 0.92 < covered < 0.98, ".95 ± three standard deviations of .011"


def test_a_handful_of_agreements_proves_no_certainty():
    few, many = (ac1(np.arange(n) % 2, np.arange(n) % 2, 2) for n in (4, 100))
    assert few.ac1 == many.ac1 == pytest.approx(1)
    assert few.low is not None
    assert many.low is not None
    assert few.low < 0.6
    assert many.low > 0.9
    assert ac1(np.zeros(0, int), np.zeros(0, int), 2) == (None, None, 0)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_the_formula_stays_between_a_quarter_and_one(consistency: float, skill: float):
    assert 0.25 <= formula(consistency, skill, 0.25) <= 1
    assert formula(1, 1, 0.25) == 1
    assert formula(0, 0, 0.25) == 0.25
    assert formula(0.5, 0.2, 0.25) == pytest.approx(0.75 * 0.6)


def test_agreement_with_the_others_leaves_their_ties_out():
    item, rater = np.asarray([0, 0, 0, 1, 1, 1]), np.asarray([0, 1, 2] * 2)
    found = leave_one_out(Ratings(item, rater, np.asarray([0, 1, 1, 0, 1, 0]), 2, 3, 2), 0)
    assert [one.tolist() for one in found] == [[0], [1]]


def test_better_raters_weigh_more_and_those_with_few_judgements_like_the_panel():
    panel = simulated(even((0.95, 0.9, 0.85, 0.45), 3), 200, 4, 0).ratings
    kept = (panel.rater != 1) | (panel.item < 2)
    found = weights(panel.only(kept), NONE, np.full(4, 0.3), CFG)
    assert found[0].weight > found[2].weight > found[3].weight >= 0.25
    mean = np.mean([one.own for one in found])
    assert found[1].n_judgements == 2
    assert found[1].weight == pytest.approx((2 * found[1].own + 50 * mean) / 52)


def test_twenty_retests_replace_agreement_with_others():
    panel = simulated(even((0.9, 0.9, 0.9), 3), 60, 3, 1).ratings
    first = np.arange(20) % 3
    steady, wavering = (first, first), (first, (first + np.arange(20) % 2) % 3)
    found = weights(panel, {0: steady, 1: wavering, 2: (first[:19], first[:19])}, np.zeros(3), CFG)
    assert [one.source for one in found] == ["retest", "retest", "others"]
    assert found[0].consistency > found[1].consistency
    assert found[0].n_pairs == 20


def test_retests_with_one_answer_alone_are_no_sign_of_consistency():
    rng = np.random.default_rng(0)
    item, rater = np.repeat(np.arange(40), 3), np.tile([0, 1, 2], 40)
    truth = rng.integers(0, 2, 40)
    panel = Ratings(item, rater, np.where(rater == 0, 0, truth[item]), 40, 3, 2)
    same = (np.zeros(25, int), np.zeros(25, int))
    assert ac1(*same, 2) == (None, None, 25)
    found = weights(panel, {0: same}, np.zeros(3), CFG)
    assert (found[0].source, found[0].n_pairs) == ("others", 40)
    assert found[0].consistency < 0.2
    assert found == weights(panel, {}, np.zeros(3), CFG), "as if there were no retests"


def test_where_all_answers_are_alike_consistency_was_not_measured():
    alike = Ratings(np.repeat(np.arange(30), 2), np.tile([0, 1], 30), np.zeros(60, int), 30, 2, 2)
    found = weights(alike, {0: (np.zeros(25, int), np.zeros(25, int))}, np.zeros(2), CFG)
    assert {(one.source, one.consistency) for one in found} == {("none", 0.0)}


def test_learnability_must_fit_the_panel():
    panel = simulated(even((0.9, 0.9), 3), 10, 2, 1).ratings
    with pytest.raises(UserError, match="expected 2 finite numbers"):
        weights(panel, NONE, np.asarray([0.5, np.nan]), CFG)


LEARN = LearnabilityConfig(n_permutations=2, n_folds=4)
WORDS = ("heart murmur valve", "cough wheeze lung", "rash itch skin")


def planted(n: int, noise: float, seed: int) -> tuple[list[str], np.ndarray, list[int]]:
    """Texts whose words tell the label, but for a share of noise; two judgements per family."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    said = np.where(rng.random(n) < noise, rng.integers(0, 3, n), labels)
    return [f"{WORDS[k]} note {rng.integers(0, 9)}" for k in said], labels, [i // 2 for i in range(n)]


def test_labels_that_follow_from_words_are_learnable_and_noise_is_not():
    clear, half, none = (learnability(*planted(100, noise, 0), LEARN).skill for noise in (0.0, 0.5, 1.0))
    assert clear is not None
    assert half is not None
    assert none is not None
    assert clear > 0.6 > half > none
    assert none < 0.05


def test_near_duplicates_do_not_leak_between_folds():
    rng = np.random.default_rng(1)
    family = np.repeat(np.arange(20), 6)
    labels = rng.integers(0, 2, 20)[family]  # a label per family, and nothing else to learn
    texts = [f"word{f} again{f}" for f in family]
    honest = learnability(texts, labels, list(family), LEARN).skill
    leaking = learnability(texts, labels, list(range(120)), LEARN).skill
    assert honest is not None
    assert leaking is not None
    assert honest < 0.05
    assert leaking > 0.4


def test_what_cannot_be_measured_says_why():
    texts, labels, families = planted(40, 0, 0)
    assert learnability(texts[:10], labels[:10], families[:10], LEARN).reason == "10 judgements, 20 are needed"
    assert learnability(texts, np.zeros(40), families, LEARN).reason == "one label alone"
    assert learnability(texts, labels, [0] * 40, LEARN).reason == "1 families, 4 are needed"
    assert learnability([""] * 40, labels, families, LEARN).reason == "no words"
    assert combined([learnability([""] * 40, labels, families, LEARN)]) == 0


def test_two_schools_are_found_and_both_readings_kept():
    ratings = two_schools(0)
    found = schools(ratings, consensus(ratings, ConsensusConfig()), ConsensusConfig(), n_simulated=39)
    assert found.is_split
    assert len(set(found.school[:3])) == len(set(found.school[3:])) == 1
    assert found.school[0] != found.school[3]
    assert len(found.readings) == 2
    assert len(found.differing) > 20


def test_a_panel_of_one_school_is_rarely_split():
    splits = 0
    for seed in range(10):
        ratings = simulated(even((0.9, 0.85, 0.8, 0.75, 0.7, 0.65), 3), 100, 4, seed).ratings
        splits += schools(ratings, consensus(ratings, ConsensusConfig()), ConsensusConfig(), n_simulated=39).is_split
    assert splits <= 2, "5 % of 10; three or more have a chance of 1 %"


def test_residual_agreement_is_that_of_all_pairs_of_judgements_one_by_one():
    panel = simulated(even((0.9, 0.8, 0.7, 0.6, 0.5), 3), 40, 3, 2).ratings
    item, rater, label = (np.r_[one, one[:5]] for one in (panel.item, panel.rater, panel.label))
    twice = Ratings(item, rater, label, 40, 5, 3)
    found = consensus(twice, ConsensusConfig())
    observed, expected, variance = np.zeros((3, 5, 5))
    for i in range(len(twice)):
        for j in range(len(twice)):
            a, b = twice.rater[i], twice.rater[j]
            if twice.item[i] == twice.item[j] and a != b:
                chance = found.map.distribution[twice.item[i]] @ (found.confusion[a] * found.confusion[b]).sum(axis=1)
                observed[a, b] += twice.label[i] == twice.label[j]
                expected[a, b] += chance
                variance[a, b] += chance * (1 - chance)
    one_by_one = (observed - expected) / np.sqrt(np.where(variance > 0, variance, 1))
    assert residuals(twice, found.map.distribution, found.confusion) == pytest.approx(one_by_one)
