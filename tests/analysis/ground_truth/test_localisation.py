"""Localisation and DSA, worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.ground_truth import two_passages
from analysis.ground_truth.known import overlapping
from analysis.ground_truth.localisation import dsa, localise

SCOPE = np.asarray([False, True, True, True, True])
EVIDENCE = np.asarray([False, True, False, True, False])


def test_figures_of_five_tokens_are_worked_by_hand():
    found = localise(
        np.asarray([99.0, 3.0, -1.0, 1.0, 2.0]), EVIDENCE, SCOPE, np.asarray([False, False, False, True, False])
    )
    assert found.first == 0  # the strongest of the scope is token 1, the most direct evidence token 3
    assert found.hit == 1
    assert found.at_evidence == 0.5  # of tokens 1 and 4
    assert found.auroc == 0.75  # (3 > 2), (3 > −1), (1 > −1), but not (1 > 2)
    assert found.mass == pytest.approx(4 / 7)
    assert found.n_evidence == 2


def test_equal_scores_count_against_the_method():
    found = localise(np.ones(5), EVIDENCE, SCOPE)
    assert (found.first, found.hit, found.at_evidence, found.auroc) == (0, 0, 0, 0.5)


def test_scores_that_are_all_zero_have_no_mass():
    assert math.isnan(localise(np.zeros(5), EVIDENCE, SCOPE).mass)


def test_dsa_is_the_difference_of_densities_over_their_sum():
    scores = np.asarray([3.0, -3.0, 1.0, 1.0, 1.0])
    evidence = np.asarray([True, True, False, False, False])
    assert dsa(scores, evidence, ~evidence) == pytest.approx((3 - 1) / (3 + 1))
    assert dsa(-scores, evidence, ~evidence) == pytest.approx(0.5)


@given(st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6), st.integers(1, 5))
def test_dsa_lies_within_its_bounds_and_turns_round_with_the_passages(values: list[float], n: int):
    scores, evidence = np.asarray(values), np.arange(6) < n
    found = dsa(scores, evidence, ~evidence)
    if not math.isnan(found):
        assert -1 <= found <= 1
        assert dsa(scores, ~evidence, evidence) == pytest.approx(-found)


def test_a_uniform_attribution_scores_nothing_on_texts_of_two_passages():
    for one in two_passages.cases(200, seed=0):
        ends = [i for i, letter in enumerate(one.prompt) if letter == " "]
        offsets = np.asarray([(a + 1, b) for a, b in zip([-1, *ends], [*ends, len(one.prompt)], strict=True)])
        evidence, distractor = overlapping(one.evidence, offsets), overlapping(one.distractor, offsets)
        assert dsa(np.ones(len(offsets)), evidence, distractor) == 0
        assert not (evidence & distractor).any()
        assert one.answer in one.prompt[slice(*one.evidence[0])]
        assert one.answer not in one.prompt[slice(*one.distractor[0])]


def test_texts_of_two_passages_are_different_and_put_the_answer_first_as_often_as_second():
    found = list(two_passages.cases(300, seed=1))
    assert len({one.prompt for one in found}) == 300
    assert np.mean([one.evidence[0][0] == 0 for one in found]) == pytest.approx(0.5, abs=0.1)


def test_passages_that_share_a_token_are_refused():
    with pytest.raises(ValueError, match="both evidence and distractor"):
        dsa(np.ones(3), np.asarray([True, True, False]), np.asarray([False, True, True]))
