"""Sparse AUROC, areas with intervals, the band: by hand, against scikit-learn, and in what must not change."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import average_precision_score, roc_auc_score

from analysis.tracing.cohort import halved, refuse_few
from analysis.tracing.intervals import Draws, areas, binned, drawn_patients, weighted
from analysis.tracing.permutations import band, block_labellings, max_null
from analysis.tracing.sparse_auroc import ranked
from sae.errors import UserError


def test_zeros_share_one_rank_in_a_case_worked_by_hand():
    # Positives 3 and 0, negatives 1, 0, 0. Pairs: 3 beats all three (3); 0 loses to 1 (0) and ties with two (2 × ½): 4 of 6.
    scores = sparse.csc_array(np.asarray([[3.0], [0], [1], [0], [0]]))
    found = ranked(scores).auroc(np.asarray([[True, True, False, False, False]]))
    assert found[0, 0] == pytest.approx(4 / 6)


@pytest.mark.parametrize("seed", range(6))
def test_sparse_aurocs_are_those_of_scikit_learn(seed: int):
    rng = np.random.default_rng(seed)
    x = np.round(np.maximum(rng.normal(size=(40, 4)) - 0.7, 0), 1)
    y = rng.random((3, 40)) < 0.4
    y[:, :2] = [True, False]
    expected = [[roc_auc_score(one, column) for column in x.T] for one in y]
    np.testing.assert_allclose(ranked(sparse.csc_array(x)).auroc(y), expected, atol=1e-12)


def test_a_feature_that_never_fires_tells_nothing():
    assert ranked(sparse.csc_array((5, 1))).auroc(np.asarray([[True, False, False, True, False]]))[0, 0] == 0.5


def test_scores_below_zero_are_refused():
    with pytest.raises(ValueError, match="zero mass"):
        ranked(sparse.csc_array(np.asarray([[-1.0], [1.0]])))


@pytest.mark.parametrize("seed", range(6))
def test_weighted_areas_are_those_of_scikit_learn(seed: int):
    rng = np.random.default_rng(seed)
    scores, y = np.round(rng.normal(size=30), 1), rng.random(30) < 0.4
    y[:2] = [True, False]
    counts = rng.integers(0, 3, (1, 30)).astype(float)
    counts[0, :2] = 1
    found = weighted(scores, y, Draws(counts, np.arange(30)))[0]
    assert found[0] == pytest.approx(roc_auc_score(y, scores, sample_weight=counts[0]))
    assert found[1] == pytest.approx(average_precision_score(y, scores, sample_weight=counts[0]))


def test_patients_are_drawn_whole():
    draws = drawn_patients(np.asarray([7, 7, 3, 3, 3, 9]), 50, 0)
    weights = draws.weights
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 2] == weights[:, 4]).all()
    np.testing.assert_array_equal(draws.counts.sum(axis=1), 3)


def test_units_of_one_patient_widen_the_interval():
    rng = np.random.default_rng(0)
    level = np.repeat(rng.normal(size=20), 20)
    y = np.repeat(np.arange(20) % 2 == 0, 20)
    together = areas(level + y, y, drawn_patients(np.repeat(np.arange(20), 20), 400, 0))
    apart = areas(level + y, y, drawn_patients(np.arange(400), 400, 0))
    assert together.auroc == apart.auroc
    assert together.auroc_interval is not None and apart.auroc_interval is not None
    assert np.diff(together.auroc_interval) > 2 * np.diff(apart.auroc_interval)


def test_bins_move_an_area_by_less_than_a_thousandth():
    rng = np.random.default_rng(1)
    scores, y = rng.normal(size=9000), rng.random(9000) < 0.1
    one = Draws(np.ones((1, 1)), np.zeros(9000, int))
    exact, coarse = weighted(scores, y, one), weighted(binned(scores), y, one)
    assert abs(exact - coarse)[0, 0] < 1e-3


def test_dealt_labels_keep_their_number_and_the_runs_of_patients():
    patient = np.repeat(np.arange(30), 4)
    y = np.repeat(np.arange(30) < 6, 4)
    dealt = block_labellings(y, patient, 20, 0)
    assert (dealt.sum(axis=1) == y.sum()).all()
    assert (dealt.reshape(20, 30, 4).std(axis=2) == 0).all()  # patients of one size: blocks fall on patients
    assert len({row.tobytes() for row in dealt}) > 15


def test_labels_that_stand_alike_in_every_patient_are_dealt_out_too():
    y = np.tile([True, False, False], 40)
    dealt = block_labellings(y, np.repeat(np.arange(40), 3), 20, 0)
    assert (dealt != y).any(axis=1).all()
    assert (dealt.reshape(20, 40, 3).sum(axis=2) == 1).all()


def test_noise_exceeds_the_band_in_about_five_percent():
    rng = np.random.default_rng(3)
    x = ranked(sparse.csc_array(np.maximum(rng.normal(size=(120, 40)) - 0.5, 0)))
    patient = np.arange(120)
    labels = rng.random(120) < 0.2
    null = max_null([x], block_labellings(labels, patient, 600, 0))
    nothing = np.asarray([rng.permutation(labels) for _ in range(600)])
    assert 0.02 < (x.auroc(nothing).max(axis=1) > band(null)).mean() < 0.09


def test_the_band_is_the_value_that_one_in_twenty_exceeds():
    assert band(np.arange(1, 100)) == 95  # 99 permutations and the observed one: 5 of 100 lie above 95, itself included
    assert band(np.asarray([1.0, 2.0])) == 2.0


def test_patients_lie_on_one_side_and_both_sides_have_the_concept():
    patient = np.repeat(np.arange(50), 3)
    y = patient % 10 == 0
    cohort = halved(y, patient, 0)
    for one in range(50):
        assert len(set(cohort.is_estimate[patient == one])) == 1
    assert abs(cohort.counts(cohort.is_estimate)["n_positive"] - cohort.counts(cohort.chooses)["n_positive"]) <= 3


def test_too_few_positives_are_refused_with_the_number_needed():
    y = np.arange(60) < 12
    with pytest.raises(UserError, match=r"6 mentions with 'gout' .*12 in all.* at least 10 there, so about 20 in all"):
        refuse_few(halved(y, np.arange(60), 0), "gout", 60, "Hold out more.")
