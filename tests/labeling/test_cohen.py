"""Cohen's kappa against SAS, statsmodels and scikit-learn, and its standard errors."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from benchmarks.harness.rated import simulated
from labeling.bootstrap import BootstrapConfig, estimates
from labeling.cohen import all_pairs, cohen, kappa, pair, pair_table, standard_errors
from labeling.estimate import Support
from labeling.scale import categories, numbers, weights_of
from sae.errors import UserError

SAS = np.asarray([[0, 4, 1], [0, 8, 0], [0, 1, 5]])
LEVELS = np.arange(3.0)


def test_the_example_of_sas_manual():
    """Kappa .4842, ASE .1380, interval .2137 to .7547; weighted .4701 (SAS/STAT, FREQ procedure)."""
    one = pair(SAS, np.eye(3)).kappa
    assert (one.value, one.se) == pytest.approx((0.4842, 0.1380), abs=5e-5)
    assert (one.low, one.high) == pytest.approx((0.2137, 0.7547), abs=5e-5)
    assert (one.n_items, one.is_reliable) == (19, False)
    assert pair(SAS, weights_of(LEVELS, "linear")).kappa.value == pytest.approx(0.4701, abs=5e-5)


def test_kappas_and_standard_errors_equal_statsmodels():
    raters = pytest.importorskip("statsmodels.stats.inter_rater")
    rng = np.random.default_rng(0)
    for _ in range(20):
        table = rng.integers(1, 20, size=(4, 4))
        levels = np.arange(4.0)
        for weighting, name in (("identity", None), ("linear", "linear"), ("quadratic", "quadratic")):
            weights = weights_of(levels, weighting)
            expected = raters.cohens_kappa(table, wt=name)
            value = pair(table, weights).kappa.value
            own, null = standard_errors(table, weights)
            assert value == pytest.approx(expected.kappa, abs=1e-12)
            assert own == pytest.approx(expected.std_kappa, abs=1e-12)
            assert null == pytest.approx(expected.std_kappa0, abs=1e-12)


def test_kappas_equal_scikit_learn_when_it_is_told_the_labels():
    ratings = simulated(np.random.default_rng(1), 60, 2, (0.5, 0.2, 0.2, 0.1), 0.6, 0.0)
    levels = np.arange(6.0)
    for weighting, name in (("identity", None), ("linear", "linear"), ("quadratic", "quadratic")):
        found = cohen(ratings[:, 0], ratings[:, 1], levels, weights_of(levels, weighting)).value
        assert found == pytest.approx(cohen_kappa_score(*ratings.T.astype(int), labels=range(6), weights=name))


def test_all_pairs_use_the_items_that_both_judged():
    ratings = np.asarray([[0, 0, np.nan], [1, 1, 1], [0, 1, 0], [1, np.nan, np.nan]])
    found = all_pairs(ratings, categories(["no", "yes"]), raters=["ann", "bo", "cy"])
    assert [(one.first, one.second) for one in found] == [("ann", "bo"), ("ann", "cy"), ("bo", "cy")]
    assert [one.kappa.n_items for one in found] == [3, 2, 2]
    assert found[0].table == ((1, 1), (0, 1))
    assert found[1].kappa.value == 1.0


def test_no_shared_item_and_unanimity_have_no_kappa():
    nothing = pair(np.zeros((2, 2), int), np.eye(2))
    assert (nothing.kappa.value, nothing.percent_agreement) == (None, None)
    assert nothing.kappa.reason == "The two share no item."
    same = pair(np.asarray([[9, 0], [0, 0]]), np.eye(2))
    assert (same.kappa.value, same.percent_agreement) == (None, 1.0)
    assert "nothing to disagree on" in same.kappa.reason


def test_two_constant_raters_who_differ_have_a_kappa_of_zero():
    table = pair_table(np.zeros(5), np.ones(5), np.arange(2.0))
    assert float(kappa(table.astype(float), np.eye(2))) == 0.0


def test_bootstrap_and_asymptotic_intervals_are_near_each_other():
    ratings = simulated(np.random.default_rng(2), 400, 2, (0.5, 0.5), 0.7, 0.0)
    weights = np.eye(2)
    one = estimates(
        {"k": cohen(ratings[:, 0], ratings[:, 1], np.arange(2.0), weights)}, Support(400, 2, 800), BootstrapConfig()
    )["k"]
    other = pair(pair_table(ratings[:, 0], ratings[:, 1], np.arange(2.0)), weights).kappa
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.015)


def test_the_tables_of_all_pairs_are_those_of_each():
    ratings = simulated(np.random.default_rng(3), 50, 4, (0.2, 0.3, 0.5), 0.6, 0.2)
    for one in all_pairs(ratings, categories(3)):
        table = pair_table(ratings[:, int(one.first)], ratings[:, int(one.second)], LEVELS)
        assert np.array_equal(one.table, table)


def test_kappa_of_free_numbers_is_refused():
    with pytest.raises(UserError, match="a field that allows any number"):
        all_pairs(np.zeros((3, 2)), numbers("interval"))
