"""Agreement of one field: worked by hand, what does not exist, and what must not change it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.harness.rated import random_design, simulated, slow_alpha, slow_coefficient
from labeling.agreement import Agreement, agreement
from labeling.alpha import alpha
from labeling.bootstrap import BootstrapConfig
from labeling.gwet import coefficient, conger
from labeling.scale import Scale, categories, checked, counts_of, numbers, weights_of
from labeling.strata import headline
from sae.errors import UserError

FEW = BootstrapConfig(n_bootstraps=200)
NAN = np.nan


def of_table(table: list[list[int]], cfg: BootstrapConfig = FEW) -> Agreement:
    """Two raters with this table of counts."""
    pairs = [(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]
    return agreement(np.asarray(pairs, float), categories(len(table)), cfg)


def values(found: Agreement) -> dict[str, float | None]:
    return {name: one.value for name, one in found.coefficients.items()}


# Feinstein and Cicchetti 1990, J Clin Epidemiol 43:543; last: Gwet 2008.
@pytest.mark.parametrize(
    ("table", "percent", "cohen", "ac1", "brennan", "positive", "negative"),
    [
        ([[40, 9], [6, 45]], 0.85, 0.70, 0.70, 0.70, 0.84, 0.86),
        ([[80, 10], [5, 5]], 0.85, 0.32, 0.81, 0.70, 0.91, 0.40),
        ([[45, 15], [25, 15]], 0.60, 0.13, 0.27, 0.20, 0.69, 0.43),
        ([[25, 35], [5, 35]], 0.60, 0.26, 0.21, 0.20, 0.56, 0.64),
        ([[118, 5], [2, 0]], 0.944, -0.023, 0.94, 0.89, 0.97, 0.00),
    ],
)
def test_the_kappa_paradox(
    table: list[list[int]], percent: float, cohen: float, ac1: float, brennan: float, positive: float, negative: float
):
    found = of_table(table)
    expected = {"percent_agreement": percent, "cohen_kappa": cohen, "ac1": ac1, "brennan_prediger": brennan}
    for name, value in expected.items():
        assert found.coefficients[name].value == pytest.approx(value, abs=0.006)
    specific = [one.specific_agreement.value for one in found.categories]
    assert specific == pytest.approx([positive, negative], abs=0.006)


def test_a_prevalence_effect_is_said_where_coefficients_part():
    assert not any("Prevalence effect" in note for note in of_table([[40, 9], [6, 45]]).notes)
    skewed = of_table([[80, 10], [5, 5]]).notes
    assert any("cohen_kappa 0.32" in note and "ac1 0.81" in note for note in skewed)
    rare = of_table([[118, 5], [2, 0]]).notes
    assert any("agreement on '0' 0.97 and on '1' 0.00" in note for note in rare)


@pytest.mark.parametrize(("q", "ac1"), [(2, 0.676), (3, 0.780), (5, 0.810)])
def test_the_number_of_categories_is_the_codebooks_and_moves_ac1_alone(q: int, ac1: float):
    ratings = np.asarray([[0, 1], [1, 1], [0, 0], [0, 0], [1, 1], [0, 0]], float)
    found = agreement(ratings, categories(q), FEW).coefficients
    assert found["ac1"].value == pytest.approx(ac1, abs=5e-4)
    assert found["alpha_nominal"].value == pytest.approx(0.685714, abs=1e-6)


def test_levels_follow_the_codebook_and_not_the_alphabet():
    """With high < low < mid, scikit-learn gives .515 and irrCAC .667 here."""
    order = ["low", "mid", "high"]
    pairs = "low mid, mid mid, high high, low low, low high, low high, mid low, low low".split(", ")
    ratings = np.asarray([[order.index(x) for x in pair.split()] for pair in pairs], float)
    found = agreement(ratings, categories(order, "ordinal"), FEW)
    assert found.coefficients["cohen_kappa_quadratic"].value == pytest.approx(1 / 6, abs=1e-9)
    assert found.coefficients["ac2_quadratic"].value == pytest.approx(0.16667, abs=5e-6)
    assert found.pairs[0].kappa.value == pytest.approx(1 / 6, abs=1e-9)


def test_levels_that_lie_apart_are_not_adjacent():
    """scikit-learn takes the labels 1, 2 and 6 for neighbours (.636); on 1 to 6 the same ratings give .229."""
    a, b = [1, 2, 6, 1, 2, 1, 6, 2], [1, 2, 2, 1, 2, 2, 6, 6]
    ratings = np.column_stack([a, b]).astype(float)
    whole = agreement(ratings - 1, categories(6, "ordinal"), FEW).coefficients["cohen_kappa_quadratic"].value
    squeezed = np.searchsorted([1, 2, 6], ratings).astype(float)
    narrow = agreement(squeezed, categories(3, "ordinal"), FEW).coefficients["cohen_kappa_quadratic"].value
    assert whole is not None
    assert narrow is not None
    assert narrow > whole + 0.1


def test_gwets_ordinal_weights_are_never_called_ordinal_alpha():
    # Krippendorff 2011, example C
    rows = [
        [1, 1, NAN, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
        [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [NAN, 5, 5, 5], [NAN, NAN, 1, 1], [NAN, 3, NAN, NAN],
    ]  # fmt: skip
    ratings = np.asarray(rows) - 1
    found = values(agreement(ratings, categories(5, "ordinal"), FEW))
    assert found["alpha_ordinal"] == pytest.approx(0.815388, abs=1e-6)
    assert found["ac2_gwet_ordinal_weights"] == pytest.approx(0.89894, abs=1e-6)
    assert not any("ordinal" in name and name != "alpha_ordinal" and "gwet" not in name for name in found)


def test_unanimity_has_no_coefficient_but_percent_agreement_and_a_reason():
    """irrCAC says 1 with p = 0, krippendorff raises, scikit-learn and statsmodels say nan."""
    found = agreement(np.zeros((40, 3)), categories(["a", "b"]), FEW)
    for name, one in found.coefficients.items():
        if name == "percent_agreement":
            assert one.value == 1.0
            assert one.low == pytest.approx(0.025 ** (1 / 40))
        else:
            assert (one.value, one.low, one.high, one.is_reliable) == (None, None, None, False)
            assert "nothing to disagree on" in one.reason
            assert one.n_items == 40


def test_items_with_a_single_rating_have_no_agreement():
    found = agreement(np.asarray([[0, NAN], [NAN, 1], [1, NAN]]), categories(2), FEW)
    assert {one.value for one in found.coefficients.values()} == {None}
    assert {one.reason for one in found.coefficients.values()} == {"No item has ratings of two raters."}


def test_single_ratings_count_for_gwets_prevalences_and_not_for_alpha():
    ratings = np.asarray([[0, 0], [1, 1], [0, 1], [0, NAN], [NAN, 0], [1, 1]], float)
    more = values(agreement(ratings, categories(2), FEW))
    less = values(agreement(ratings[[0, 1, 2, 5]], categories(2), FEW))
    assert more["alpha_nominal"] == less["alpha_nominal"]
    assert more["percent_agreement"] == less["percent_agreement"] == 0.75
    assert more["ac1"] != less["ac1"]


def test_perfect_agreement_has_an_interval_that_says_what_is_still_possible():
    ratings = np.repeat(np.arange(60) % 2, 3).reshape(60, 3).astype(float)
    found = agreement(ratings, categories(2), FEW).coefficients
    unseen = 1 - 0.025 ** (1 / 60)
    assert (found["fleiss_pi"].value, found["fleiss_pi"].high) == (1.0, 1.0)
    assert found["fleiss_pi"].low == pytest.approx(1 - unseen / 0.5)
    assert found["alpha_nominal"].low == pytest.approx(1 - unseen * 179 / 90)
    assert found["ac1"].low == pytest.approx(1 - unseen / 0.5)


@pytest.mark.parametrize(
    ("n", "share", "reliable"), [(29, 0.5, False), (30, 0.5, True), (60, 4 / 60, False), (60, 5 / 60, True)]
)
def test_few_items_or_a_rare_class_make_an_interval_unreliable(n: int, share: float, reliable: bool):
    answers = (np.arange(n) < round(n * share)).astype(float)
    ratings = np.column_stack([answers, answers, answers])
    ratings[0, 0], ratings[-1, 0] = 0, 0
    for name, one in agreement(ratings, categories(2), FEW).coefficients.items():
        assert one.is_reliable is reliable, name
        assert one.value is not None
        assert bool(one.warning) is not reliable


def test_resamples_without_a_value_are_counted_and_warned_of():
    ratings = np.zeros((60, 3))
    ratings[0] = [1, 1, 0]
    one = agreement(ratings, categories(2), FEW).coefficients["alpha_nominal"]
    assert one.n_undefined_resamples > 0.2 * one.n_resamples
    assert "no value in" in one.warning


def test_a_codebook_of_which_only_one_answer_is_known_gives_no_coefficient():
    scale = Scale("ordinal", (0.0,), ("yes",), is_whole=False)
    found = values(agreement(np.zeros((3, 2)), scale, FEW))
    assert {value for name, value in found.items() if name != "percent_agreement"} == {None}
    assert found["percent_agreement"] == 1.0


def test_a_headline_keeps_the_fixed_random_stratum_alone():
    rng = np.random.default_rng(0)
    fixed = simulated(rng, 80, 3, (0.5, 0.5), 0.8, 0.0)
    escalated = simulated(rng, 80, 3, (0.5, 0.5), 0.1, 0.0)
    strata = ["irr_fixed"] * 80 + ["adaptive"] * 50 + ["gold"] * 20 + ["calibration"] * 10
    both = np.concatenate([fixed, escalated])
    assert agreement(both, categories(2), FEW, strata) == agreement(fixed, categories(2), FEW)
    assert values(agreement(both, categories(2), FEW)) != values(agreement(fixed, categories(2), FEW))
    with pytest.raises(UserError, match="None of 2 items is of the stratum irr_fixed"):
        headline(["adaptive", "gold"])
    with pytest.raises(UserError, match="1 strata have unknown names"):
        headline(["irr_fixed", "random"])


def test_every_figure_carries_its_interval_and_numbers_into_json():
    ratings = simulated(np.random.default_rng(1), 60, 3, (0.5, 0.3, 0.2), 0.7, 0.2)
    for scale in (categories(3), categories(3, "ordinal"), numbers("interval", [0, 1, 2]), numbers("ratio")):
        record = json.loads(json.dumps(agreement(ratings, scale, FEW).record(), allow_nan=False))
        assert (record["seed"], record["n_bootstraps"]) == (0, 200)
        assert record["primary"] == next(iter(record["coefficients"]))
        for name, one in record["coefficients"].items():
            if "icc" in name:
                assert "missing" in one["reason"]
                continue
            assert one["low"] <= one["value"] <= one["high"]
            assert one["n_items"] <= 60
            assert one["n_resamples"] == 200


def test_the_same_seed_gives_the_same_intervals():
    ratings = simulated(np.random.default_rng(1), 60, 3, (0.5, 0.5), 0.7, 0.2)
    one, same = (agreement(ratings, categories(2), FEW) for _ in range(2))
    other = agreement(ratings, categories(2), BootstrapConfig(n_bootstraps=200, seed=1))
    assert one == same
    assert one.coefficients["ac1"].low != other.coefficients["ac1"].low


tables = st.integers(0, 2**32 - 1).map(lambda seed: random_design(np.random.default_rng(seed)))


@given(tables, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_nothing_depends_on_the_order_of_items_raters_or_names(design, random):
    ratings, q = design
    levels = np.arange(float(q))
    items, raters, names = (random.sample(range(n), n) for n in (*ratings.shape, q))
    shuffled = ratings[np.ix_(items, raters)]
    renamed = np.where(np.isnan(shuffled), NAN, np.asarray(names, float)[np.nan_to_num(shuffled).astype(int)])
    for one in (ratings, shuffled, renamed):
        counts = counts_of(one, levels)
        found = [
            alpha(counts, levels, "nominal").value,
            coefficient("ac", counts, np.eye(q)).value,
            coefficient("pi", counts, np.eye(q)).value,
            conger(one, levels, np.eye(q)).value,
        ]
        if one is ratings:
            expected = found
        assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(tables)
@settings(max_examples=60, deadline=None)
def test_reversing_an_order_changes_nothing(design):
    ratings, q = design
    levels = np.arange(float(q))
    there, back = counts_of(ratings, levels), counts_of(q - 1 - ratings, levels)
    for level in ("ordinal", "interval"):
        expected = alpha(there, levels, level).value
        assert alpha(back, levels, level).value == pytest.approx(expected, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("missing", [0.0, 0.2, 0.4, 0.6])
def test_raters_by_chance_agree_by_nothing_whatever_is_missing(missing: float):
    """Potato's Fleiss kappa is .00, .08, .17 and .26 here, since it scales rows up to the largest number of raters."""
    ratings = simulated(np.random.default_rng(5), 40_000, 5, (0.5, 0.5), 0.0, missing)
    counts, levels = counts_of(ratings, np.arange(2.0)), np.arange(2.0)
    assert abs(alpha(counts, levels, "nominal").value) <= 0.01
    for kind in ("pi", "ac"):
        assert abs(coefficient(kind, counts, np.eye(2)).value) <= 0.01
    assert abs(conger(ratings, levels, np.eye(2)).value) <= 0.01


def test_random_designs_equal_their_definitions():
    """Ours beside listing all pairs, 300 designs; benchmarks/agreement.py does 10,000."""
    rng = np.random.default_rng(3)
    n_undefined = 0
    for _ in range(300):
        ratings, q = random_design(rng)
        levels = np.arange(float(q))
        counts = counts_of(ratings, levels)
        for level in ("nominal", "ordinal", "interval", "ratio"):
            expected = slow_alpha(ratings, level)
            found = agreement_value(alpha(counts, levels, level).value)
            assert found == (None if expected is None else pytest.approx(expected, abs=1e-9))
            n_undefined += expected is None
        for weighting in ("identity", "linear", "quadratic"):
            weights = weights_of(levels, weighting)
            for kind in ("ac", "pi", "brennan_prediger", "conger"):
                expected = slow_coefficient(ratings, q, kind, weighting)
                if expected is None:
                    continue  # the policy of undefined cases is tested on `agreement`, below
                one = conger(ratings, levels, weights) if kind == "conger" else coefficient(kind, counts, weights)
                assert one.value == pytest.approx(expected, abs=1e-9)
    assert n_undefined > 50


def agreement_value(value: float) -> float | None:
    return None if np.isnan(value) else value


def test_random_designs_are_undefined_where_the_policy_says_so():
    rng = np.random.default_rng(4)
    cfg = BootstrapConfig(n_bootstraps=2)
    n_undefined = 0
    for _ in range(100):
        ratings, q = random_design(rng)
        found = values(agreement(ratings, categories(q), cfg))
        names = {"ac1": "ac", "fleiss_pi": "pi", "brennan_prediger": "brennan_prediger", "conger_kappa": "conger"}
        expected = {name: slow_coefficient(ratings, q, kind, "identity") for name, kind in names.items()}
        expected["alpha_nominal"] = slow_alpha(ratings, "nominal")
        for name, value in expected.items():
            assert (found[name] is None) == (value is None), name
            n_undefined += value is None
    assert n_undefined > 20


def test_alpha_equals_the_package_krippendorff():
    krippendorff = pytest.importorskip("krippendorff")  # GPL-3: an oracle where it is installed, never required
    rng = np.random.default_rng(6)
    n_compared = 0
    for _ in range(100):
        ratings, q = random_design(rng)
        levels = np.arange(1.0, q + 1)
        counts = counts_of(ratings + 1, levels)
        for level in ("nominal", "ordinal", "interval", "ratio"):
            if slow_alpha(ratings + 1, level) is None:
                continue
            expected = krippendorff.alpha(
                reliability_data=(ratings + 1).T, value_domain=list(levels), level_of_measurement=level
            )
            assert alpha(counts, levels, level).value == pytest.approx(expected, abs=1e-9)
            n_compared += 1
    assert n_compared > 200


def test_fleiss_pi_of_complete_tables_equals_statsmodels():
    raters = pytest.importorskip("statsmodels.stats.inter_rater")
    rng = np.random.default_rng(7)
    for _ in range(30):
        counts = counts_of(simulated(rng, 25, 4, (0.4, 0.3, 0.3), 0.5, 0.0), np.arange(3.0))
        assert coefficient("pi", counts, np.eye(3)).value == pytest.approx(raters.fleiss_kappa(counts), abs=1e-12)


def test_any_interval_scale_is_the_same_after_stretching_it():
    x = np.random.default_rng(8).normal(size=(50, 3)).cumsum(axis=1)
    one = values(agreement(x, numbers("interval"), FEW))
    stretched = values(agreement(1e6 + 3 * x, numbers("interval"), FEW))
    assert stretched["alpha_interval"] == pytest.approx(one["alpha_interval"], abs=1e-9)
    assert stretched["icc_a1"] == pytest.approx(one["icc_a1"], abs=1e-9)
    assert one["icc_a1"] == pytest.approx(slow_alpha(x, "interval"), abs=0.05)  # near relatives


def test_many_raters_and_items_take_seconds():
    ratings = simulated(np.random.default_rng(9), 2000, 20, (0.4, 0.3, 0.2, 0.1), 0.6, 0.3)
    found = agreement(ratings, categories(4, "ordinal"), FEW)
    assert len(found.pairs) == 190
    assert len(found.coefficients) == 19


@pytest.mark.parametrize(
    ("ratings", "scale", "message"),
    [
        ([[0, 2]], categories(2), "1 ratings lie outside the scale, the first being 2"),
        ([[0, np.inf]], numbers("interval"), "outside the scale"),
        ([[-1, 1]], numbers("ratio"), "A rating of -1 stands on a ratio scale"),
        ([0, 1], categories(2), "1 dimensions, expected items × raters"),
    ],
)
def test_ratings_off_the_scale_are_refused(ratings, scale, message: str):
    with pytest.raises(UserError, match=message):
        checked(np.asarray(ratings, float), scale)


def test_a_table_without_items_or_with_one_rater_is_refused():
    with pytest.raises(UserError, match="0 rated items and 2 raters"):
        agreement(np.full((3, 2), NAN), categories(2))
    with pytest.raises(UserError, match="3 rated items and 1 raters"):
        agreement(np.zeros((3, 1)), categories(2))
    with pytest.raises(UserError, match="names 1 categories"):
        categories(["yes"])


def test_coefficients_alone_are_the_same_coefficients():
    ratings = simulated(np.random.default_rng(4), 40, 3, (0.5, 0.5), 0.6, 0.1)
    whole, brief = (agreement(ratings, categories(2), FEW, is_brief=is_brief) for is_brief in (False, True))
    assert brief.coefficients == whole.coefficients
    assert (brief.categories, brief.pairs, brief.analytic) == ((), (), {})
