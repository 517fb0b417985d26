"""Splitting on planted dictionaries, and F1 beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from analysis.feature_quality.config import QualityConfig
from analysis.feature_quality.material import patients_of
from analysis.feature_quality.splitting import balanced_f1, parts_of, splitting
from tests.analysis.feature_quality.worlds import axes, labels, material, one_feature_each

CFG = QualityConfig(n_bootstraps=50)


def test_a_concept_with_its_own_feature_is_one_part():
    made = one_feature_each()
    (is_fever,) = made.is_positive(["fever"])
    found = parts_of(made, is_fever, CFG)
    assert found.features.tolist() == [1]
    assert found.f1[0] == 1.0


def test_a_concept_that_is_split_over_three_features_has_three_parts():
    label, place = labels(), np.arange(len(labels()))
    kind = np.random.default_rng(3).integers(0, 3, len(place))
    acts = np.stack([(label == "fever") & (kind == i) for i in range(3)] + [label == "cough"], axis=1)
    made = material(acts.astype(float), axes(4))
    parts = [parts_of(made, is_positive, CFG) for is_positive in made.is_positive(["cough", "fever"])]
    assert sorted(parts[1].features.tolist()) == [0, 1, 2]
    found = splitting(made, ["cough", "fever"], parts, patients_of(made, CFG), CFG)
    assert (found["mean_n_parts"], found["share_split"]) == (2.0, 0.5)
    assert found["concepts"]["fever"]["f1"]["value"] == 1.0


def test_parts_rest_on_the_choosing_half_alone():
    made = one_feature_each()
    (is_fever,) = made.is_positive(["fever"])
    spoilt = made.features.toarray()
    spoilt[made.is_estimate] = 0
    changed = material(spoilt, axes(4))
    assert parts_of(changed, is_fever, CFG).features.tolist() == [1]


def test_a_concept_no_feature_fires_for_has_no_part():
    label = labels()
    made = material((label == "cough")[:, None].astype(float), axes(1))
    (is_fever,) = made.is_positive(["fever"])
    parts = [parts_of(made, is_fever, CFG)]
    assert len(parts[0].features) == 0
    assert splitting(made, ["fever"], parts, patients_of(made, CFG), CFG)["mean_n_parts"] == 0


def test_f1_is_scikit_learns_where_both_kinds_are_equally_common():
    rng = np.random.default_rng(5)
    truth, says = np.repeat([True, False], 50), rng.random(100) < 0.6
    ours = balanced_f1(says[truth].mean(), says[~truth].mean())
    assert ours == pytest.approx(f1_score(truth, says))
