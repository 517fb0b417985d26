"""Soft cross-entropy against scikit-learn and finite differences, and what softness is good for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from labeling.calibration import calibration, temperature
from labeling.consensus import ConsensusConfig, consensus
from labeling.ratings import Ratings
from labeling.soft_labels import smoothed, soft_labels
from labeling.soft_regression import SoftRegressionConfig, evaluate, fit, loss_and_gradient
from sae.errors import UserError

CFG = SoftRegressionConfig()


def test_hard_labels_give_scikit_learns_regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5)) * 3 + 10
    y = (x[:, :3] + rng.normal(size=(300, 3)) * 3).argmax(axis=1)
    ours = fit(x, np.eye(3)[y], CFG)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000).fit(StandardScaler().fit_transform(x), y)
    assert ours.probabilities(x) == pytest.approx(theirs.predict_proba(StandardScaler().fit_transform(x)), abs=1e-4)
    assert ours.weights == pytest.approx(theirs.coef_.T, abs=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_the_gradient_is_that_of_finite_differences(seed: int):
    rng = np.random.default_rng(seed)
    x, targets, weight = rng.normal(size=(20, 3)), rng.dirichlet(np.ones(4), 20), rng.random(20)
    flat = rng.normal(size=16)
    error = check_grad(
        lambda w: loss_and_gradient(w, x, targets, weight, 2.0)[0],
        lambda w: loss_and_gradient(w, x, targets, weight, 2.0)[1],
        flat,
    )
    assert error < 1e-4


def test_a_soft_label_counts_as_its_parts():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 2))
    soft = fit(x, np.tile([0.75, 0.25], (30, 1)), CFG, np.full(30, 4.0))
    parts = fit(np.repeat(x, 4, axis=0), np.eye(2)[np.tile([0, 0, 0, 1], 30)], CFG)
    assert soft.probabilities(x) == pytest.approx(parts.probabilities(x), abs=1e-5)
    alone = fit(np.zeros((1, 1)), np.asarray([[0.75, 0.25]]), CFG)
    assert alone.probabilities(np.zeros((1, 1)))[0] == pytest.approx([0.75, 0.25], abs=1e-5)


def ambiguous(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features, true distributions, five raters' shares, their majority as one-hot."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(900, 4))
    logits = x @ rng.normal(size=(4, 3)) * 0.7
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    votes = np.asarray([rng.multinomial(5, p) for p in truth])
    return x, truth, votes / 5, np.eye(3)[votes.argmax(axis=1)]


def test_soft_training_is_better_calibrated_than_training_on_the_majority():
    for seed in range(3):
        x, truth, shares, majority = ambiguous(seed)
        train, kept, out = slice(0, 400), slice(400, 600), slice(600, 900)
        soft, hard = fit(x[train], shares[train], CFG), fit(x[train], majority[train], CFG)
        ours = evaluate(soft, x[out], truth[out], x[kept], shares[kept])
        theirs = evaluate(hard, x[out], truth[out], x[kept], shares[kept])
        assert ours.raw.ece < theirs.raw.ece - 0.03
        assert ours.raw.brier < theirs.raw.brier
        assert ours.raw.log_loss < theirs.raw.log_loss
        assert theirs.temperature > 1.3 > ours.temperature, "the majority teaches a certainty that is not there"
        assert theirs.scaled.ece < theirs.raw.ece


def test_smoothing_moves_only_labels_in_doubt():
    found = smoothed(np.asarray([[1.0, 0.0], [0.5, 0.5], [0.9, 0.1]]), 0.5)
    assert found[0].tolist() == [1, 0]
    assert found[1] == pytest.approx([0.5, 0.5])
    doubt = 0.5 * 0.468996
    assert found[2] == pytest.approx([(1 - doubt) * 0.9 + doubt / 2, (1 - doubt) * 0.1 + doubt / 2], abs=1e-6)
    with pytest.raises(UserError, match="strength is 2"):
        smoothed(found, 2)


def test_calibration_is_worked_by_hand():
    predicted = np.asarray([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    found = calibration(predicted, np.eye(2)[[0, 1, 1]])
    # bins: .9 twice, half right: gap .4; .6 once, right: gap .4
    assert found.ece == pytest.approx(0.4)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.brier == pytest.approx((0.02 + 1.62 + 0.32) / 3)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.1, 0.6]).mean())
    assert found.reliability.n.tolist() == [1, 2]


def test_the_temperature_undoes_a_factor():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 3))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert temperature(3 * logits, chances) == pytest.approx(3, abs=1e-2)


def test_the_table_keeps_distributions_and_leaves_out_what_nobody_judged():
    ratings = Ratings(np.asarray([0, 0, 0, 2]), np.asarray([0, 1, 2, 0]), np.asarray([0, 0, 1, 1]), 3, 3, 2)
    table = soft_labels(consensus(ratings, ConsensusConfig()), ["a", "b", "c"], np.asarray([3, 0, 1]))
    assert table.item_ids == ("a", "c")
    assert table.distribution[0] == pytest.approx([2 / 3, 1 / 3])
    assert table.weight.tolist() == [1, 0.5], "the median is 2 raters"
    row = table.rows()[0]
    assert row["n_raters"] == 3
    assert row["entropy_bits"] == pytest.approx(0.918296, abs=1e-6)
    with pytest.raises(UserError, match="expected 3 of each"):
        soft_labels(consensus(ratings, ConsensusConfig()), ["a"], np.asarray([3]))


def test_targets_that_are_no_distributions_are_refused():
    with pytest.raises(UserError, match="expected one distribution per row"):
        fit(np.zeros((2, 1)), np.asarray([[0.5, 0.6], [1, 0]]), CFG)


def test_inputs_that_are_not_finite_are_refused():
    x, targets = np.asarray([[0.0], [np.nan], [np.inf], [3.0]]), np.eye(2)[[0, 1, 0, 1]]
    with pytest.raises(UserError, match="2 of 4 rows of the inputs hold NaN or infinity"):
        fit(x, targets, CFG)
    with pytest.raises(UserError, match=r"shape \(4,\), expected some rows of features"):
        fit(x[:, 0], targets, CFG)
    model = fit(np.arange(4.0)[:, None], targets, CFG)
    with pytest.raises(UserError, match="rows of the inputs hold NaN"):
        evaluate(model, x, targets, np.zeros((4, 1)), targets)
    with pytest.raises(UserError, match="expected some rows of 1 features"):
        evaluate(model, np.zeros((4, 2)), targets, np.zeros((4, 1)), targets)


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        ([0.0, 0, 0, 0], "0 are above 0"),
        ([1.0, -1, 1, 1], "1 of 4 sample weights are negative or not finite"),
        ([1.0, np.nan, 1, 1], "1 of 4 sample weights are negative or not finite"),
        ([1.0, 1], r"shape \(2,\) for 4 rows"),
        ([[1.0], [1], [1], [1]], r"shape \(4, 1\) for 4 rows"),
    ],
)
def test_sample_weights_that_weigh_nothing_are_refused(weight: list, said: str):
    with pytest.raises(UserError, match=said):
        fit(np.arange(4.0)[:, None], np.eye(2)[[0, 1, 0, 1]], CFG, np.asarray(weight))


def test_a_soft_label_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="expected one distribution per row"):
        fit(np.zeros((2, 1)), np.asarray([[np.nan, 1], [1, 0]]), CFG)
