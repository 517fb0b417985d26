"""Gaps between groups: found where they are planted, of the right size, and not where diagnoses alone differ."""

import numpy as np
import pytest

from analysis.audits.cohort import Cohort, Subject, age_band, groups
from analysis.audits.config import ProtectedConfig
from analysis.audits.parity import against_others, claims, observed_gaps, standardised, swapped_gaps
from sae.errors import UserError

CFG = ProtectedConfig(n_permutations=299, n_bootstraps=200)
ANSWERS = ("heart", "lung", "skin")


def cohort(rng: np.random.Generator, n: int = 180, share: float = 0.5) -> Cohort:
    """Patients whose diagnosis may depend on their group: the share of `heart` in group a."""
    found = []
    for i in range(n):
        group = "a" if i % 2 else "b"
        heart = rng.random() < (share if group == "a" else 0.5)
        truth = "heart" if heart else str(rng.choice(["lung", "skin"]))
        found.append(Subject(str(i), f"p{i}", "text", truth, {"insurance": group, "sex": str(rng.choice(["f", "m"]))}))
    return Cohort("test", tuple(found), ANSWERS)


def answers(some: Cohort, rng: np.random.Generator, gap: float = 0.0, where: str = "heart") -> np.ndarray:
    """Probabilities; patients of group a with one diagnosis lose `gap` to the answer `skin`."""
    p = np.full((len(some), 3), 0.0)
    for i, one in enumerate(some.subjects):
        right = 0.85 + 0.1 * rng.random()
        if one.attributes["insurance"] == "a" and one.truth == where:
            right -= gap
            p[i, 2] += gap
        p[i, ANSWERS.index(one.truth)] += right
        p[i] += (1 - p[i].sum()) / 3
    return p


def test_a_planted_gap_is_claimed_with_its_size_and_what_is_said_instead():
    rng = np.random.default_rng(1)
    some = cohort(rng)
    (found,) = claims(observed_gaps(some, answers(some, rng, 0.6), CFG, 0.01))
    assert (found.attribute, found.truth, found.instead) == ("insurance", "heart", "skin")
    assert found.low < found.effect < found.high
    sign = -1 if found.value == "a" else 1
    assert found.effect == pytest.approx(sign * 0.6 * 2 / 3 * 1.5, abs=0.05)


def test_groups_that_are_differently_ill_but_equally_served_have_no_gap():
    rng = np.random.default_rng(2)
    some = cohort(rng, share=0.9)
    p = answers(some, rng)
    p[some.truth() == 0] = [0.4, 0.3, 0.3]  # a diagnosis that the model finds hard, for everybody
    assert claims(observed_gaps(some, p, CFG, 0.01)) == []


def test_false_claims_stay_below_the_level():
    rng = np.random.default_rng(3)
    cfg = CFG.model_copy(update={"least_effect": 0.0, "n_permutations": 99, "n_bootstraps": 2})
    hits = []
    for _ in range(100):
        some = cohort(rng, n=60)
        hits.append(bool(claims(observed_gaps(some, answers(some, rng), cfg, 0.1))))
    assert np.mean(hits) <= 0.19  # .1 expected, three deviations of 100


def test_a_swap_that_changes_answers_is_found_in_few_texts():
    rng = np.random.default_rng(4)
    some = cohort(rng, n=40)
    p = np.stack([answers(some, np.random.default_rng(5))] * 3, 1)
    heart = some.truth() == 0
    p[heart, 1] = [0.1, 0.1, 0.8]
    (found,) = claims(swapped_gaps(some, "insurance", ("x", "y", "z"), p, CFG, 0.01))
    assert (found.value, found.truth, found.instead, found.n) == ("y", "heart", "skin", int(heart.sum()))
    assert found.effect == pytest.approx((0.1 - p[heart, 0, 0]).mean())


def test_swaps_that_change_nothing_are_not_claimed():
    some = cohort(np.random.default_rng(6), n=40)
    p = np.stack([answers(some, np.random.default_rng(5))] * 2, 1)
    found = swapped_gaps(some, "sex", ("f", "m"), p, CFG, 0.01)
    assert all(gap.effect == 0 and gap.p == 1 for gap in found)


def test_each_version_is_compared_with_the_mean_of_the_others():
    assert against_others(np.array([[1.0, 0.0, 0.5]])).tolist() == [[0.75, -0.75, 0.0]]


def test_standardised_differences_are_those_of_a_plain_loop():
    rng = np.random.default_rng(7)
    outcome = rng.random(30)
    inside, outside = rng.random((4, 30)) < 0.3, rng.random((4, 30)) < 0.4
    plain = [
        (outcome[a].mean() - outcome[b].mean()) / (outcome.std() * np.sqrt(1 / a.sum() + 1 / b.sum()))
        for a, b in zip(inside, outside, strict=True)
    ]
    assert standardised(inside, outside, outcome) == pytest.approx(np.array(plain))


def test_groups_that_are_too_small_are_an_error():
    with pytest.raises(UserError, match="no protected attribute with two groups of at least 10 patients"):
        groups(Cohort("x", cohort(np.random.default_rng(0), n=8).subjects, ANSWERS), 10)


@pytest.mark.parametrize(("age", "band"), [(0, "0–17"), (17.9, "0–17"), (18, "18–39"), (64, "40–64"), (65, "65+")])
def test_ages_fall_into_bands(age: float, band: str):
    assert age_band(age) == band
