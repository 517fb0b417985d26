"""Targeted effects and unlearning on planted dictionaries, beside a slow reading of the definition."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from analysis.feature_quality.config import QualityConfig
from analysis.feature_quality.material import patients_of
from analysis.feature_quality.probes import dense_probes
from analysis.feature_quality.quality import quality
from analysis.feature_quality.targeted import serving, targeted
from analysis.feature_quality.unlearning import unlearning
from sae.errors import UserError
from tests.analysis.feature_quality.worlds import axes, labels, material, one_feature_each

CFG = QualityConfig(n_bootstraps=50, ablated_features=(1, 2))
NAMES = ["cough", "diabetes", "fever"]


def test_taking_out_a_concepts_own_feature_blinds_its_probe_alone():
    made = one_feature_each()
    found = targeted(made, NAMES, dense_probes(made, NAMES, CFG), patients_of(made, CFG), CFG)
    one = found["features"]["1"]
    assert one["intended"]["value"] == pytest.approx(0.5)  # from all right to guessing
    assert one["unintended"]["value"] == pytest.approx(0.0, abs=0.01)
    assert one["tpp"]["value"] > one["control"]["high"]
    assert found["concepts"]["fever"]["features"][0] == 1


def test_effects_are_those_of_the_definition_read_slowly():
    rng = np.random.default_rng(2)
    label = labels()
    acts = np.maximum(rng.normal(size=(len(label), 6)) + 2 * (label == "fever")[:, None] * (np.arange(6) < 2), 0)
    made = material(acts, rng.normal(size=(6, 8)), noise=1.0)
    probes, rows = dense_probes(made, NAMES, CFG), made.is_estimate
    found = targeted(made, NAMES, probes, patients_of(made, CFG), CFG)
    positive = made.is_positive(NAMES)
    before = [
        balanced_accuracy_score(y[rows], p.logits(made.dense[rows]) > 0) for p, y in zip(probes, positive, strict=True)
    ]
    for i, name in enumerate(NAMES):
        some = serving(made, positive[i], probes[i])[:2]
        x = (made.dense - acts[:, some] @ made.decoder[some])[rows]
        lost = [
            before[j] - balanced_accuracy_score(positive[j][rows], probes[j].logits(x) > 0) for j in range(len(NAMES))
        ]
        expected = lost[i] - np.mean([lost[j] for j in range(len(NAMES)) if j != i])
        assert found["concepts"][name]["tpp"]["2"]["value"] == pytest.approx(expected, abs=1e-6)


def test_probes_are_scikit_learns_with_weights_for_rare_concepts():
    made = one_feature_each()
    (is_fever,), rows = made.is_positive(["fever"]), ~made.is_estimate
    (probe,) = dense_probes(made, ["fever"], CFG)
    x = made.dense - made.dense[rows].mean(axis=0)
    x /= x[rows].std(axis=0)
    theirs = LogisticRegression(C=1.0, tol=1e-10).fit(x[rows], is_fever[rows])
    shift = np.log(is_fever[rows].mean() / (1 - is_fever[rows].mean()))
    assert probe.logits(made.dense) == pytest.approx(theirs.decision_function(x) - shift, abs=1e-3)


def test_what_one_feature_holds_is_unlearnt_and_what_two_hold_is_not():
    label = labels()
    acts = np.stack([label == "fever", label == "cough", np.zeros(len(label))], axis=1).astype(float)
    decoder = axes(3)
    made = material(acts, decoder)
    made.dense[:, 5] += 3 * (label == "cough")  # the model knows coughs in a direction of which no feature tells
    names, cfg = ["cough", "fever"], QualityConfig(n_bootstraps=50, ablated_features=(1,))
    found = unlearning(made, names, dense_probes(made, names, cfg), cfg)["concepts"]
    assert found["fever"]["before"] == found["cough"]["before"] == 1.0
    assert found["fever"]["refitted"] < 0.7
    assert found["cough"]["refitted"] == 1.0
    assert found["fever"]["other_refitted"] == 1.0


def test_all_measures_together_hold_shares_and_ordered_intervals():
    found = quality(one_feature_each(), QualityConfig(n_bootstraps=20))
    assert found["n_concepts"] == 3
    assert found["n_patients"] == {"choice": 20, "estimate": 20}
    assert found["sparse_probing"]["features"]["1"]["auroc"] == 1.0
    for one in (found["absorption"]["fraction"], found["splitting"]["f1"], found["targeted"]["features"]["5"]["tpp"]):
        assert one["low"] <= one["value"] <= one["high"]


def test_too_few_mentions_are_refused_in_one_sentence():
    with pytest.raises(UserError, match=r"^0 of 3 annotated concepts have 1000 mentions .* Hold out more documents"):
        one_feature_each().concepts(QualityConfig(min_mentions=1000))
